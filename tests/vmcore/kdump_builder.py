"""Builds kdump-compressed and flattened files for tests. The fields of their headers are kdump_header.py's, which
tests/abi checks against bytes written by hand; what stands in them, and where in the file, is said here once more."""

import ctypes
import struct
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import zstandard

from fadump.abi.layout import ByteOrder
from fadump.memory.ranges import Range
from fadump.vmcore.kdump_header import DESCRIPTOR, HEADER, SUB_HEADER, Descriptor, DiskDumpHeader, KdumpSubHeader

PAGE_BYTES = 4096
INCOMPLETE = 8
ZLIB, LZO, SNAPPY, ZSTD = 1, 2, 4, 0x20
END_OF_STREAM = struct.pack(">qq", -1, -1)


def lzo_compress(data: bytes) -> bytes:
    """LZO1X-1, as makedumpfile -l does it."""
    library = ctypes.CDLL("liblzo2.so.2")
    out = ctypes.create_string_buffer(len(data) + len(data) // 16 + 67)
    length = ctypes.c_size_t(len(out))
    work = ctypes.create_string_buffer(16384 * ctypes.sizeof(ctypes.c_void_p))
    library.lzo1x_1_compress(data, ctypes.c_size_t(len(data)), out, ctypes.byref(length), work)
    return out.raw[: length.value]


def snappy_compress(data: bytes) -> bytes:
    """Snappy's raw format, as makedumpfile -p does it."""
    library = ctypes.CDLL("libsnappy.so.1")
    out = ctypes.create_string_buffer(32 + len(data) + len(data) // 6)
    length = ctypes.c_size_t(len(out))
    library.snappy_compress(data, ctypes.c_size_t(len(data)), out, ctypes.byref(length))
    return out.raw[: length.value]


CODECS: Mapping[str, tuple[int, Callable[[bytes], bytes]]] = {
    "raw": (0, bytes),
    "zlib": (ZLIB, lambda data: zlib.compress(data, 1)),
    "lzo": (LZO, lzo_compress),
    "snappy": (SNAPPY, snappy_compress),
    "zstd": (ZSTD, lambda data: zstandard.ZstdCompressor(level=1).compress(data)),
}


@dataclass(frozen=True)
class Kdump:
    """What is to be written. ``stored`` has the pages by number; the pages in ``excluded`` were memory and left out,
    those in ``lost`` should be in the file and have a descriptor of zeros."""

    stored: Mapping[int, bytes]
    excluded: frozenset[int] = frozenset()
    lost: frozenset[int] = frozenset()
    pages: int = 64
    page_bytes: int = PAGE_BYTES
    byte_order: ByteOrder = "little"
    version: int = 6
    codec: str = "zlib"
    notes: bytes = b""
    vmcoreinfo: bytes = b""
    split: tuple[int, int] | None = None
    status: int = 0
    machine: str = "ppc64le"
    nodename: str = "node"
    domainname: str = "(none)"
    phys_base: int = 0
    cpus: int = 1
    erase_info: bytes = b""
    one_bitmap: bool = False
    places: dict[str, int] = field(default_factory=dict)
    """Filled in by :func:`build_kdump`: where bitmaps, descriptors and data begin."""


def build_kdump(dump: Kdump) -> bytes:
    """The whole file. A page that doesn't get smaller is stored as it is; equal pages are stored once."""
    here = range(*dump.split) if dump.split else range(dump.pages)
    written = sorted({*dump.stored} | dump.lost)
    half_blocks = -(-dump.pages // (8 * dump.page_bytes))
    blocks = half_blocks if dump.one_bitmap else 2 * half_blocks
    bitmap_at = 2 * dump.page_bytes
    descriptors_at = bitmap_at + blocks * dump.page_bytes
    mine = [page for page in written if page in here]
    data_at = descriptors_at + len(mine) * DESCRIPTOR.size_bytes
    dump.places.update(bitmap=bitmap_at, descriptors=descriptors_at, data=data_at)

    descriptors, data, known = [], b"", {}
    for page in mine:
        if page in dump.lost:
            descriptors.append(bytes(DESCRIPTOR.size_bytes))
            continue
        content = dump.stored[page]
        if content not in known:
            flags, compress = CODECS[dump.codec]
            packed = compress(content)
            if len(packed) >= len(content):
                flags, packed = 0, content
            descriptor = Descriptor(data_at + len(data), len(packed), flags)
            known[content] = DESCRIPTOR.in_order(dump.byte_order).encode(descriptor)
            data += packed
        descriptors.append(known[content])
    bitmaps = [_bitmap({*written, *dump.excluded}, half_blocks * dump.page_bytes)] * (not dump.one_bitmap)
    bitmaps.append(_bitmap(written, half_blocks * dump.page_bytes))
    headers = [_padded(_header(dump, blocks), dump.page_bytes), _padded(_sub_header(dump), dump.page_bytes)]
    return b"".join([*headers, *bitmaps, *descriptors, data])


def flatten(records: Sequence[tuple[int, bytes]], *, end: bytes = END_OF_STREAM) -> bytes:
    """A stream of (offset, data) as makedumpfile -F writes it."""
    header = struct.pack(">16sqq", b"makedumpfile", 1, 1).ljust(4096, b"\0")
    return header + b"".join(struct.pack(">qq", offset, len(data)) + data for offset, data in records) + end


def flattened(data: bytes, chunk_bytes: int = 1000, *, end: bytes = END_OF_STREAM) -> bytes:
    """A file as a stream. Its beginning comes first a little different, then right at the end, as makedumpfile does."""
    records = [(at, data[at : at + chunk_bytes]) for at in range(0, len(data), chunk_bytes)]
    _, first = records[0]
    return flatten([(0, first[:-1] + b"\xee"), *records[1:], (0, first)], end=end)


def _header(dump: Kdump, bitmap_blocks: int) -> bytes:
    header = DiskDumpHeader(
        signature=b"KDUMP   ",
        header_version=dump.version,
        sysname=b"Linux",
        nodename=dump.nodename.encode(),
        release=b"6.12.0",
        version=b"#1",
        machine=dump.machine.encode(),
        domainname=dump.domainname.encode(),
        seconds=1_700_000_000,
        microseconds=5,
        status=dump.status,
        block_size=dump.page_bytes,
        sub_hdr_size=1,
        bitmap_blocks=bitmap_blocks,
        max_mapnr=min(dump.pages, 2**32 - 1),
        nr_cpus=dump.cpus,
    )
    return HEADER.in_order(dump.byte_order).encode(header)


def _sub_header(dump: Kdump) -> bytes:
    start, end = dump.split or (0, 0)
    notes_at = dump.page_bytes + SUB_HEADER.size_bytes
    is_new = dump.version >= 6
    sub_header = KdumpSubHeader(
        phys_base=dump.phys_base,
        dump_level=31,
        split=int(bool(dump.split)),
        start_pfn=0 if is_new else start,
        end_pfn=0 if is_new else end,
        offset_vmcoreinfo=notes_at + len(dump.notes),
        size_vmcoreinfo=len(dump.vmcoreinfo),
        offset_note=notes_at,
        size_note=len(dump.notes),
        offset_eraseinfo=notes_at + len(dump.notes) + len(dump.vmcoreinfo),
        size_eraseinfo=len(dump.erase_info),
        start_pfn_64=start if is_new else 0,
        end_pfn_64=end if is_new else 0,
        max_mapnr_64=dump.pages if is_new else 0,
    )
    return SUB_HEADER.in_order(dump.byte_order).encode(sub_header) + dump.notes + dump.vmcoreinfo + dump.erase_info


def _bitmap(pages: Sequence[int] | set[int], size_bytes: int) -> bytes:
    bits = bytearray(size_bytes)
    for page in pages:
        bits[page // 8] |= 1 << page % 8
    return bytes(bits)


def _padded(data: bytes, size_bytes: int) -> bytes:
    assert len(data) <= size_bytes
    return data.ljust(size_bytes, b"\0")


# A small dump with everything in it, for tests that don't care

INFO = b"OSRELEASE=6.12.0\nPAGESIZE=4096\n"


def page(number, page_bytes=PAGE_BYTES):
    """A page that compresses, unlike every other page."""
    return struct.pack("<I", number + 1).ljust(64, b"x") * (page_bytes // 64)


STORED = {0: page(0), 1: page(1), 2: bytes(PAGE_BYTES), 9: page(9), 40: bytes(PAGE_BYTES)}
EXCLUDED = frozenset({3, 4, 5, 41})


def sample(**changes):
    settings = {"stored": STORED, "excluded": EXCLUDED, "vmcoreinfo": INFO} | changes
    return Kdump(**settings)


def addresses(first_page, end_page):
    return Range(first_page * PAGE_BYTES, end_page * PAGE_BYTES)

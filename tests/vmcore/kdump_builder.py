"""Builds kdump-compressed and flattened files for tests, field by field, and shares no code with what reads them."""

import ctypes
import struct
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import cramjam
import zstandard

from fadump.memory.ranges import Range
from tests.vmcore.core_builder import ByteOrder

PAGE_BYTES = 4096
HEADER_BYTES = 464
SUB_HEADER_BYTES = 104
DESCRIPTOR_BYTES = 24
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


CODECS: Mapping[str, tuple[int, Callable[[bytes], bytes]]] = {
    "raw": (0, bytes),
    "zlib": (ZLIB, lambda data: zlib.compress(data, 1)),
    "lzo": (LZO, lzo_compress),
    "snappy": (SNAPPY, lambda data: bytes(cramjam.snappy.compress_raw(data))),
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
    one_bitmap: bool = False
    places: dict[str, int] = field(default_factory=dict)
    """Filled in by :func:`build_kdump`: where bitmaps, descriptors and data begin."""


def build_kdump(dump: Kdump) -> bytes:
    """The whole file. A page that doesn't get smaller is stored as it is; equal pages are stored once."""
    order = {"little": "<", "big": ">"}[dump.byte_order]
    here = range(*dump.split) if dump.split else range(dump.pages)
    written = sorted({*dump.stored} | dump.lost)
    half_blocks = -(-dump.pages // (8 * dump.page_bytes))
    blocks = half_blocks if dump.one_bitmap else 2 * half_blocks
    bitmap_at = 2 * dump.page_bytes
    descriptors_at = bitmap_at + blocks * dump.page_bytes
    mine = [page for page in written if page in here]
    data_at = descriptors_at + len(mine) * DESCRIPTOR_BYTES
    dump.places.update(bitmap=bitmap_at, descriptors=descriptors_at, data=data_at)

    descriptors, data, known = [], b"", {}
    for page in mine:
        if page in dump.lost:
            descriptors.append(bytes(DESCRIPTOR_BYTES))
            continue
        content = dump.stored[page]
        if content not in known:
            flags, compress = CODECS[dump.codec]
            packed = compress(content)
            if len(packed) >= len(content):
                flags, packed = 0, content
            known[content] = struct.pack(order + "QIIQ", data_at + len(data), len(packed), flags, 0)
            data += packed
        descriptors.append(known[content])
    bitmaps = [_bitmap({*written, *dump.excluded}, half_blocks * dump.page_bytes)] * (not dump.one_bitmap)
    bitmaps.append(_bitmap(written, half_blocks * dump.page_bytes))
    headers = [
        _padded(_header(dump, order, blocks), dump.page_bytes),
        _padded(_sub_header(dump, order), dump.page_bytes),
    ]
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


def _header(dump: Kdump, order: str, bitmap_blocks: int) -> bytes:
    names = ["Linux", dump.nodename, "6.12.0", "#1", dump.machine, "(none)"]
    utsname = b"".join(name.encode().ljust(65, b"\0") for name in names)
    numbers = (dump.status, dump.page_bytes, 1, bitmap_blocks, min(dump.pages, 2**32 - 1), 0, 0, 0, 0, 1)
    return (
        struct.pack(order + "8si", b"KDUMP   ", dump.version)
        + (utsname.ljust(396, b"\0") + struct.pack(order + "qq", 1_700_000_000, 5))
        + struct.pack(order + "IiiIIIIIIi", *numbers)
    )


def _sub_header(dump: Kdump, order: str) -> bytes:
    start, end = dump.split or (0, 0)
    notes_at = dump.page_bytes + SUB_HEADER_BYTES
    info_at = notes_at + len(dump.notes)
    old_split = (0, 0) if dump.version >= 6 else (start, end)
    new_split = (start, end, dump.pages) if dump.version >= 6 else (0, 0, 0)
    places = (info_at, len(dump.vmcoreinfo), notes_at, len(dump.notes), 0, 0)
    fields = struct.pack(order + "QiiQQ6Q3Q", 0, 31, int(bool(dump.split)), *old_split, *places, *new_split)
    return fields + dump.notes + dump.vmcoreinfo


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

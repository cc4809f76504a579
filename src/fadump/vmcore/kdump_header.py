"""The headers of a kdump-compressed file: what they hold and where everything else in the file is.

Specification: makedumpfile's IMPLEMENTATION and diskdump_mod.h (struct disk_dump_header, struct
kdump_sub_header), header versions 1 to 6 as a 64-bit machine writes them. All fields have the byte
order of the crashed kernel; offsets count bytes from the start of the file, and a block is a page.

    block 0               disk_dump_header
    block 1               kdump_sub_header, then notes, VMCOREINFO and others where it says
    1 + sub_hdr_size      bitmap 1: pages that are memory; bitmap 2: pages that are in the file. One bit a
                          page, the lowest bit of a byte first. Files older than makedumpfile have one for both
    ... + bitmap_blocks   page descriptors, one for each page in the file
    then                  the pages
"""

import struct
from dataclasses import dataclass
from typing import NamedTuple

from fadump.abi.layout import STRUCT_ORDER, ByteOrder
from fadump.errors import FormatError
from fadump.memory.ranges import Range
from fadump.vmcore.source import Source

SIGNATURE = b"KDUMP   "
NEWEST_VERSION = 6
STATUS_OFFSET = 424
INCOMPLETE = 0x8
"""In the status: whoever wrote the file knew that it isn't all there (DUMP_DH_COMPRESSED_INCOMPLETE)."""
DESCRIPTOR_BYTES = 24

_HEADER_FIELDS = "8s i 65s 65s 65s 65s 65s 65s 6x q q I i i I I"
"""signature, header_version, utsname (sysname, nodename, release, version, machine, domainname), timestamp
(seconds, microseconds), status, block_size, sub_hdr_size, bitmap_blocks, max_mapnr."""
_SUB_HEADER_FIELDS = "Q i i Q Q Q Q Q Q Q Q Q Q Q"
"""phys_base, dump_level, split, start_pfn, end_pfn, offset and size of vmcoreinfo, of notes and of eraseinfo,
start_pfn_64, end_pfn_64, max_mapnr_64."""
_HEADER_REST_FIELDS = "IIIIi"
"""total_ram_blocks, device_blocks, written_blocks, current_cpu, nr_cpus: only crash reads any, and wants a CPU."""
SUB_HEADER_BYTES = struct.calcsize("<" + _SUB_HEADER_FIELDS)
_NAME_BYTES = 64
_MOST_PAGES_32 = (1 << 32) - 1
_VERSION_OFFSET = 8
_BLOCK_SIZE_OFFSET = 428
_BLOCK_SIZE_OFFSET_32 = 416
_MAX_MAPNR_OFFSET = 440
_MAX_MAPNR_64_OFFSET = 96
_LEAST_BLOCK_BYTES, _MOST_BLOCK_BYTES = 1 << 12, 1 << 18
"""No size in between is another one in between with its bytes turned around."""
_MOST_PAGES = 1 << 33
"""The size of a bitmap is limited to 1 GiB: 512 TiB of 64K pages."""


@dataclass(frozen=True, slots=True)
class KdumpHeader:
    """What both headers say. Page numbers (pfn) are physical addresses in pages.

    ``split`` are the pages that one file of a set is about, None if it isn't one. ``notes`` and ``vmcoreinfo``
    are where they stand in the file, empty if nowhere. ``dump_level`` is makedumpfile's -d, ``timestamp`` seconds
    since 1970.
    """

    byte_order: ByteOrder
    version: int
    nodename: str
    release: str
    machine: str
    timestamp: int
    status: int
    page_bytes: int
    sub_header_blocks: int
    bitmap_blocks: int
    pages: int
    dump_level: int
    split: Range | None
    notes: Range
    vmcoreinfo: Range

    @property
    def bitmap_offset(self) -> int:
        """Where the bitmaps begin."""
        return (1 + self.sub_header_blocks) * self.page_bytes

    @property
    def bitmaps_bytes(self) -> int:
        """How large they are together."""
        return self.bitmap_blocks * self.page_bytes

    @property
    def has_two_bitmaps(self) -> bool:
        """Whether memory and what is in the file have one bitmap each."""
        return self.pages <= self.bitmaps_bytes // 2 * 8

    @property
    def descriptors_offset(self) -> int:
        """Where the page descriptors begin."""
        return self.bitmap_offset + self.bitmaps_bytes


class _SubHeader(NamedTuple):
    phys_base: int
    dump_level: int
    split: int
    start_pfn: int
    end_pfn: int
    vmcoreinfo_offset: int
    vmcoreinfo_bytes: int
    notes_offset: int
    notes_bytes: int
    eraseinfo_offset: int
    eraseinfo_bytes: int
    start_pfn_64: int
    end_pfn_64: int
    pages_64: int


def read_kdump_header(source: Source) -> KdumpHeader:
    """Both headers.

    :raises FormatError: it is not a kdump-compressed file, of a 32-bit machine, or its headers make no sense.
    :raises OSError: the file can't be read.
    """
    raw = source.read(0, struct.calcsize("<" + _HEADER_FIELDS), "kdump header")
    if not raw.startswith(SIGNATURE):
        raise FormatError("not a kdump-compressed file", offset=0, expected=SIGNATURE, found=raw[: len(SIGNATURE)])
    byte_order = _byte_order(raw)
    order = STRUCT_ORDER[byte_order]
    fields = struct.unpack(order + _HEADER_FIELDS, raw)
    version, _sysname, nodename, release, _version, machine = fields[1:7]
    seconds, _microseconds, status, page_bytes, sub_blocks, bitmap_blocks, pages = fields[8:]
    if version < 1:
        raise FormatError("kdump header version", offset=_VERSION_OFFSET, expected="1 or more", found=version)
    if sub_blocks < 1:
        raise FormatError("no kdump sub header", offset=_BLOCK_SIZE_OFFSET + 4, expected="1 or more", found=sub_blocks)
    layout = struct.Struct(order + _SUB_HEADER_FIELDS)
    sub = _SubHeader(*layout.unpack(source.read(page_bytes, layout.size, "kdump sub header")))
    header = KdumpHeader(
        byte_order=byte_order,
        version=version,
        nodename=_text(nodename),
        release=_text(release),
        machine=_text(machine),
        timestamp=seconds,
        status=status,
        page_bytes=page_bytes,
        sub_header_blocks=sub_blocks,
        bitmap_blocks=bitmap_blocks,
        pages=sub.pages_64 if version >= 6 else pages,
        dump_level=sub.dump_level,
        split=_split(sub, version, page_bytes),
        notes=_part(sub.notes_offset, sub.notes_bytes) if version >= 4 else Range(0, 0),
        vmcoreinfo=_part(sub.vmcoreinfo_offset, sub.vmcoreinfo_bytes) if version >= 3 else Range(0, 0),
    )
    most = min(header.bitmaps_bytes * 8, _MOST_PAGES)
    if not 0 < header.pages <= most:
        at = page_bytes + _MAX_MAPNR_64_OFFSET if version >= 6 else _MAX_MAPNR_OFFSET
        raise FormatError("number of pages", offset=at, expected=f"1 to {most}", found=header.pages)
    return header


def encode_header(header: KdumpHeader, *, kernel_version: str, cpus: int) -> bytes:
    """The first header. ``kernel_version`` is uname(2)'s, ``cpus`` how many have registers; texts too long are cut."""
    names = ("Linux", header.nodename, header.release, kernel_version, header.machine, "(none)")
    return struct.pack(
        STRUCT_ORDER[header.byte_order] + _HEADER_FIELDS + _HEADER_REST_FIELDS,
        SIGNATURE,
        header.version,
        *(name.encode("ascii", "backslashreplace")[:_NAME_BYTES] for name in names),
        header.timestamp,
        0,
        header.status,
        header.page_bytes,
        header.sub_header_blocks,
        header.bitmap_blocks,
        min(header.pages, _MOST_PAGES_32),
        *(0, 0, 0, 0, max(1, cpus)),
    )


def encode_sub_header(header: KdumpHeader) -> bytes:
    """The second header."""
    split = Range(0, 0) if header.split is None else header.split
    sub = _SubHeader(
        phys_base=0,
        dump_level=header.dump_level,
        split=int(header.split is not None),
        start_pfn=min(split.start, _MOST_PAGES_32),
        end_pfn=min(split.end, _MOST_PAGES_32),
        vmcoreinfo_offset=header.vmcoreinfo.start,
        vmcoreinfo_bytes=header.vmcoreinfo.size_bytes,
        notes_offset=header.notes.start,
        notes_bytes=header.notes.size_bytes,
        eraseinfo_offset=0,
        eraseinfo_bytes=0,
        start_pfn_64=split.start,
        end_pfn_64=split.end,
        pages_64=header.pages,
    )
    return struct.pack(STRUCT_ORDER[header.byte_order] + _SUB_HEADER_FIELDS, *sub)


def _byte_order(raw: bytes) -> ByteOrder:
    """The one in which the page size is a page size."""
    orders: tuple[ByteOrder, ByteOrder] = ("little", "big")
    for byte_order in orders:
        if _can_be_page_bytes(int.from_bytes(raw[_BLOCK_SIZE_OFFSET : _BLOCK_SIZE_OFFSET + 4], byte_order)):
            return byte_order
    for byte_order in orders:
        if _can_be_page_bytes(int.from_bytes(raw[_BLOCK_SIZE_OFFSET_32 : _BLOCK_SIZE_OFFSET_32 + 4], byte_order)):
            raise FormatError("a dump of a 32-bit machine, which isn't read here", offset=_BLOCK_SIZE_OFFSET_32)
    found = raw[_BLOCK_SIZE_OFFSET : _BLOCK_SIZE_OFFSET + 4]
    wanted = f"a power of 2, {_LEAST_BLOCK_BYTES} to {_MOST_BLOCK_BYTES}"
    raise FormatError("page size", offset=_BLOCK_SIZE_OFFSET, expected=wanted, found=found)


def _can_be_page_bytes(size: int) -> bool:
    return _LEAST_BLOCK_BYTES <= size <= _MOST_BLOCK_BYTES and size & (size - 1) == 0


def _split(sub: _SubHeader, version: int, page_bytes: int) -> Range | None:
    if version < 2 or not sub.split:
        return None
    start, end = (sub.start_pfn_64, sub.end_pfn_64) if version >= 6 else (sub.start_pfn, sub.end_pfn)
    if start > end:
        raise FormatError(
            "file of a split dump that ends before it begins", offset=page_bytes, expected=start, found=end
        )
    return Range(start, end)


def _part(offset: int, size_bytes: int) -> Range:
    return Range.sized(offset, size_bytes)


def _text(field: bytes) -> str:
    return field.split(b"\0", 1)[0].decode("ascii", "backslashreplace")

"""The headers of a kdump-compressed file: what they hold and where the rest of the file is.

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

from dataclasses import dataclass
from typing import Annotated, NamedTuple

from fadump.abi.layout import ByteOrder, Layout, raw, s32, s64, u32, u64
from fadump.errors import FormatError
from fadump.limits import MOST_PAGES
from fadump.memory.ranges import Range
from fadump.vmcore.codecs import PACKED
from fadump.vmcore.source import Source

SIGNATURE = b"KDUMP   "
NEWEST_VERSION = 6
INCOMPLETE = 0x8
"""In the status: the writer knew that the file isn't complete (DUMP_DH_COMPRESSED_INCOMPLETE)."""
_NAME_BYTES = 64
_MOST_PAGES_32 = (1 << 32) - 1
_BLOCK_SIZE_OFFSET_32 = 416
"""The offset of block_size on a 32-bit machine, whose timestamp is shorter."""
_LEAST_BLOCK_BYTES, _MOST_BLOCK_BYTES = 1 << 12, 1 << 18
"""No size in this range is still in it with its bytes swapped."""


class DiskDumpHeader(NamedTuple):
    """struct disk_dump_header; the fields of its struct new_utsname are fields here."""

    signature: Annotated[bytes, raw(0x000, 8)]
    header_version: Annotated[int, s32(0x008)]
    sysname: Annotated[bytes, raw(0x00C, 65)]
    nodename: Annotated[bytes, raw(0x04D, 65)]
    release: Annotated[bytes, raw(0x08E, 65)]
    version: Annotated[bytes, raw(0x0CF, 65)]
    machine: Annotated[bytes, raw(0x110, 65)]
    domainname: Annotated[bytes, raw(0x151, 65)]
    seconds: Annotated[int, s64(0x198)]
    microseconds: Annotated[int, s64(0x1A0)]
    status: Annotated[int, u32(0x1A8)]
    block_size: Annotated[int, s32(0x1AC)]
    sub_hdr_size: Annotated[int, s32(0x1B0)]
    bitmap_blocks: Annotated[int, u32(0x1B4)]
    max_mapnr: Annotated[int, u32(0x1B8)]
    total_ram_blocks: Annotated[int, u32(0x1BC)] = 0
    device_blocks: Annotated[int, u32(0x1C0)] = 0
    written_blocks: Annotated[int, u32(0x1C4)] = 0
    current_cpu: Annotated[int, u32(0x1C8)] = 0
    nr_cpus: Annotated[int, s32(0x1CC)] = 0
    """Of the fields from total_ram_blocks on, only crash reads any, and it refuses a dump without CPUs."""


class KdumpSubHeader(NamedTuple):
    """struct kdump_sub_header."""

    phys_base: Annotated[int, u64(0x00)]
    dump_level: Annotated[int, s32(0x08)]
    split: Annotated[int, s32(0x0C)]
    start_pfn: Annotated[int, u64(0x10)]
    end_pfn: Annotated[int, u64(0x18)]
    offset_vmcoreinfo: Annotated[int, u64(0x20)]
    size_vmcoreinfo: Annotated[int, u64(0x28)]
    offset_note: Annotated[int, u64(0x30)]
    size_note: Annotated[int, u64(0x38)]
    offset_eraseinfo: Annotated[int, u64(0x40)]
    size_eraseinfo: Annotated[int, u64(0x48)]
    start_pfn_64: Annotated[int, u64(0x50)]
    end_pfn_64: Annotated[int, u64(0x58)]
    max_mapnr_64: Annotated[int, u64(0x60)]


class Descriptor(NamedTuple):
    """struct page_desc: where one page is in the file, its size there, and how it is packed (see codecs.py).

    An ``offset`` of 0 means that the page is missing and the file incomplete. The last word, page_flags, is unused.
    """

    offset: Annotated[int, u64(0x00)]
    size: Annotated[int, u32(0x08)]
    flags: Annotated[int, u32(0x0C)]

    def is_plain(self, page_bytes: int) -> bool:
        """Whether the page isn't packed."""
        return not self.flags & PACKED and self.size == page_bytes


HEADER = Layout(DiskDumpHeader, "kdump header", "little")
SUB_HEADER = Layout(KdumpSubHeader, "kdump sub header", "little")
DESCRIPTOR = Layout(Descriptor, "page descriptor", "little", size_bytes=0x18)
"""In the byte order of the crashed kernel."""
DESCRIPTOR_BYTES = DESCRIPTOR.size_bytes
SUB_HEADER_BYTES = SUB_HEADER.size_bytes


@dataclass(frozen=True, slots=True)
class KdumpHeader:
    """What both headers say. Page numbers (pfn) are physical addresses in pages.

    ``split`` is the pages that one file of a set covers, None if it isn't one of a set. ``notes`` and ``vmcoreinfo``
    are where they are in the file, empty if it has none, as is ``erase_info``. ``dump_level`` is makedumpfile's -d,
    ``timestamp`` seconds since 1970, of which ``microseconds`` is the rest.
    """

    byte_order: ByteOrder
    version: int
    sysname: str
    nodename: str
    release: str
    kernel_version: str
    machine: str
    domainname: str
    timestamp: int
    microseconds: int
    status: int
    page_bytes: int
    sub_header_blocks: int
    bitmap_blocks: int
    pages: int
    cpus: int
    phys_base: int
    dump_level: int
    split: Range | None
    notes: Range
    vmcoreinfo: Range
    erase_info: Range

    @property
    def bitmap_offset(self) -> int:
        """Where the bitmaps begin."""
        return (1 + self.sub_header_blocks) * self.page_bytes

    @property
    def bitmaps_bytes(self) -> int:
        """The size of all bitmaps."""
        return self.bitmap_blocks * self.page_bytes

    @property
    def has_two_bitmaps(self) -> bool:
        """Whether there is a bitmap of memory besides that of the pages in the file."""
        return self.pages <= self.bitmaps_bytes // 2 * 8

    @property
    def descriptors_offset(self) -> int:
        """Where the page descriptors begin."""
        return self.bitmap_offset + self.bitmaps_bytes


def read_kdump_header(source: Source) -> KdumpHeader:
    """Read both headers.

    :raises FormatError: it is not a kdump-compressed file, of a 32-bit machine, or its headers make no sense.
    :raises OSError: the file can't be read.
    """
    data = source.read(0, HEADER.size_bytes, "kdump header")
    if not data.startswith(SIGNATURE):
        raise FormatError("not a kdump-compressed file", offset=0, expected=SIGNATURE, found=data[: len(SIGNATURE)])
    byte_order = _byte_order(data)
    first = HEADER.in_order(byte_order).decode(data)
    version, page_bytes = first.header_version, first.block_size
    if version < 1:
        at = HEADER.offset("header_version")
        raise FormatError("kdump header version", offset=at, expected="1 or more", found=version)
    if first.sub_hdr_size < 1:
        at = HEADER.offset("sub_hdr_size")
        raise FormatError("no kdump sub header", offset=at, expected="1 or more", found=first.sub_hdr_size)
    sub = SUB_HEADER.in_order(byte_order).decode(source.read(page_bytes, SUB_HEADER_BYTES, "kdump sub header"))
    header = KdumpHeader(
        byte_order=byte_order,
        version=version,
        sysname=_text(first.sysname),
        nodename=_text(first.nodename),
        release=_text(first.release),
        kernel_version=_text(first.version),
        machine=_text(first.machine),
        domainname=_text(first.domainname),
        timestamp=first.seconds,
        microseconds=first.microseconds,
        status=first.status,
        page_bytes=page_bytes,
        sub_header_blocks=first.sub_hdr_size,
        bitmap_blocks=first.bitmap_blocks,
        pages=sub.max_mapnr_64 if version >= 6 else first.max_mapnr,
        cpus=first.nr_cpus,
        phys_base=sub.phys_base,
        dump_level=sub.dump_level,
        split=_split(sub, version, page_bytes),
        notes=Range.sized(sub.offset_note, sub.size_note) if version >= 4 else Range(0, 0),
        vmcoreinfo=Range.sized(sub.offset_vmcoreinfo, sub.size_vmcoreinfo) if version >= 3 else Range(0, 0),
        erase_info=Range.sized(sub.offset_eraseinfo, sub.size_eraseinfo) if version >= 5 else Range(0, 0),
    )
    most = min(header.bitmaps_bytes * 8, MOST_PAGES)
    if not 0 < header.pages <= most:
        at = page_bytes + SUB_HEADER.offset("max_mapnr_64") if version >= 6 else HEADER.offset("max_mapnr")
        raise FormatError("number of pages", offset=at, expected=f"1 to {most}", found=header.pages)
    return header


def encode_header(header: KdumpHeader) -> bytes:
    """The first header; long texts are cut."""
    first = DiskDumpHeader(
        signature=SIGNATURE,
        header_version=header.version,
        sysname=_encode_text(header.sysname),
        nodename=_encode_text(header.nodename),
        release=_encode_text(header.release),
        version=_encode_text(header.kernel_version),
        machine=_encode_text(header.machine),
        domainname=_encode_text(header.domainname),
        seconds=header.timestamp,
        microseconds=header.microseconds,
        status=header.status,
        block_size=header.page_bytes,
        sub_hdr_size=header.sub_header_blocks,
        bitmap_blocks=header.bitmap_blocks,
        max_mapnr=min(header.pages, _MOST_PAGES_32),
        nr_cpus=max(1, header.cpus),
    )
    return HEADER.in_order(header.byte_order).encode(first)


def encode_sub_header(header: KdumpHeader) -> bytes:
    """The second header."""
    split = Range(0, 0) if header.split is None else header.split
    sub = KdumpSubHeader(
        phys_base=header.phys_base,
        dump_level=header.dump_level,
        split=int(header.split is not None),
        start_pfn=min(split.start, _MOST_PAGES_32),
        end_pfn=min(split.end, _MOST_PAGES_32),
        offset_vmcoreinfo=header.vmcoreinfo.start,
        size_vmcoreinfo=header.vmcoreinfo.size_bytes,
        offset_note=header.notes.start,
        size_note=header.notes.size_bytes,
        offset_eraseinfo=header.erase_info.start,
        size_eraseinfo=header.erase_info.size_bytes,
        start_pfn_64=split.start,
        end_pfn_64=split.end,
        max_mapnr_64=header.pages,
    )
    return SUB_HEADER.in_order(header.byte_order).encode(sub)


def _byte_order(data: bytes) -> ByteOrder:
    """The byte order in which the page size is valid."""
    at = HEADER.offset("block_size")
    orders: tuple[ByteOrder, ByteOrder] = ("little", "big")
    for byte_order in orders:
        if _can_be_page_bytes(int.from_bytes(data[at : at + 4], byte_order)):
            return byte_order
    for byte_order in orders:
        if _can_be_page_bytes(int.from_bytes(data[_BLOCK_SIZE_OFFSET_32 : _BLOCK_SIZE_OFFSET_32 + 4], byte_order)):
            raise FormatError("a dump of a 32-bit machine, which isn't read here", offset=_BLOCK_SIZE_OFFSET_32)
    found = data[at : at + 4]
    wanted = f"a power of 2, {_LEAST_BLOCK_BYTES} to {_MOST_BLOCK_BYTES}"
    raise FormatError("page size", offset=at, expected=wanted, found=found)


def _can_be_page_bytes(size: int) -> bool:
    return _LEAST_BLOCK_BYTES <= size <= _MOST_BLOCK_BYTES and size & (size - 1) == 0


def _split(sub: KdumpSubHeader, version: int, page_bytes: int) -> Range | None:
    if version < 2 or not sub.split:
        return None
    start, end = (sub.start_pfn_64, sub.end_pfn_64) if version >= 6 else (sub.start_pfn, sub.end_pfn)
    if start > end:
        raise FormatError(
            "file of a split dump that ends before it begins", offset=page_bytes, expected=start, found=end
        )
    return Range(start, end)


def _text(field: bytes) -> str:
    return field.split(b"\0", 1)[0].decode("ascii", "backslashreplace")


def _encode_text(text: str) -> bytes:
    return text.encode("ascii", "backslashreplace")[:_NAME_BYTES]

"""The dump memory structure: what a kernel wants preserved, and, after a crash, what was.

Step "register" of docs/architecture.md, and "process" when it comes back as ibm,kernel-dump.
Specification: LoPAR, "ibm,configure-kernel-dump", Table "Kernel Assisted Dump Memory Structure".
Linux has it as struct rtas_fadump_mem_struct in arch/powerpc/platforms/pseries/rtas-fadump.h.
All fields are big-endian.

    header   0x00  u32  version, 1
             0x04  u16  number of sections, at most 10
             0x06  u16  status, see DumpStatus
             0x08  u32  first_section_offset, from the start of the structure
             0x0c  u32  disk_block_bytes       the disk fields serve a dump that the
             0x10  u64  disk_start_block       firmware itself writes to a disk; Linux
             0x18  u64  disk_block_count       has them zero
             0x20  u32  disk_path_offset
             0x24  u32  max_time_auto_ms, until a hanging system is dumped by itself; 0 never
    section  0x00  u32  request_flags, 1 to copy
             0x04  u16  type, see SectionType
             0x06  u16  error_flags, see SectionError
             0x08  u64  source
             0x10  u64  requested_bytes
             0x18  u64  copied_bytes
             0x20  u64  destination
"""

import struct
from dataclasses import dataclass
from enum import IntEnum, IntFlag

from fadump.errors import FormatError

VERSION = 1
MAX_SECTIONS = 10
MAX_BYTES = 512
"""How long a version 1 structure may be, with a disk's path."""
REQUEST_COPY = 0x0000_0001

_HEADER = struct.Struct(">IHHIIQQII")
_SECTION = struct.Struct(">IHHQQQQ")
HEADER_BYTES = _HEADER.size
SECTION_BYTES = _SECTION.size


class SectionType(IntEnum):
    """What a section asks for. Types from OS_DEFINED_FIRST on belong to the kernel: the firmware copies them."""

    CPU_STATE = 0x0001
    HPTE = 0x0002
    REAL_MODE_REGION = 0x0011
    OS_IDENTIFICATION = 0x0012
    OS_DEFINED_FIRST = 0x0100
    PARAMETER_AREA = 0x0100
    """Linux's: the area of kernel parameters for the capture kernel (commit 3416c9daa6b1)."""


class SectionError(IntFlag):
    """Why a section was not copied, or not whole."""

    INVALID_TYPE = 0x8000
    INVALID_SOURCE = 0x4000
    LENGTH_EXCEEDS = 0x2000
    INVALID_DESTINATION = 0x1000
    DESTINATION_TOO_SMALL = 0x0800


class DumpStatus(IntFlag):
    """How the dump went."""

    PERFORMED = 0x8000
    TRIGGERED = 0x4000
    """By the boot before this one."""
    ERROR = 0x2000


_NO_STATUS = DumpStatus(0)


@dataclass(frozen=True, slots=True)
class Section:
    """One region: addresses are guest physical. ``type`` is kept as it is, known or not."""

    request_flags: int
    type: int
    error_flags: SectionError
    source: int
    requested_bytes: int
    copied_bytes: int
    destination: int


@dataclass(frozen=True, slots=True)
class DumpStructure:
    """The whole structure, fields in the specification's order.

    What stands between the header and ``first_section_offset`` (a disk's path may) is not kept.
    """

    version: int = VERSION
    status: DumpStatus = _NO_STATUS
    first_section_offset: int = HEADER_BYTES
    disk_block_bytes: int = 0
    disk_start_block: int = 0
    disk_block_count: int = 0
    disk_path_offset: int = 0
    max_time_auto_ms: int = 0
    sections: tuple[Section, ...] = ()

    @property
    def size_bytes(self) -> int:
        """How long it is as bytes: what the kernel has to give as its length."""
        return self.first_section_offset + len(self.sections) * SECTION_BYTES

    @classmethod
    def decode(cls, structure: bytes | memoryview) -> "DumpStructure":
        """The structure at the start of ``structure``; what follows its last section is not looked at.

        :raises FormatError: it is cut short, of another version, larger than any can be, or has no
            section or more than 10.
        """
        if len(structure) < HEADER_BYTES:
            raise FormatError(
                "dump memory structure's header cut short", offset=0, expected=HEADER_BYTES, found=len(structure)
            )
        header: tuple[int, ...] = _HEADER.unpack_from(structure)
        version, count, status, first_section_offset, block_bytes, start_block, block_count, path, max_time = header
        if version != VERSION:
            raise FormatError("dump memory structure of another version", offset=0, expected=VERSION, found=version)
        if not 1 <= count <= MAX_SECTIONS:
            raise FormatError(
                "dump memory structure with no sections or too many", offset=4, expected=MAX_SECTIONS, found=count
            )
        end = first_section_offset + count * SECTION_BYTES
        if first_section_offset < HEADER_BYTES or end > MAX_BYTES:
            raise FormatError(
                "dump memory structure's sections out of place",
                offset=8,
                expected=HEADER_BYTES,
                found=first_section_offset,
            )
        if end > len(structure):
            raise FormatError(
                "dump memory structure's sections cut short",
                offset=first_section_offset,
                expected=end,
                found=len(structure),
            )
        offsets = range(first_section_offset, end, SECTION_BYTES)
        sections = tuple(_decode_section(structure, offset) for offset in offsets)
        return cls(
            version,
            DumpStatus(status),
            first_section_offset,
            block_bytes,
            start_block,
            block_count,
            path,
            max_time,
            sections,
        )

    def encode(self) -> bytes:
        """The structure as ``size_bytes`` bytes.

        :raises ValueError: no section, more than 10, sections out of place, or a number that its field
            can't hold.
        """
        if not 1 <= len(self.sections) <= MAX_SECTIONS:
            raise ValueError(f"a dump memory structure has 1 to {MAX_SECTIONS} sections, not {len(self.sections)}")
        if self.first_section_offset < HEADER_BYTES or self.size_bytes > MAX_BYTES:
            raise ValueError(f"a dump memory structure can't have its sections at {self.first_section_offset:#x}")
        try:
            header = _HEADER.pack(
                self.version,
                len(self.sections),
                self.status,
                self.first_section_offset,
                self.disk_block_bytes,
                self.disk_start_block,
                self.disk_block_count,
                self.disk_path_offset,
                self.max_time_auto_ms,
            )
            sections = [_encode_section(section) for section in self.sections]
        except struct.error as error:
            raise ValueError(f"dump memory structure with a number too large for its field: {error}") from error
        return header.ljust(self.first_section_offset, b"\0") + b"".join(sections)


def _decode_section(structure: bytes | memoryview, offset: int) -> Section:
    request_flags, type_, error_flags, *others = _SECTION.unpack_from(structure, offset)
    return Section(request_flags, type_, SectionError(error_flags), *others)


def _encode_section(section: Section) -> bytes:
    return _SECTION.pack(
        section.request_flags,
        section.type,
        section.error_flags,
        section.source,
        section.requested_bytes,
        section.copied_bytes,
        section.destination,
    )

"""The dump memory structure: what a kernel wants preserved, and, after a crash, what has been.

Step "register" of docs/architecture.md, and "process" when it comes back as ibm,kernel-dump.
Specification: LoPAR, "ibm,configure-kernel-dump", Table "Kernel Assisted Dump Memory Structure".
Linux has it as struct rtas_fadump_mem_struct in arch/powerpc/platforms/pseries/rtas-fadump.h.
All fields are big-endian.

The disk fields are for a dump that the firmware itself writes to a disk; in Linux they are zero. ``max_time_auto_ms``
is how long a system may take, after a system reset interrupt, to ask for its dump before it is dumped unasked; 0: as
long as it likes.
"""

from dataclasses import dataclass, replace
from enum import IntEnum, IntFlag
from typing import Annotated, NamedTuple

from fadump.abi.layout import Layout, u16, u32, u64
from fadump.errors import FormatError

VERSION = 1
MAX_SECTIONS = 10
MAX_BYTES = 512
"""The largest size of a version 1 structure, with a disk's path."""
REQUEST_COPY = 0x0000_0001


class SectionType(IntEnum):
    """What a section is for. Types from OS_DEFINED_FIRST on belong to the kernel: the firmware copies them."""

    CPU_STATE = 0x0001
    HPTE = 0x0002
    REAL_MODE_REGION = 0x0011
    OS_IDENTIFICATION = 0x0012
    OS_DEFINED_FIRST = 0x0100
    PARAMETER_AREA = 0x0100
    """Linux's: the area of kernel parameters for the capture kernel (commit 3416c9daa6b1)."""


class SectionError(IntFlag):
    """Why a section was not copied, or only in part."""

    INVALID_TYPE = 0x8000
    INVALID_SOURCE = 0x4000
    LENGTH_EXCEEDS = 0x2000
    INVALID_DESTINATION = 0x1000
    DESTINATION_TOO_SMALL = 0x0800


class DumpStatus(IntFlag):
    """The result of the dump."""

    PERFORMED = 0x8000
    TRIGGERED = 0x4000
    """A dump was triggered in the boot before this one."""
    ERROR = 0x2000


_NO_STATUS = DumpStatus(0)


class DumpHeader(NamedTuple):
    """The start of the structure, which ``first_section_offset`` is relative to."""

    version: Annotated[int, u32(0x00)]
    sections: Annotated[int, u16(0x04)]
    status: Annotated[int, u16(0x06)]
    first_section_offset: Annotated[int, u32(0x08)]
    disk_block_bytes: Annotated[int, u32(0x0C)]
    disk_start_block: Annotated[int, u64(0x10)]
    disk_block_count: Annotated[int, u64(0x18)]
    disk_path_offset: Annotated[int, u32(0x20)]
    max_time_auto_ms: Annotated[int, u32(0x24)]


@dataclass(frozen=True, slots=True)
class DumpSection:
    """One region: addresses are guest physical. ``type`` is kept as it is, known or not."""

    request_flags: Annotated[int, u32(0x00)]
    type: Annotated[int, u16(0x04)]
    error_flags: Annotated[SectionError, u16(0x06)]
    source: Annotated[int, u64(0x08)]
    requested_bytes: Annotated[int, u64(0x10)]
    copied_bytes: Annotated[int, u64(0x18)]
    destination: Annotated[int, u64(0x20)]


HEADER = Layout(DumpHeader, "dump memory structure's header")
SECTION = Layout(DumpSection, "dump memory structure's section")
HEADER_BYTES = HEADER.size_bytes
SECTION_BYTES = SECTION.size_bytes


@dataclass(frozen=True, slots=True)
class DumpStructure:
    """The whole structure, fields in the specification's order.

    Anything between the header and ``first_section_offset``, such as a disk's path, is not kept.
    """

    version: int = VERSION
    status: DumpStatus = _NO_STATUS
    first_section_offset: int = HEADER_BYTES
    disk_block_bytes: int = 0
    disk_start_block: int = 0
    disk_block_count: int = 0
    disk_path_offset: int = 0
    max_time_auto_ms: int = 0
    sections: tuple[DumpSection, ...] = ()

    @property
    def size_bytes(self) -> int:
        """Its encoded size, which the kernel must pass as the length."""
        return self.first_section_offset + len(self.sections) * SECTION_BYTES

    @classmethod
    def decode(cls, structure: bytes | memoryview) -> "DumpStructure":
        """The structure at the start of ``structure``; what follows its last section is ignored.

        :raises FormatError: it is cut short, of another version, larger than any can be, or has no
            section or more than 10.
        """
        header = HEADER.decode(structure)
        first_offset, count = header.first_section_offset, header.sections
        if header.version != VERSION:
            message = "dump memory structure of another version"
            raise FormatError(message, offset=HEADER.offset("version"), expected=VERSION, found=header.version)
        if not 1 <= count <= MAX_SECTIONS:
            message, wanted = "dump memory structure with no sections or too many", f"1 to {MAX_SECTIONS}"
            raise FormatError(message, offset=HEADER.offset("sections"), expected=wanted, found=count)
        end = first_offset + count * SECTION_BYTES
        if first_offset < HEADER_BYTES or end > MAX_BYTES:
            at = HEADER.offset("first_section_offset")
            wanted = f"{HEADER_BYTES:#x} to {MAX_BYTES - count * SECTION_BYTES:#x}"
            message = "dump memory structure's sections out of place"
            raise FormatError(message, offset=at, expected=wanted, found=first_offset)
        if end > len(structure):
            there = max(0, len(structure) - first_offset)
            wanted_bytes = end - first_offset
            raise FormatError(
                "dump memory structure's sections cut short", offset=first_offset, expected=wanted_bytes, found=there
            )
        return cls(
            header.version,
            DumpStatus(header.status),
            first_offset,
            header.disk_block_bytes,
            header.disk_start_block,
            header.disk_block_count,
            header.disk_path_offset,
            header.max_time_auto_ms,
            tuple(map(_with_flags, SECTION.decode_all(structure[first_offset:end]))),
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
        header = DumpHeader(
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
        sections = b"".join(map(SECTION.encode, self.sections))
        return HEADER.encode(header).ljust(self.first_section_offset, b"\0") + sections


def _with_flags(section: DumpSection) -> DumpSection:
    return replace(section, error_flags=SectionError(section.error_flags))

"""What skiboot and the firmware below it, hostboot and the SBE, tell each other about MPIPL, and where.

Step "preserve" of docs/architecture.md. Specification: skiboot, include/opal-dump.h and include/mem-map.h, with
doc/mpipl.rst. MDST and MDDT are the sources and destinations before the crash, entry by entry; MDRT is what came of
them. All fields are big-endian. skiboot sets the highest bit of every address (HRMOR_BIT), which says that it is not
to be relocated; here it is set when encoding, and taken off when decoding.

    MDST, MDDT  0x00  u64      address
                0x08  u8       region, see RegionId
                0x09  u8       type, 0 for MPIPL
                0x0a  u16      zero
                0x0c  u32      size_bytes
    MDRT        0x00  u64      source
                0x08  u64      destination
                0x10  u8       region
                0x11  u8       type
                0x12  u16      zero
                0x14  u32      size_bytes
                0x18  u64      zero
    proc dump   0x00  u32      thread_bytes
    area        0x04  u8       version of the CPU data, 1
                0x05  11 bytes zero
                0x10  u64      room_address, where CPU data is to go
                0x18  u32      zero
                0x1c  u32      room_bytes
                0x20  u64      data_address, where it went
                0x28  u32      zero
                0x2c  u32      data_bytes
"""

import struct
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

from fadump.errors import FormatError

SKIBOOT_BASE = 0x3000_0000
SKIBOOT_BYTES = 0x01C1_0000
"""skiboot without its CPUs' stacks, which lie behind it, one for every PIR up to the highest."""
STACK_BYTES = 0x8000
KERNEL_LOAD_BASE, KERNEL_LOAD_BYTES = 0x2000_0000, 0x0800_0000
INITRAMFS_LOAD_BASE, INITRAMFS_LOAD_BYTES = 0x2800_0000, 0x0800_0000
"""skiboot loads kernel and initramfs there, in an MPIPL boot too."""
TABLE_BYTES = 0x400
"""Of MDST and MDDT each: how many ranges there can be follows from it."""

UNRELOCATED = 1 << 63
"""skiboot's HRMOR_BIT."""

_RANGE = struct.Struct(">QBB2xI")
_RESULT = struct.Struct(">QQBB2xI8x")
_PROC_DUMP_AREA = struct.Struct(">IB11xQ4xIQ4xI")
RANGE_BYTES = _RANGE.size
RESULT_BYTES = _RESULT.size
PROC_DUMP_AREA_BYTES = _PROC_DUMP_AREA.size
MAX_RANGES = TABLE_BYTES // RANGE_BYTES


class RegionId(IntEnum):
    """Whose memory a range is: up to 0x3f OPAL's, from 0x80 on the kernel's."""

    CONSOLE = 0x01
    HBRT_LOG = 0x02
    OPAL_MEMORY = 0x03
    KERNEL = 0x80


@dataclass(frozen=True, slots=True)
class TableRange:
    """An entry of MDST or MDDT. ``address`` is without HRMOR_BIT."""

    address: int
    region: int
    size_bytes: int
    type: int = 0

    @classmethod
    def decode(cls, entry: bytes | memoryview) -> "TableRange":
        """:raises FormatError: it is cut short."""
        address, region, type_, size_bytes = _unpack(_RANGE, entry, "MDST or MDDT entry")
        return cls(address & ~UNRELOCATED, region, size_bytes, type_)

    def encode(self) -> bytes:
        """:raises ValueError: a number that its field can't hold."""
        return _pack(_RANGE, self.address | UNRELOCATED, self.region, self.type, self.size_bytes)


@dataclass(frozen=True, slots=True)
class ResultRange:
    """An entry of MDRT. Addresses are without HRMOR_BIT."""

    source: int
    destination: int
    region: int
    size_bytes: int
    type: int = 0

    @classmethod
    def decode(cls, entry: bytes | memoryview) -> "ResultRange":
        """:raises FormatError: it is cut short."""
        source, destination, region, type_, size_bytes = _unpack(_RESULT, entry, "MDRT entry")
        return cls(source & ~UNRELOCATED, destination & ~UNRELOCATED, region, size_bytes, type_)

    def encode(self) -> bytes:
        """:raises ValueError: a number that its field can't hold."""
        source, destination = self.source | UNRELOCATED, self.destination | UNRELOCATED
        return _pack(_RESULT, source, destination, self.region, self.type, self.size_bytes)


@dataclass(frozen=True, slots=True)
class ProcDumpArea:
    """Where CPU data goes. Addresses are without HRMOR_BIT; 0 stays 0, which says that there is none yet."""

    thread_bytes: int
    version: int
    room_address: int
    room_bytes: int
    data_address: int
    data_bytes: int

    @classmethod
    def decode(cls, area: bytes | memoryview) -> "ProcDumpArea":
        """:raises FormatError: it is cut short."""
        fields = _unpack(_PROC_DUMP_AREA, area, "processor dump area")
        thread_bytes, version, room_address, room_bytes, data_address, data_bytes = fields
        return cls(
            thread_bytes, version, room_address & ~UNRELOCATED, room_bytes, data_address & ~UNRELOCATED, data_bytes
        )

    def encode(self) -> bytes:
        """:raises ValueError: a number that its field can't hold."""
        return _pack(
            _PROC_DUMP_AREA,
            self.thread_bytes,
            self.version,
            _marked(self.room_address),
            self.room_bytes,
            _marked(self.data_address),
            self.data_bytes,
        )


def _marked(address: int) -> int:
    return address | UNRELOCATED if address else 0


def _pack(layout: struct.Struct, *fields: int) -> bytes:
    try:
        return layout.pack(*fields)
    except struct.error as error:
        raise ValueError(f"{fields} don't fit their fields: {error}") from error


def _unpack(layout: struct.Struct, entry: bytes | memoryview, what: str) -> tuple[Any, ...]:
    if len(entry) < layout.size:
        raise FormatError(f"{what} cut short", offset=0, expected=layout.size, found=len(entry))
    return layout.unpack_from(entry)

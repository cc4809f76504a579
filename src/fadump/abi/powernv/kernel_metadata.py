"""Linux's own metadata: what it has registered, left for the capture kernel behind the KERNEL tag.

Step "register" of docs/architecture.md. Specification: Linux, struct opal_fadump_mem_struct in
arch/powerpc/platforms/powernv/opal-fadump.h; the firmware only keeps its address. All fields are big-endian.

    0x00  u8       version, 1
    0x01  3 bytes  zero
    0x04  u16      number of regions
    0x06  u16      registered_regions, how many of them the firmware has taken
    0x08  u64      crash_info, the address of the crash-info header
    0x10           128 regions, see mpipl.py; those behind the number are zero
"""

import struct
from dataclasses import dataclass

from fadump.abi.powernv.mpipl import REGION, MpiplRegion, encode_region
from fadump.errors import FormatError

VERSION = 1
MAX_REGIONS = 128

_HEADER = struct.Struct(">B3xHHQ")
SIZE_BYTES = _HEADER.size + MAX_REGIONS * REGION.size


@dataclass(frozen=True, slots=True)
class KernelMetadata:
    """The whole structure, fields in Linux's order. ``crash_info`` is a guest-physical address."""

    version: int = VERSION
    registered_regions: int = 0
    crash_info: int = 0
    regions: tuple[MpiplRegion, ...] = ()

    @classmethod
    def decode(cls, metadata: bytes | memoryview) -> "KernelMetadata":
        """The structure at the start of ``metadata``; of any version, as Linux only warns of another.

        :raises FormatError: it is cut short, or has more than 128 regions.
        """
        if len(metadata) < SIZE_BYTES:
            raise FormatError("kernel metadata cut short", offset=0, expected=SIZE_BYTES, found=len(metadata))
        version, count, registered_regions, crash_info = _HEADER.unpack_from(metadata)
        if count > MAX_REGIONS:
            raise FormatError("kernel metadata with too many regions", offset=4, expected=MAX_REGIONS, found=count)
        end = _HEADER.size + count * REGION.size
        regions = tuple(MpiplRegion(*fields) for fields in REGION.iter_unpack(metadata[_HEADER.size : end]))
        return cls(version, registered_regions, crash_info, regions)

    def encode(self) -> bytes:
        """The structure as SIZE_BYTES bytes.

        :raises ValueError: more than 128 regions, or a number that its field can't hold.
        """
        if len(self.regions) > MAX_REGIONS:
            raise ValueError(f"kernel metadata has at most {MAX_REGIONS} regions, not {len(self.regions)}")
        try:
            header = _HEADER.pack(self.version, len(self.regions), self.registered_regions, self.crash_info)
            regions = b"".join(encode_region(region) for region in self.regions)
        except struct.error as error:
            raise ValueError(f"kernel metadata with a number too large for its field: {error}") from error
        return (header + regions).ljust(SIZE_BYTES, b"\0")

"""MPIPL's operations and tags, and the metadata that two of the tags point to.

Steps "register" and "process" of docs/architecture.md. Specification: skiboot, include/opal-api.h and
doc/opal-api/opal-mpipl-173-174.rst. Its readers: Linux, arch/powerpc/platforms/powernv/opal-fadump.c for the CPU tag's,
opal-core.c for both; struct opal_mpipl_fadump in arch/powerpc/include/asm/opal-api.h. All fields are big-endian.

    metadata  0x00  u8       version, 1
              0x01  7 bytes  zero
              0x08  u32      crashing_pir, in the OPAL tag's
              0x0c  u32      cpu_data_version, see cpu_data.py; in the CPU tag's, as is the next
              0x10  u32      cpu_data_bytes, of each thread
              0x14  u32      number of regions
              0x18           regions
    region    0x00  u64      source
              0x08  u64      destination
              0x10  u64      size_bytes
"""

import struct
from dataclasses import dataclass
from enum import IntEnum

from fadump.errors import FormatError

METADATA_VERSION = 1

REGION = struct.Struct(">QQQ")
"""The kernel's own metadata has its regions in the same form."""
_HEADER = struct.Struct(">B7xIIII")


class MpiplOperation(IntEnum):
    """First argument of MPIPL_UPDATE."""

    ADD_RANGE = 0
    REMOVE_RANGE = 1
    """The range of this source and destination."""
    REMOVE_ALL = 2
    FREE_PRESERVED_MEMORY = 3
    """The dump has been dealt with."""


class MpiplTag(IntEnum):
    """First argument of MPIPL_REGISTER_TAG, which takes the last two, and MPIPL_QUERY_TAG."""

    CPU = 0
    """Address of the metadata of the CPUs' registers."""
    OPAL = 1
    """Address of the metadata of OPAL's memory."""
    KERNEL = 2
    """Whatever the crashed kernel wants to tell; Linux has its own metadata's address there."""
    BOOT_MEM = 3
    """Up to where a kernel may use memory after a crash, in bytes."""


@dataclass(frozen=True, slots=True)
class MpiplRegion:
    """Memory that was copied; addresses are guest physical."""

    source: int
    destination: int
    size_bytes: int


@dataclass(frozen=True, slots=True)
class MpiplMetadata:
    """What was preserved of one kind, fields in the specification's order."""

    version: int = METADATA_VERSION
    crashing_pir: int = 0
    cpu_data_version: int = 0
    cpu_data_bytes: int = 0
    regions: tuple[MpiplRegion, ...] = ()

    @classmethod
    def decode(cls, metadata: bytes | memoryview) -> "MpiplMetadata":
        """The metadata at the start of ``metadata``; of any version, as Linux only warns of another.

        :raises FormatError: it is cut short.
        """
        if len(metadata) < _HEADER.size:
            raise FormatError("MPIPL metadata cut short", offset=0, expected=_HEADER.size, found=len(metadata))
        version, crashing_pir, cpu_data_version, cpu_data_bytes, count = _HEADER.unpack_from(metadata)
        end = _HEADER.size + count * REGION.size
        if end > len(metadata):
            raise FormatError(
                "MPIPL metadata's regions cut short", offset=_HEADER.size, expected=end, found=len(metadata)
            )
        regions = tuple(MpiplRegion(*fields) for fields in REGION.iter_unpack(metadata[_HEADER.size : end]))
        return cls(version, crashing_pir, cpu_data_version, cpu_data_bytes, regions)

    def encode(self) -> bytes:
        """The metadata as bytes.

        :raises ValueError: a number that its field can't hold.
        """
        try:
            header = _HEADER.pack(
                self.version, self.crashing_pir, self.cpu_data_version, self.cpu_data_bytes, len(self.regions)
            )
            return header + b"".join(encode_region(region) for region in self.regions)
        except struct.error as error:
            raise ValueError(f"MPIPL metadata with a number too large for its field: {error}") from error


def encode_region(region: MpiplRegion) -> bytes:
    """A region as bytes.

    :raises struct.error: a number is not an u64.
    """
    return REGION.pack(region.source, region.destination, region.size_bytes)

"""MPIPL's operations and tags, and the metadata that two of the tags point to.

Steps "register" and "process" of docs/architecture.md. Specification: skiboot, include/opal-api.h and
doc/opal-api/opal-mpipl-173-174.rst. Its readers: Linux, arch/powerpc/platforms/powernv/opal-fadump.c for the CPU tag's,
opal-core.c for both; struct opal_mpipl_fadump in arch/powerpc/include/asm/opal-api.h. All fields are big-endian.
"""

from dataclasses import dataclass
from enum import IntEnum
from typing import Annotated, NamedTuple

from fadump.abi.layout import Layout, u8, u32, u64
from fadump.errors import FormatError
from fadump.limits import MOST_MPIPL_REGIONS, Budget

METADATA_VERSION = 1


class MpiplOperation(IntEnum):
    """First argument of MPIPL_UPDATE."""

    ADD_RANGE = 0
    REMOVE_RANGE = 1
    """The range of this source and destination."""
    REMOVE_ALL = 2
    FREE_PRESERVED_MEMORY = 3
    """The dump is no longer needed."""


class MpiplTag(IntEnum):
    """First argument of MPIPL_REGISTER_TAG, which accepts the last two only, and of MPIPL_QUERY_TAG."""

    CPU = 0
    """Address of the metadata of the CPUs' registers."""
    OPAL = 1
    """Address of the metadata of OPAL's memory."""
    KERNEL = 2
    """A number of the crashed kernel's choice; Linux has its own metadata's address there."""
    BOOT_MEM = 3
    """How much memory, from address 0 on, a kernel may use after a crash, in bytes."""


@dataclass(frozen=True, slots=True)
class MpiplRegion:
    """Memory that was copied; addresses are guest physical. The kernel's own metadata also has these."""

    source: Annotated[int, u64(0x00)]
    destination: Annotated[int, u64(0x08)]
    size_bytes: Annotated[int, u64(0x10)]


class MetadataHeader(NamedTuple):
    """The start of MPIPL metadata; its regions follow."""

    version: Annotated[int, u8(0x00)]
    crashing_pir: Annotated[int, u32(0x08)]
    """Only in the OPAL tag's."""
    cpu_data_version: Annotated[int, u32(0x0C)]
    """Only in the CPU tag's, as the next field; see cpu_data.py."""
    cpu_data_bytes: Annotated[int, u32(0x10)]
    """The size of each thread's data."""
    regions: Annotated[int, u32(0x14)]
    """The number of regions."""


METADATA = Layout(MetadataHeader, "MPIPL metadata")
REGION = Layout(MpiplRegion, "MPIPL region")


@dataclass(frozen=True, slots=True)
class MpiplMetadata:
    """The metadata of one tag, fields in the specification's order."""

    version: int = METADATA_VERSION
    crashing_pir: int = 0
    cpu_data_version: int = 0
    cpu_data_bytes: int = 0
    regions: tuple[MpiplRegion, ...] = ()

    @classmethod
    def decode(cls, metadata: bytes | memoryview) -> "MpiplMetadata":
        """The metadata at the start of ``metadata``, of any version, as Linux only warns about another.

        :raises FormatError: it is cut short.
        """
        version, crashing_pir, cpu_data_version, cpu_data_bytes, count = METADATA.decode(metadata)
        start, wanted = METADATA.size_bytes, count * REGION.size_bytes
        if start + wanted > len(metadata):
            there = len(metadata) - start
            raise FormatError("MPIPL metadata's regions cut short", offset=start, expected=wanted, found=there)
        Budget("regions in MPIPL metadata", MOST_MPIPL_REGIONS).spend(count, offset=METADATA.offset("regions"))
        regions = tuple(REGION.decode_all(metadata[start : start + wanted]))
        return cls(version, crashing_pir, cpu_data_version, cpu_data_bytes, regions)

    def encode(self) -> bytes:
        """The metadata as bytes.

        :raises ValueError: a number that its field can't hold.
        """
        header = METADATA.pack(
            self.version, self.crashing_pir, self.cpu_data_version, self.cpu_data_bytes, len(self.regions)
        )
        return header + b"".join(map(REGION.encode, self.regions))

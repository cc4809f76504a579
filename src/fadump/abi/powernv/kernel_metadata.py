"""Linux's own metadata: what it has registered. The KERNEL tag leads the capture kernel to it.

Step "register" of docs/architecture.md. Specification: Linux, struct opal_fadump_mem_struct in
arch/powerpc/platforms/powernv/opal-fadump.h; the firmware only keeps its address. All fields are
big-endian. 128 regions follow the header, see mpipl.py; the unused ones are zero.
"""

from dataclasses import dataclass
from typing import Annotated, NamedTuple

from fadump.abi.layout import Layout, u8, u16, u64
from fadump.abi.powernv.mpipl import REGION, MpiplRegion
from fadump.errors import FormatError, LimitError

VERSION = 1
MAX_REGIONS = 128


class KernelMetadataHeader(NamedTuple):
    """The start of the structure."""

    version: Annotated[int, u8(0x00)]
    regions: Annotated[int, u16(0x04)]
    """The number of regions."""
    registered_regions: Annotated[int, u16(0x06)]
    """How many of them are registered with the firmware."""
    crash_info: Annotated[int, u64(0x08)]
    """The address of the crash-info header."""


HEADER = Layout(KernelMetadataHeader, "kernel metadata")
SIZE_BYTES = HEADER.size_bytes + MAX_REGIONS * REGION.size_bytes


@dataclass(frozen=True, slots=True)
class KernelMetadata:
    """The whole structure, fields in Linux's order. ``crash_info`` is a guest-physical address."""

    version: int = VERSION
    registered_regions: int = 0
    crash_info: int = 0
    regions: tuple[MpiplRegion, ...] = ()

    @classmethod
    def decode(cls, metadata: bytes | memoryview) -> "KernelMetadata":
        """The structure at the start of ``metadata``, of any version, as Linux only warns about another.

        :raises FormatError: it is cut short, or has more than 128 regions.
        """
        if len(metadata) < SIZE_BYTES:
            raise FormatError("kernel metadata cut short", offset=0, expected=SIZE_BYTES, found=len(metadata))
        version, count, registered_regions, crash_info = HEADER.decode(metadata)
        if count > MAX_REGIONS:
            at = HEADER.offset("regions")
            raise LimitError("regions in kernel metadata", found=count, limit=MAX_REGIONS, offset=at)
        end = HEADER.size_bytes + count * REGION.size_bytes
        regions = tuple(REGION.decode_all(metadata[HEADER.size_bytes : end]))
        return cls(version, registered_regions, crash_info, regions)

    def encode(self) -> bytes:
        """The structure as SIZE_BYTES bytes.

        :raises ValueError: more than 128 regions, or a number that its field can't hold.
        """
        if len(self.regions) > MAX_REGIONS:
            raise ValueError(f"kernel metadata has at most {MAX_REGIONS} regions, not {len(self.regions)}")
        header = HEADER.pack(self.version, len(self.regions), self.registered_regions, self.crash_info)
        regions = b"".join(map(REGION.encode, self.regions))
        return (header + regions).ljust(SIZE_BYTES, b"\0")

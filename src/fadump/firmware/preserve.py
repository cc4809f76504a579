"""Preserving: what every platform's firmware does with the registered ranges when the guest has crashed.

Step "preserve" of docs/architecture.md. LoPAR has them as kernel dump sections, skiboot's MPIPL (doc/mpipl.rst) as
source and destination tables; with both, guest memory is copied, and some of it must be kept.
"""

from collections.abc import Iterable
from enum import Enum, auto

from fadump.memory.guest import GuestMemory
from fadump.memory.ranges import Range, RangeSet


class CopyFault(Enum):
    """Why a range was not copied, not even in part."""

    SOURCE = auto()
    """The source is not all RAM."""
    DESTINATION = auto()
    """The destination is not all RAM, or overlaps the source without being the same."""


def copy_aside(memory: GuestMemory, source: int, destination: int, size_bytes: int) -> CopyFault | None:
    """Copy ``size_bytes`` from one guest-physical address to another, all or nothing; return the error, if any.

    A range that is its own destination stays where it is. Holes in the source become holes at the destination,
    whatever was there.
    """
    from_range, to_range = Range.sized(source, size_bytes), Range.sized(destination, size_bytes)
    if not memory.ram.contains(from_range):
        return CopyFault.SOURCE
    if not memory.ram.contains(to_range):
        return CopyFault.DESTINATION
    if source == destination:
        return None
    if from_range.overlaps(to_range):
        return CopyFault.DESTINATION
    memory.copy(from_range, destination)
    return None


def kept_ranges(ram: RangeSet, boot_memory: RangeSet, destinations: Iterable[Range]) -> RangeSet:
    """The memory that must be kept until the dump is invalidated.

    That is RAM above boot memory top, which was not copied (LoPAR, ibm,configure-kernel-dump, R1-6: memory
    that is not mentioned stays in place), and all ``destinations``.
    """
    boot_memory_top = max((range_.end for range_ in boot_memory), default=0)
    ram_end = max((range_.end for range_ in ram), default=0)
    above = RangeSet([Range(boot_memory_top, max(boot_memory_top, ram_end))])
    return ram & (above | RangeSet(destinations))

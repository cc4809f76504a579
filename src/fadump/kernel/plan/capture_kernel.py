"""What a capture kernel reserves to preserve the dump: everything above boot memory top.

Step "capture boot" of docs/architecture.md. Linux arch/powerpc/kernel/fadump.c, fadump_reserve_crash_area(). Boot
memory top is recomputed from what was registered: rtas-fadump.c rtas_fadump_get_config() (a kernel with one section
doesn't know about holes), opal-fadump.c opal_fadump_get_config().
"""

from collections.abc import Sequence
from dataclasses import dataclass

from fadump.abi.platform import Platform
from fadump.kernel.plan.boot_memory import Region
from fadump.kernel.plan.memory_map import MemoryMap
from fadump.kernel.plan.reserve import Reservation
from fadump.kernel.traits import Reason, platform_file
from fadump.memory.ranges import Range, RangeSet

_FADUMP = "arch/powerpc/kernel/fadump.c"
_CRASH_AREA = f"{_FADUMP}:fadump_reserve_crash_area"


@dataclass(frozen=True, slots=True)
class CaptureReservation:
    """``boot_memory_top`` is as computed by the capture kernel; ``ranges`` are what it reserves above that.

    ``usable_bytes`` is the RAM that it may use.
    """

    boot_memory_top: int
    ranges: tuple[Range, ...]
    usable_bytes: int
    reasons: tuple[Reason, ...]

    @property
    def reserved_bytes(self) -> int:
        """How much RAM it reserves."""
        return sum(range_.size_bytes for range_ in self.ranges)


def capture_reservation(platform: Platform, memory: MemoryMap, reservation: Reservation) -> CaptureReservation:
    """What the capture kernel reserves if it finds the same memory as the first kernel."""
    top = boot_memory_top(reservation.boot_memory.regions)
    above = RangeSet([Range(min(top, memory.end), memory.end)])
    ranges = tuple(both for region in memory.regions for both in RangeSet([region]) & above)
    reserved_bytes = sum(range_.size_bytes for range_ in ranges)
    usable_bytes = memory.ram_bytes - reserved_bytes
    scan = (
        f"arch/powerpc/platforms/{platform}/{platform_file(platform)}:{platform_file(platform)[:4]}_fadump_get_config"
    )
    reasons = (
        Reason("capture_boot_memory_top", top, "computed from what was registered", scan),
        Reason("capture_reserved_bytes", reserved_bytes, "all memory above that, until the dump is saved", _CRASH_AREA),
        Reason("capture_usable_bytes", usable_bytes, "what the capture kernel has to save the dump with", _CRASH_AREA),
    )
    return CaptureReservation(top, ranges, usable_bytes, reasons)


def boot_memory_top(regions: Sequence[Region]) -> int:
    """The end of the last range: the sum of sizes and holes."""
    return max((region.start + region.size_bytes for region in regions), default=0)

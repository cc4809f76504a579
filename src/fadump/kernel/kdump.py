"""What a kernel reserves for kdump instead, where it does without FADump.

Linux arch/powerpc/kernel/prom.c early_init_devtree() falls back to arch/powerpc/kexec/core.c reserve_crashkernel().
The kernel is one that can run anywhere (CONFIG_NONSTATIC_KERNEL), as distributions' are.
"""

from dataclasses import dataclass

from fadump.abi.platform import Platform
from fadump.kernel.cmdline import parse_crashkernel, parse_parameters
from fadump.kernel.reserve import System
from fadump.kernel.traits import MIB, KernelTraits, Reason, align_up
from fadump.memory.ranges import Range

_RESERVE = "arch/powerpc/kexec/core.c:reserve_crashkernel"
_MOST_START = {Platform.PSERIES: 512 * MIB, Platform.POWERNV: 128 * MIB}


@dataclass(frozen=True, slots=True)
class KdumpReservation:
    """``area`` is the crash kernel's memory; None if there is none, then ``reason`` says why."""

    area: Range | None
    reason: Reason


def kdump_reservation(system: System, kernel: KernelTraits, cmdline: str) -> KdumpReservation:
    """What a kernel without FADump reserves for a kernel that kexec loads."""
    memory, limit = system.memory, parse_parameters(cmdline, kernel).memory_limit
    crashkernel = parse_crashkernel(cmdline, limit or memory.ram_bytes, kernel)
    if crashkernel.problem is not None:
        return _nothing(f"kdump has no memory either: {crashkernel.problem}")
    if crashkernel.size_bytes == 1:
        return _nothing("kdump has no memory either: one byte counts as none")
    start = crashkernel.base or _default_start(system, limit)
    area = Range.sized(align_up(start, kernel.page_bytes), align_up(crashkernel.size_bytes, kernel.page_bytes))
    if area.overlaps(memory.kernel):
        return _nothing(f"kdump's {area} would overlap the running kernel {memory.kernel}")
    if not any(region.contains(area) for region in memory.regions):
        return _nothing(f"kdump's {area} is not memory in one piece")
    why = "crashkernel= says where" if crashkernel.base else "the middle of the first memory block, or as far as it may"
    return KdumpReservation(area, Reason("kdump_base", area.start, f"memory goes to kdump: {why}", _RESERVE))


def _default_start(system: System, memory_limit: int) -> int:
    most = _MOST_START[system.platform]
    if system.platform is Platform.POWERNV:
        return most  # real mode has no limit there
    first_bytes = system.memory.first_block_bytes
    return min(most, min(first_bytes, memory_limit or first_bytes) // 2)


def _nothing(sentence: str) -> KdumpReservation:
    return KdumpReservation(None, Reason("kdump_base", 0, sentence, _RESERVE))

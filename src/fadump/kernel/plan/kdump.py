"""What a kernel without FADump reserves for kdump instead.

Linux arch/powerpc/kernel/prom.c early_init_devtree() falls back to arch/powerpc/kexec/core.c reserve_crashkernel().
The kernel is relocatable (CONFIG_NONSTATIC_KERNEL), as distributions' are.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from fadump.abi.platform import Platform
from fadump.kernel.plan.cmdline import CommandLine, parse_crashkernel
from fadump.kernel.plan.reserve import System
from fadump.kernel.printk import Level, Said
from fadump.kernel.traits import MIB, KernelTraits, Reason, align_up
from fadump.memory.ranges import Range

_RESERVE = "arch/powerpc/kexec/core.c:reserve_crashkernel"
_MOST_START = {Platform.PSERIES: 512 * MIB, Platform.POWERNV: 128 * MIB}


@dataclass(frozen=True, slots=True)
class KdumpReservation:
    """``area`` is the crash kernel's memory; None if there is none, then ``reason`` says why.

    ``messages`` are Linux's. ``memory_limit`` is ``mem=``, which may have been extended for the area; 0: none.
    """

    area: Range | None
    reason: Reason
    messages: tuple[Said, ...] = ()
    memory_limit: int = 0


def kdump_reservation(
    system: System, kernel: KernelTraits, command_line: CommandLine, limit: int | None = None
) -> KdumpReservation:
    """What a kernel without FADump reserves for a kernel that kexec loads.

    ``limit`` is ``mem=``, if it differs from the command line by now.
    """
    memory = system.memory
    if limit is None:
        limit = command_line.memory_limit
    ram_bytes = limit or memory.ram_bytes
    crashkernel = parse_crashkernel(command_line.text, ram_bytes, kernel)
    messages = [crashkernel.message] if crashkernel.message else []
    if crashkernel.problem is not None:
        return _nothing(f"kdump has no memory either: {crashkernel.problem}", messages, limit)
    if crashkernel.size_bytes == 1:
        return _nothing("kdump has no memory either: one byte counts as none", messages, limit)
    start = crashkernel.base or _default_start(system, limit)
    area = Range.sized(align_up(start, kernel.page_bytes), align_up(crashkernel.size_bytes, kernel.page_bytes))
    if area.start != start:
        messages.append((Level.WARN, f"Crash kernel base must be aligned to {kernel.page_bytes:#x}"))
    if area.overlaps(memory.kernel):
        messages.append((Level.WARN, "Crash kernel can not overlap current kernel"))
        return _nothing(f"kdump's {area} would overlap the running kernel {memory.kernel}", messages, limit)
    if limit and limit <= area.end - 1:
        limit = ram_bytes = area.end
        messages.append((Level.WARN, f"Adjusted memory limit for crashkernel, now {limit:#x}"))
    place = f"{area.size_bytes // MIB}MB of memory at {area.start // MIB}MB"
    messages.append((Level.INFO, f"Reserving {place} for crashkernel (System RAM: {ram_bytes // MIB}MB)"))
    if not any(region.contains(area) for region in memory.regions):
        messages.append((Level.ERR, "Failed to reserve memory for crashkernel!"))
        return _nothing(f"kdump's {area} is not memory in one piece", messages, limit)
    why = "crashkernel= says where" if crashkernel.base else "the middle of the first memory block, or as far as it may"
    reason = Reason("kdump_base", area.start, f"memory goes to kdump: {why}", _RESERVE)
    return KdumpReservation(area, reason, tuple(messages), limit)


def _default_start(system: System, memory_limit: int) -> int:
    most = _MOST_START[system.platform]
    if system.platform is Platform.POWERNV:
        return most  # real mode isn't limited there
    first_bytes = system.memory.first_block_bytes
    return min(most, min(first_bytes, memory_limit or first_bytes) // 2)


def _nothing(sentence: str, messages: Sequence[Said], limit: int) -> KdumpReservation:
    return KdumpReservation(None, Reason("kdump_base", 0, sentence, _RESERVE), tuple(messages), limit)

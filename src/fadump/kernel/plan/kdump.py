"""What a kernel without FADump reserves for kdump instead.

Linux arch/powerpc/kernel/prom.c early_init_devtree() falls back to arch/powerpc/kexec/core.c reserve_crashkernel(), or
in newer kernels arch_reserve_crashkernel(), which has kernel/crash_reserve.c reserve_crashkernel_generic() do it.
The kernel is relocatable (CONFIG_NONSTATIC_KERNEL), as distributions' are.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from fadump.abi.platform import Platform
from fadump.kernel.plan.cmdline import CommandLine, CrashKernel, crashkernel_cma, parse_crashkernel
from fadump.kernel.plan.memory_map import free_ranges
from fadump.kernel.plan.reserve import System
from fadump.kernel.printk import Level, Said
from fadump.kernel.traits import MIB, KernelTraits, Mmu, Reason, align_down, align_up
from fadump.memory.ranges import Range, RangeSet

_RESERVE = "arch/powerpc/kexec/core.c:reserve_crashkernel"
_GENERIC = "kernel/crash_reserve.c:reserve_crashkernel_generic"
_MOST_CMA_RANGES = 4
"""CRASHKERNEL_CMA_RANGES_MAX."""
_MOST_START = {Platform.PSERIES: 512 * MIB, Platform.POWERNV: 128 * MIB}


@dataclass(frozen=True, slots=True)
class KdumpReservation:
    """``area`` is the crash kernel's memory; None if there is none, then ``reason`` says why.

    ``messages`` are Linux's. ``memory_limit`` is ``mem=``, which may have been extended for the area; 0: none.
    ``cma_bytes`` is what is to be reserved later for ``crashkernel=size,cma``.
    """

    area: Range | None
    reason: Reason
    messages: tuple[Said, ...] = ()
    memory_limit: int = 0
    cma_bytes: int = 0


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
    if kernel.generic_crashkernel:
        return _generic(system, kernel, command_line, crashkernel, limit)
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
    reason = Reason("kdump_base", area.start, f"memory goes to kdump: {_why_there(crashkernel)}", _RESERVE)
    return KdumpReservation(area, reason, tuple(messages), limit)


def _generic(
    system: System, kernel: KernelTraits, command_line: CommandLine, crashkernel: CrashKernel, limit: int
) -> KdumpReservation:
    """arch_reserve_crashkernel(), reserve_crashkernel_generic()."""
    memory = system.memory
    cma_bytes, cma_message = crashkernel_cma(command_line.text) if kernel.skips_cma_suffix else (0, None)
    messages = [message for message in (crashkernel.message, cma_message) if message is not None]
    if crashkernel.problem is not None:
        return replace(
            _nothing(f"kdump has no memory either: {crashkernel.problem}", messages, limit), cma_bytes=cma_bytes
        )
    start = crashkernel.base or _default_start(system, limit)
    area = Range.sized(align_up(start, kernel.page_bytes), crashkernel.size_bytes)
    if area.start != start:
        messages.append((Level.WARN, f"Crash kernel base must be aligned to {kernel.page_bytes:#x}"))
    found: KdumpReservation
    if area.overlaps(memory.kernel):
        messages.append((Level.WARN, "Crash kernel can not overlap current kernel"))
        found = _nothing(f"kdump's {area} would overlap the running kernel {memory.kernel}", messages, limit)
    elif not any(piece.contains(area) for piece in free_ranges(memory.regions, memory.reserved_early)):
        messages.append((Level.WARN, "crashkernel reservation failed - memory is in use."))
        found = _nothing(f"kdump's {area} is not free memory in one piece", messages, limit)
    else:
        size_mib = area.size_bytes // MIB
        messages.append((Level.INFO, f"crashkernel reserved: {area.start:#018x} - {area.end:#018x} ({size_mib} MB)"))
        reason = Reason("kdump_base", area.start, f"memory goes to kdump: {_why_there(crashkernel)}", _GENERIC)
        found = KdumpReservation(area, reason, tuple(messages), limit)
    return replace(found, cma_bytes=cma_bytes)


def kdump_cma(free: RangeSet, cma_bytes: int, kernel: KernelTraits, mmu: Mmu) -> Said:
    """reserve_crashkernel_cma(): what Linux says of its reservation in memory that is ``free``."""
    request_bytes = align_up(cma_bytes, kernel.page_bytes)
    reserved_bytes = count = 0
    while cma_bytes > reserved_bytes and count < _MOST_CMA_RANGES:
        place = _highest(free, request_bytes, kernel.cma_alignment_bytes(mmu))
        if place is not None:
            free -= RangeSet([place])
            reserved_bytes += request_bytes
            count += 1
        elif request_bytes <= kernel.page_bytes:
            break
        else:
            request_bytes = align_up(request_bytes // 2, kernel.page_bytes)
    reserved = f"{reserved_bytes // MIB} MB"
    if cma_bytes > reserved_bytes:
        wanted = f"{cma_bytes // MIB} MB requested"
        return Level.WARN, f"crashkernel CMA reservation failed: {wanted}, {reserved} reserved in {count} ranges"
    return Level.INFO, f"crashkernel CMA reserved: {reserved} in {count} ranges"


def _highest(free: RangeSet, size_bytes: int, alignment: int) -> Range | None:
    """cma_declare_contiguous(): the size is rounded up to the alignment, too."""
    size_bytes = align_up(size_bytes, alignment)
    for piece in reversed(tuple(free)):
        start = align_down(max(piece.end - size_bytes, 0), alignment)
        if start >= piece.start and piece.size_bytes >= size_bytes:
            return Range.sized(start, size_bytes)
    return None


def _why_there(crashkernel: CrashKernel) -> str:
    return (
        "crashkernel= says where" if crashkernel.base else "the middle of the first memory block, or as far as it may"
    )


def _default_start(system: System, memory_limit: int) -> int:
    most = _MOST_START[system.platform]
    if system.platform is Platform.POWERNV:
        return most  # real mode isn't limited there
    first_bytes = system.memory.first_block_bytes
    return min(most, min(first_bytes, memory_limit or first_bytes) // 2)


def _nothing(sentence: str, messages: Sequence[Said], limit: int) -> KdumpReservation:
    return KdumpReservation(None, Reason("kdump_base", 0, sentence, _RESERVE), tuple(messages), limit)

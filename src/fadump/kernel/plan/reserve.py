"""Where a kernel puts its reserved dump area, and what is in it.

Linux arch/powerpc/kernel/fadump.c, fadump_reserve_mem() and what it calls; the parts of the area in the order of
rtas-fadump.c and opal-fadump.c, *_init_mem_struct():

    pseries   CPU state, hash page table, up to a page's end, copy of boot memory, crash-info header
    powernv   copy of boot memory, crash-info header, kernel metadata in the last page

A kernel that writes the ELF core header itself (6.1) has it after the crash-info header, and rounds the area up to
whole pages. The parameter area of later kernels is elsewhere, see :func:`parameter_area`.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum

from fadump.abi.elf import ELF_HEADER, PROGRAM_HEADER
from fadump.abi.platform import Platform
from fadump.abi.powernv import kernel_metadata
from fadump.kernel.plan.boot_memory import BootMemory, boot_memory
from fadump.kernel.plan.cma import lent_part
from fadump.kernel.plan.cmdline import COMMAND_LINE_BYTES, CommandLine
from fadump.kernel.plan.memory_map import HASH_LINEAR_PAGE_BYTES, MemoryMap, find_from_top, free_ranges, limited
from fadump.kernel.traits import (
    U64,
    KernelTraits,
    Mmu,
    Reason,
    Refusal,
    align_down,
    align_up,
    size_text,
)
from fadump.memory.ranges import Range, RangeSet

_FADUMP = "arch/powerpc/kernel/fadump.c"
_RESERVE = f"{_FADUMP}:fadump_reserve_mem"
_AREA = f"{_FADUMP}:get_fadump_area_size"
_LOCATE = f"{_FADUMP}:fadump_locate_reserve_mem"
_PARAMETERS = f"{_FADUMP}:fadump_setup_param_area"
_PLATFORMS = "arch/powerpc/platforms"
NOT_SUPPORTED = Refusal(
    "the firmware does not offer FADump", _RESERVE, "Firmware-Assisted Dump is not supported on this hardware"
)
_MAX_FIRMWARE_RANGES = 1024
"""RESERVED_RNGS_CNT: further ranges of reserved-ranges are ignored."""
_HASH_PARAMETERS = Range(0x2A00_0000, 0x2E00_0000)
_MOST_POWER8_RMA_BYTES = 0x4000_0000
_LEAST_HASH_RMA_BYTES = 0x3000_0000
"""MIN_RMA in newer kernels: boot loaders use memory below it."""


class Part(StrEnum):
    """The parts of a reserved dump area."""

    CPU_STATE = "cpu_state"
    HPTE = "hpte"
    BOOT_MEMORY = "boot_memory"
    CRASH_INFO_HEADER = "crash_info_header"
    ELF_CORE_HEADER = "elf_core_header"
    METADATA = "metadata"
    PARAMETER_AREA = "parameter_area"


_REGISTERED = {
    Platform.PSERIES: frozenset((Part.CPU_STATE, Part.HPTE, Part.BOOT_MEMORY, Part.PARAMETER_AREA)),
    Platform.POWERNV: frozenset((Part.BOOT_MEMORY,)),
}


@dataclass(frozen=True, slots=True)
class AreaSection:
    """A part and its range. ``source`` is where the firmware copies it from, None if not from memory."""

    part: Part
    source: int | None
    size_bytes: int
    destination: int


@dataclass(frozen=True, slots=True)
class System:
    """What a kernel finds when it starts. ``cpu_state_bytes`` and ``hpte_bytes`` are the firmware's sizes.

    ``supported``: the firmware offers FADump.
    """

    platform: Platform
    memory: MemoryMap
    cpu_state_bytes: int = 0
    hpte_bytes: int = 0
    mmu: Mmu = Mmu.RADIX
    supported: bool = True


@dataclass(frozen=True, slots=True)
class Reservation:
    """A first kernel's memory for FADump. ``sections`` are in the order of their registration, then the others.

    ``parameter_area`` and ``cma`` (memory lent to user space until the crash) are None if there is none.
    """

    area: Range
    boot_memory: BootMemory
    sections: tuple[AreaSection, ...]
    parameter_area: Range | None
    cma: Range | None
    reasons: tuple[Reason, ...]
    warnings: tuple[str, ...]

    def registered(self, platform: Platform) -> tuple[AreaSection, ...]:
        """The sections that the kernel registers with the firmware."""
        return tuple(section for section in self.sections if section.part in _REGISTERED[platform])

    def first(self, part: Part) -> AreaSection:
        """The first section of a part, which must exist."""
        return next(section for section in self.sections if section.part is part)


@dataclass(frozen=True, slots=True)
class AreaSizes:
    """Bytes of the reserved dump area's parts, in their order.

    ``before_copy`` is what the firmware fills before the copy of boot memory, rounded up to a page.
    """

    before_copy: int
    boot_memory: int
    crash_info_header: int
    elf_core_header: int
    metadata: int

    @property
    def parts(self) -> tuple[int, ...]:
        """The sizes of all parts."""
        return self.before_copy, self.boot_memory, self.crash_info_header, self.elf_core_header, self.metadata

    @property
    def total(self) -> int:
        """The size of the area: get_fadump_area_size()."""
        return sum(self.parts) & U64


def reserve(system: System, kernel: KernelTraits, command_line: CommandLine) -> Reservation | Refusal:
    """What a first kernel reserves for FADump, or why it doesn't."""
    if not command_line.fadump:
        return Refusal("fadump=on is not given", f"{_FADUMP}:early_fadump_param")
    if not system.supported:
        return NOT_SUPPORTED
    boot = boot_memory(system.platform, system.memory, kernel, command_line)
    return boot if isinstance(boot, Refusal) else place_area(system, kernel, command_line, boot)


def place_area(
    system: System, kernel: KernelTraits, command_line: CommandLine, boot: BootMemory
) -> Reservation | Refusal:
    """Find a place for the reserved dump area for this boot memory: the second half of fadump_reserve_mem()."""
    sizes = area_sizes(system, kernel, boot.size_bytes)
    area_bytes = sizes.total
    base = _locate(system.memory, kernel, boot.top, area_bytes)
    boundary = extended_limit(system, kernel, command_line.memory_limit, boot.size_bytes) or system.memory.end
    if base is None or base + area_bytes > boundary:
        return Refusal(
            f"no {area_bytes:#x} bytes in one piece are free between boot memory's top {boot.top:#x} and {boundary:#x}",
            _RESERVE,
            "Failed to find memory chunk for reservation!",
        )
    return _reservation(system, kernel, command_line, boot, sizes, Range.sized(base, area_bytes))


def _reservation(
    system: System,
    kernel: KernelTraits,
    command_line: CommandLine,
    boot: BootMemory,
    sizes: AreaSizes,
    area: Range,
) -> Reservation:
    memory_limit = extended_limit(system, kernel, command_line.memory_limit, boot.size_bytes)
    extra = parameter_area(system, kernel, memory_limit, command_line, area, boot.top)
    copy = Range.sized(area.start, boot.size_bytes)
    lent, cma_reason = lent_part(kernel, mmu_in_use(system, command_line), command_line, copy)
    sections = tuple(_sections(system, boot, sizes, area.start, extra))
    reasons = [*boot.reasons, *_area_reasons(system, kernel, boot, sizes, area), cma_reason]
    warnings = list(boot.warnings)
    if extra is not None:
        reasons.append(_parameter_reason(system, kernel, command_line, extra, boot.top))
    elif system.platform is Platform.PSERIES and kernel.parameter_area:
        why = "no place is free for additional parameters"
        if not has_room_for_parameters(system, command_line):
            least = size_text(_LEAST_HASH_RMA_BYTES)
            why = f"the first memory block has less than {least}, so that hash has no additional parameters"
        warnings.append(f"{why}: the capture kernel gets this command line only")
    if not command_line.nocma and lent is None:
        warnings.append(cma_reason.sentence)
    regions = limited(system.memory.regions, memory_limit, kernel)
    end = end_without_page(system, mmu_in_use(system, command_line), regions)
    if end is not None:
        warnings.append(f"this Linux does not boot: {no_page_for(end)}; a mem= that makes it end with one helps")
    return Reservation(area, boot, sections, extra, lent, tuple(reasons), tuple(warnings))


def area_sizes(system: System, kernel: KernelTraits, boot_memory_bytes: int) -> AreaSizes:
    """The sizes of the area's parts; a capture kernel computes them again, from its own device tree."""
    before = system.cpu_state_bytes + system.hpte_bytes if system.platform is Platform.PSERIES else 0
    before = align_up(before, kernel.page_bytes)
    elf = metadata = 0
    if kernel.first_kernel_writes_elfcorehdr:
        elf = ELF_HEADER.size_bytes + _program_headers(system.memory) * PROGRAM_HEADER.size_bytes
        used = before + boot_memory_bytes + kernel.header_bytes + elf
        elf += align_up(used, kernel.page_bytes) - used
    if system.platform is Platform.POWERNV:
        metadata = align_up(kernel_metadata.SIZE_BYTES, kernel.page_bytes)
    return AreaSizes(before, boot_memory_bytes, kernel.header_bytes, elf, metadata)


def extended_limit(system: System, kernel: KernelTraits, memory_limit: int, boot_memory_bytes: int) -> int:
    """``mem=``, which some kernels extend by the area's size; 0 if it isn't given."""
    if kernel.extends_memory_limit and 0 < memory_limit < system.memory.end:
        return min(memory_limit + area_sizes(system, kernel, boot_memory_bytes).total, system.memory.end)
    return memory_limit


def parameter_area(
    system: System, kernel: KernelTraits, memory_limit: int, command_line: CommandLine, area: Range, boot_top: int
) -> Range | None:
    """Where the words for the capture kernel's command line are: the highest suitable free place; None: there is none.

    With radix, it is anywhere in the upper half of memory. With hash, it is what firmware and boot loaders don't use,
    if the real mode area has 768 MiB: between 672 and 736 MiB, or in newer kernels above 768 MiB, in boot memory and in
    the real mode area.
    """
    if not kernel.parameter_area or system.platform is Platform.POWERNV:
        return None
    memory = system.memory
    regions = limited(memory.regions, memory_limit, kernel)
    end = regions[-1].end
    within = Range(end // 2, end)
    if mmu_in_use(system, command_line) is Mmu.HASH:
        if not has_room_for_parameters(system, command_line):
            return None
        within = _hash_parameters(system, kernel, command_line, boot_top)
    reserved = memory.reserved_early | RangeSet([area]) | memory.firmware | memory.reserved_later
    return find_from_top(free_ranges(regions, reserved), within, COMMAND_LINE_BYTES)


def _hash_parameters(system: System, kernel: KernelTraits, command_line: CommandLine, boot_top: int) -> Range:
    if not kernel.parameters_above_min_rma:
        return _HASH_PARAMETERS
    end = min(_rma_bytes(system, command_line), boot_top)
    return Range(_LEAST_HASH_RMA_BYTES, max(end, _LEAST_HASH_RMA_BYTES))


def has_room_for_parameters(system: System, command_line: CommandLine) -> bool:
    """Whether Linux looks for a place at all; if not, it logs nothing."""
    return mmu_in_use(system, command_line) is Mmu.RADIX or _rma_bytes(system, command_line) >= _LEAST_HASH_RMA_BYTES


def _rma_bytes(system: System, command_line: CommandLine) -> int:
    """ppc64_rma_size of a guest: hash__setup_initial_memory_limit().

    A machine that has no radix is taken for a POWER8.
    """
    first_bytes = system.memory.first_block_bytes
    most_bytes = _MOST_POWER8_RMA_BYTES if system.mmu is Mmu.HASH else first_bytes
    return min(first_bytes, most_bytes, command_line.memory_limit or first_bytes)


def mmu_in_use(system: System, command_line: CommandLine) -> Mmu:
    """Radix if the machine has it, unless ``disable_radix`` is given."""
    return Mmu.HASH if command_line.disable_radix else system.mmu


def end_without_page(system: System, mmu: Mmu, regions: Sequence[Range]) -> int | None:
    """The end of memory if OPAL's hash doesn't map what is right below it, which crashes a kernel; otherwise None.

    Hash maps memory by whole pages of 16 MiB, htab_bolt_mapping(), and the first allocation is at the end. Since
    Linux kernel commit 5a799af95226 (in v6.10) ``mem=`` leaves only whole pages.
    """
    end = regions[-1].end
    return end if system.platform is Platform.POWERNV and mmu is Mmu.HASH and end % HASH_LINEAR_PAGE_BYTES else None


def no_page_for(end: int) -> str:
    """The same in words."""
    return f"memory ends at {end:#x}, within a page of 16 MiB, which hash maps only whole"


def _program_headers(memory: MemoryMap) -> int:
    return len(memory.regions) + 3


def _locate(memory: MemoryMap, kernel: KernelTraits, base: int, size_bytes: int) -> int | None:
    """The lowest free place from ``base`` on that is in none of the firmware's ranges.

    Addresses above 64 bits aren't searched; Linux doesn't check for them, and searches forever.
    """
    firmware = tuple(memory.firmware)[:_MAX_FIRMWARE_RANGES]
    index = 0
    for piece in free_ranges(memory.regions, memory.reserved_early):
        if piece.start > base:
            base = _next_page(piece.start, kernel)
        while base < piece.end and piece.end - base >= size_bytes:
            while index < len(firmware) and firmware[index].end <= base:
                index += 1
            if index == len(firmware) or base + size_bytes <= firmware[index].start:
                return base
            base = _next_page(firmware[index].end, kernel)
    return None


def _next_page(address: int, kernel: KernelTraits) -> int:
    return align_down(address + kernel.page_bytes - 1, kernel.page_bytes)


def _sections(
    system: System, boot: BootMemory, sizes: AreaSizes, base: int, extra: Range | None
) -> Iterator[AreaSection]:
    at = base
    if system.platform is Platform.PSERIES:
        yield AreaSection(Part.CPU_STATE, None, system.cpu_state_bytes, at)
        yield AreaSection(Part.HPTE, None, system.hpte_bytes, at + system.cpu_state_bytes)
    at += sizes.before_copy
    destination = at
    for region in boot.regions:
        yield AreaSection(Part.BOOT_MEMORY, region.start, region.size_bytes, destination)
        destination += region.size_bytes
    if extra is not None:
        yield AreaSection(Part.PARAMETER_AREA, extra.start, extra.size_bytes, extra.start)
    at += boot.size_bytes
    behind = (Part.CRASH_INFO_HEADER, Part.ELF_CORE_HEADER, Part.METADATA)
    for part, size_bytes in zip(behind, sizes.parts[2:], strict=True):
        if size_bytes:
            yield AreaSection(part, None, size_bytes, at)
            at += size_bytes


def _area_reasons(
    system: System, kernel: KernelTraits, boot: BootMemory, sizes: AreaSizes, area: Range
) -> Iterator[Reason]:
    if system.platform is Platform.PSERIES:
        sizes_from = f"{_PLATFORMS}/pseries/rtas-fadump.c:rtas_fadump_dt_scan"
        sentence = "what the firmware needs for the registers of all CPUs that the machine can ever have"
        yield Reason("cpu_state_bytes", system.cpu_state_bytes, sentence, sizes_from)
        yield Reason("hpte_bytes", system.hpte_bytes, "what the firmware needs for the hash page table", sizes_from)
        start = area.start + sizes.before_copy
        yield Reason("boot_memory_copy", start, "the copy starts with a page, so that it can be mapped", _AREA)
    header = f"{kernel.header_bytes:#x} bytes: registers of one CPU and a bit for each of {kernel.nr_cpus} CPUs"
    yield Reason("crash_info_header_bytes", kernel.header_bytes, header, _AREA)
    if sizes.elf_core_header:
        sentence = f"an ELF header with {_program_headers(system.memory)} program headers, up to the end of the page"
        yield Reason("elf_core_header_bytes", sizes.elf_core_header, sentence, _AREA)
    if sizes.metadata:
        source = f"{_PLATFORMS}/powernv/opal-fadump.c:opal_fadump_get_metadata_size"
        yield Reason("metadata_bytes", sizes.metadata, "what the capture kernel finds by a tag, in whole pages", source)
    parts = " + ".join(f"{size:#x}" for size in sizes.parts if size)
    yield Reason("reserved_bytes", area.size_bytes, f"{parts}: all that is in the area", _AREA)
    yield Reason("reserved_base", area.start, _why_there(system.memory, boot.top, area), _LOCATE)


def _why_there(memory: MemoryMap, top: int, area: Range) -> str:
    if area.start == top:
        return "the lowest place that is free, right above boot memory"
    crossed = [str(piece) for piece in memory.firmware if piece.overlaps(Range(top, area.start))]
    if not crossed:
        return "the lowest place in one piece of memory that is large enough"
    if len(crossed) > 1:
        crossed = [f"{len(crossed)} ranges from {crossed[0]} on"]
    return f"the lowest place that is free, above the firmware's memory in reserved-ranges: {crossed[0]}"


def _parameter_reason(
    system: System, kernel: KernelTraits, command_line: CommandLine, extra: Range, boot_top: int
) -> Reason:
    where = "the highest free place in memory's upper half"
    if mmu_in_use(system, command_line) is Mmu.HASH:
        within = _hash_parameters(system, kernel, command_line, boot_top)
        where = f"the highest free place in {within}"
    sentence = f"{where}, for {COMMAND_LINE_BYTES} bytes that are added to the capture kernel's command line"
    return Reason("parameter_area", extra.start, sentence, _PARAMETERS)

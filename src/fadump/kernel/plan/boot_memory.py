"""Boot memory: how much memory a capture kernel gets, and where it is.

Linux arch/powerpc/kernel/fadump.c: fadump_calculate_reserve_size(), fadump_get_boot_mem_regions(). Boot memory is the
lowest RAM, of a given size; *boot memory top* is its end, including holes.

fadump_get_boot_mem_regions() of 6.1, 6.12 and 7.2 is wrong if there is a hole in boot memory: it subtracts the size of
a range from what is still wanted and also adds it to what has been found, so that each range counts twice. The model
does the same, and :attr:`BootMemory.warnings` says so.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from fadump.abi.platform import Platform
from fadump.kernel.plan.cmdline import CommandLine, parse_crashkernel
from fadump.kernel.plan.memory_map import MemoryMap
from fadump.kernel.traits import (
    MIB,
    U64,
    KernelTraits,
    Reason,
    Refusal,
    align_down,
    align_up,
    least_boot_memory_bytes,
    size_text,
)
from fadump.memory.ranges import Range, RangeSet

_FADUMP = "arch/powerpc/kernel/fadump.c"
_CALCULATE = f"{_FADUMP}:fadump_calculate_reserve_size"
_REGIONS = f"{_FADUMP}:fadump_get_boot_mem_regions"
_RESERVE = f"{_FADUMP}:fadump_reserve_mem"
_DEFAULT_STEP_BYTES = 256 * MIB
LARGEST_SHARE = 4
"""MAX_BOOT_MEM_RATIO: crashkernel= gets at most a quarter of RAM."""


@dataclass(frozen=True, slots=True)
class Region:
    """A range of boot memory that is registered. ``size_bytes`` may be nonsense, see this module's docstring."""

    start: int
    size_bytes: int


@dataclass(frozen=True, slots=True)
class BootMemory:
    """``size_bytes`` is what the kernel computes with; ``regions`` need not add up to it, see ``warnings``.

    Each of the ``warnings`` says why a crash's dump would be lost, or wrong.
    ``regions`` are registered, ``ranges`` are what Linux has in ``fw_dump.boot_mem_addr`` and makes PT_LOADs from. They
    differ only on pseries without a section for each range.
    """

    size_bytes: int
    top: int
    regions: tuple[Region, ...]
    ranges: tuple[Region, ...]
    reasons: tuple[Reason, ...]
    warnings: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Wanted:
    size_bytes: int
    sentence: str


def boot_memory(
    platform: Platform, memory: MemoryMap, kernel: KernelTraits, command_line: CommandLine
) -> BootMemory | Refusal:
    """Boot memory of a first kernel, or why there is none."""
    wanted = _wanted(platform, memory, kernel, command_line)
    size_bytes = align_up(wanted.size_bytes, kernel.page_bytes)
    if not command_line.nocma:
        size_bytes = align_up(size_bytes, kernel.size_alignment_bytes)
    least_bytes = least_boot_memory_bytes(platform)
    if size_bytes < least_bytes:
        return Refusal(
            f"{size_text(size_bytes)} of boot memory is less than {size_text(least_bytes)}, the least on {platform}: "
            f"{wanted.sentence}",
            _RESERVE,
            f"Can't enable fadump with boot memory size ({size_bytes:#x}) less than {least_bytes:#x}",
        )
    top = align_up(size_bytes + _holes(memory.regions, size_bytes), kernel.page_bytes)
    regions = _regions(memory.regions, size_bytes, kernel.max_region_bytes(platform), kernel.max_regions(platform))
    if regions is None:
        return Refusal(
            f"boot memory takes more than {kernel.max_regions(platform)} ranges, the most on {platform}",
            _REGIONS,
            "Too many holes in boot memory area to enable fadump",
        )
    registered = regions
    if platform is Platform.PSERIES and not kernel.region_per_range:
        registered = (Region(0, size_bytes),)
    return BootMemory(
        size_bytes,
        top,
        registered,
        regions,
        tuple(_reasons(memory, wanted, size_bytes, top)),
        tuple(_warnings(memory, size_bytes, top, regions, registered)),
    )


def default_bytes(platform: Platform, ram_bytes: int) -> int:
    """What Linux takes of so much RAM without crashkernel=."""
    return _default(platform, ram_bytes, 0, "").size_bytes


def relocate(address: int, regions: Sequence[Region], copy_address: int) -> int:
    """fadump_relocate(): where the firmware copies ``address`` to; outside boot memory, ``address`` itself.

    ``copy_address`` is where the copy of the first of ``regions`` begins.
    """
    destination = copy_address
    for region in regions:
        if region.start <= address < region.start + region.size_bytes:
            return destination + address - region.start
        destination += region.size_bytes
    return address


def _wanted(platform: Platform, memory: MemoryMap, kernel: KernelTraits, command_line: CommandLine) -> _Wanted:
    ram_bytes = memory.ram_bytes
    crashkernel = parse_crashkernel(command_line.text, ram_bytes, kernel)
    if crashkernel.problem is None:
        most_bytes = ram_bytes // LARGEST_SHARE
        if crashkernel.size_bytes > most_bytes:
            return _Wanted(
                most_bytes,
                f"crashkernel= asks for {size_text(crashkernel.size_bytes)} and is cut to a quarter of RAM",
            )
        return _Wanted(crashkernel.size_bytes, "crashkernel= asks for it")
    if command_line.fadump_reserve_mem:
        return _Wanted(command_line.fadump_reserve_mem, f"{crashkernel.problem}, so fadump_reserve_mem= counts")
    return _default(platform, ram_bytes, command_line.memory_limit, crashkernel.problem)


def _default(platform: Platform, ram_bytes: int, memory_limit: int, problem: str) -> _Wanted:
    size_bytes = align_down(ram_bytes // 20, _DEFAULT_STEP_BYTES)
    sentence = f"{problem}, so the default counts: 5 % of RAM, rounded down to {size_text(_DEFAULT_STEP_BYTES)}"
    if memory_limit and size_bytes > memory_limit:
        size_bytes, sentence = memory_limit, f"{sentence}, cut to mem="
    least_bytes = least_boot_memory_bytes(platform)
    if size_bytes > least_bytes:
        return _Wanted(size_bytes, sentence)
    return _Wanted(
        least_bytes, f"{sentence}, is {size_bytes // MIB} MiB, and {size_text(least_bytes)} is the least on {platform}"
    )


def _ranges_that_linux_takes(regions: Sequence[Range], size_bytes: int) -> Iterator[tuple[Range, int]]:
    """Each range that Linux considers, and how much of it Linux takes.

    ``wanted - found`` can be negative; in Linux, whose numbers are unsigned, it is a huge size then.
    """
    wanted, found = size_bytes, 0
    for region in regions:
        if found + region.size_bytes >= wanted:
            yield region, (wanted - found) & U64
            return
        wanted -= region.size_bytes
        found += region.size_bytes
        yield region, region.size_bytes


def _holes(regions: Sequence[Range], size_bytes: int) -> int:
    holes = last_end = 0
    for region, _taken in _ranges_that_linux_takes(regions, size_bytes):
        holes += region.start - last_end
        last_end = region.end
    return holes


def _regions(
    memory: Sequence[Range], size_bytes: int, max_region_bytes: int, max_regions: int
) -> tuple[Region, ...] | None:
    """The ranges, split so that the firmware can copy each; None if they are too many."""
    found: list[Region] = []
    for region, taken in _ranges_that_linux_takes(memory, size_bytes):
        start, left = region.start, taken
        while left:
            if len(found) == max_regions:
                return None
            found.append(Region(start, min(left, max_region_bytes)))
            start += found[-1].size_bytes
            left -= found[-1].size_bytes
    return tuple(found)


def _reasons(memory: MemoryMap, wanted: _Wanted, size_bytes: int, top: int) -> Iterator[Reason]:
    rounded = "" if size_bytes == wanted.size_bytes else f", rounded up from {wanted.size_bytes:#x} to whole pages"
    yield Reason(
        "system_ram", memory.ram_bytes, "all memory, holes not counted", "mm/memblock.c:memblock_phys_mem_size"
    )
    yield Reason("boot_memory_bytes", size_bytes, wanted.sentence + rounded, _CALCULATE)
    holes = top - size_bytes
    below = f"with {size_text(holes)} of holes below it" if holes else "there is no hole in it"
    yield Reason("boot_memory_top", top, f"boot memory ends here: {below}", _REGIONS)


def _warnings(
    memory: MemoryMap,
    size_bytes: int,
    top: int,
    regions: Sequence[Region],
    registered: Sequence[Region],
) -> Iterator[str]:
    first = memory.regions[0]
    if first.end >= size_bytes or len(memory.regions) == 1:
        return
    second = memory.regions[1].start
    where = f"there is a hole in boot memory, {first.end:#x} to {second:#x}"
    if second == first.end:
        where = f"removable memory begins or ends at {first.end:#x}, within boot memory"
    count = sum(region.size_bytes for region in regions)
    if registered is not regions:
        what = "which is not all RAM, so that no firmware takes it"
        if RangeSet(memory.regions).contains(Range(0, size_bytes)):
            what = "but counts the memory below twice in the headers of its dump"
        yield f"{where}: this kernel registers one range from 0 to {size_bytes:#x} all the same, {what}"
    elif any(region.size_bytes > top for region in regions):
        huge = next(region for region in regions if region.size_bytes > top)
        yield (
            f"{where}, and Linux counts the memory below it twice: it asks the firmware for {huge.size_bytes:#x} bytes "
            f"from {huge.start:#x}, which no firmware takes"
        )
    elif count != size_bytes:
        yield (
            f"{where}, and Linux counts the memory below it twice: {count:#x} of {size_bytes:#x} bytes of boot memory "
            "are registered, and the whole dump is lost: the capture kernel looks for the crash-info header right "
            "behind them"
        )

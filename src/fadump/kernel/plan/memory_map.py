"""The memory that a kernel finds when it starts, and memblock's searches in it.

At that time, the kernel has two lists: memory, and what is reserved (Linux mm/memblock.c). Adjacent memory is one
region, unless only one part is hot-removable; a free range never crosses the border of a region.
When FADump looks for a place, only the kernel itself and the first 64 KiB are reserved, as
arch/powerpc/kernel/prom.c early_init_devtree() reserves most memory later. Everything else that FADump avoids is in the
root's ``reserved-ranges``.
"""

import itertools
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from fadump.kernel.traits import MIB, KernelTraits, align_down, align_up
from fadump.memory.ranges import Range, RangeSet

HASH_LINEAR_PAGE_BYTES = 16 * MIB
MEMORY_LIMIT = 1 << 51
"""MAX_PHYSMEM_BITS: memory from here on is ignored, prom.c validate_mem_limit()."""
KERNEL = Range(0, 32 * MIB)
"""Where a kernel's image is if that isn't known: larger than a distribution's."""
_NOTHING = RangeSet()


@dataclass(frozen=True, slots=True)
class MemoryBlock:
    """Memory as in the device tree; ``hot_removable`` is flag 0x100, of a block that can be unplugged.

    ``node`` is the number of its NUMA node.
    """

    range: Range
    hot_removable: bool = False
    node: int = 0


@dataclass(frozen=True, slots=True)
class MemoryMap:
    """``regions`` are memory as in memblock; :func:`regions_of` makes them.

    ``firmware`` is the root's ``reserved-ranges``. ``reserved_later`` is what the kernel reserves after FADump: the
    device tree, the initrd and ``/reserved-memory``. ``first_block_bytes`` is the size of the first memory block, a
    hash guest's real mode area; ``kernel`` is where the kernel's image is. ``node_borders`` are the addresses at which
    one NUMA node's memory ends and another's begins. ``ignored_bytes`` of memory are too high for Linux.
    """

    regions: tuple[Range, ...]
    first_block_bytes: int
    firmware: RangeSet = _NOTHING
    reserved_later: RangeSet = _NOTHING
    kernel: Range = KERNEL
    node_borders: tuple[int, ...] = ()
    ignored_bytes: int = 0

    @classmethod
    def of(cls, blocks: Sequence[MemoryBlock], firmware: RangeSet, reserved_later: RangeSet) -> "MemoryMap":
        """The map of these blocks.

        :raises ValueError: there is no memory at 0, where a kernel begins, or there is some beyond 64 bits.
        """
        first = min((block.range for block in blocks if block.range), default=None)
        if first is None or first.start:
            raise ValueError("there is no memory at address 0, where a kernel starts")
        if any(block.range.end > 1 << 64 for block in blocks):
            raise ValueError("there is memory beyond 64 bits")
        used = [block for block in map(_below_limit, blocks) if block.range]
        ignored_bytes = sum(block.range.size_bytes for block in blocks) - sum(block.range.size_bytes for block in used)
        first_bytes = min(first.size_bytes, MEMORY_LIMIT)
        borders = tuple(_node_borders(used))
        return cls(
            regions_of(used), first_bytes, firmware, reserved_later, node_borders=borders, ignored_bytes=ignored_bytes
        )

    def by_node(self, regions: Sequence[Range]) -> tuple[Range, ...]:
        """``regions`` of memory as they are later in the boot: split by NUMA node, no longer by being hot-removable.

        Linux arch/powerpc/mm/numa.c parse_numa_properties(), memblock_set_node(); mm/memblock.c
        free_low_memory_core_early(), memblock_clear_hotplug(). FADump reserves its memory before that.
        """
        found = []
        for region in RangeSet(regions):
            first, last = bisect_right(self.node_borders, region.start), bisect_left(self.node_borders, region.end)
            edges = [region.start, *self.node_borders[first:last], region.end]
            found += [Range(start, end) for start, end in itertools.pairwise(edges)]
        return tuple(found)

    @property
    def ram_bytes(self) -> int:
        """memblock_phys_mem_size()."""
        return sum(region.size_bytes for region in self.regions)

    @property
    def end(self) -> int:
        """memblock_end_of_DRAM()."""
        return self.regions[-1].end

    @property
    def reserved_early(self) -> RangeSet:
        """What is reserved when FADump looks for a place."""
        return RangeSet([self.kernel, Range(0, 0x10000)])


def _below_limit(block: MemoryBlock) -> MemoryBlock:
    if block.range.end <= MEMORY_LIMIT:
        return block
    return replace(block, range=Range(min(block.range.start, MEMORY_LIMIT), MEMORY_LIMIT))


def _node_borders(blocks: Iterable[MemoryBlock]) -> Iterator[int]:
    last: MemoryBlock | None = None
    for block in sorted(blocks, key=lambda block: block.range):
        if last is not None and last.node != block.node:
            yield block.range.start
        last = block


def regions_of(blocks: Iterable[MemoryBlock]) -> tuple[Range, ...]:
    """Memory as in memblock: sorted; where blocks overlap, the first one counts."""
    regions: list[Range] = []
    last_removable = False
    for block in sorted(blocks, key=lambda block: block.range):
        start = max(block.range.start, regions[-1].end) if regions else block.range.start
        if start >= block.range.end:
            continue
        if regions and regions[-1].end == start and block.hot_removable == last_removable:
            regions[-1] = Range(regions[-1].start, block.range.end)
        else:
            regions.append(Range(start, block.range.end))
        last_removable = block.hot_removable
    return tuple(regions)


def free_ranges(regions: Iterable[Range], reserved: RangeSet) -> Iterator[Range]:
    """What is free, in rising order; each range is in one region. Linear in both arguments."""
    holes = tuple(reserved)
    index = 0
    for region in regions:
        while index < len(holes) and holes[index].end <= region.start:
            index += 1
        at, probe = region.start, index
        while probe < len(holes) and holes[probe].start < region.end:
            if at < holes[probe].start:
                yield Range(at, holes[probe].start)
            at = max(at, holes[probe].end)
            probe += 1
        if at < region.end:
            yield Range(at, region.end)


def find_from_top(free: Iterable[Range], within: Range, size_bytes: int) -> Range | None:
    """The highest free place in ``within``, aligned to its own size: memblock_phys_alloc_range()."""
    best: Range | None = None
    for piece in free:
        usable = piece.intersection(within)
        if usable is None or usable.end < size_bytes:
            continue
        start = align_down(usable.end - size_bytes, size_bytes)
        if start >= usable.start:
            best = Range.sized(start, size_bytes)
    return best


class Memblock:
    """What is free after all early reservations; it is allocated from the top."""

    def __init__(self, free: RangeSet) -> None:
        self.free = free
        """What is still free."""

    def allocate(self, size_bytes: int) -> int | None:
        """memblock_alloc(): the highest free place at a multiple of its size, a power of two; None if there is none."""
        pieces = list(self.free)
        place = find_from_top(pieces, Range(0, pieces[-1].end), size_bytes) if pieces else None
        if place is None:
            return None
        self.free -= RangeSet([place])
        return place.start


def limited(regions: Sequence[Range], limit_bytes: int, kernel: KernelTraits) -> tuple[Range, ...]:
    """The lowest ``limit_bytes`` of memory, which is ``mem=``; 0: all of it.

    early_init_devtree(), memblock_enforce_memory_limit(), after FADump has reserved its memory.
    """
    ram_bytes = sum(region.size_bytes for region in regions)
    if limit_bytes > ram_bytes:
        limit_bytes = 0
    if kernel.limits_to_16_mib:
        left = align_down(limit_bytes or ram_bytes, HASH_LINEAR_PAGE_BYTES)
    else:
        left = align_up(limit_bytes or ram_bytes, kernel.page_bytes)
    if not left:
        return tuple(regions)
    kept: list[Range] = []
    for region in regions:
        if left <= 0:
            break
        kept.append(Range.sized(region.start, min(region.size_bytes, left)))
        left -= region.size_bytes
    return tuple(kept)

"""p_vaddr of an ELF core that is written: Power's linear map, or what the source had.

Step "saved" of docs/architecture.md. On other machines than Power, readers find the kernel's memory by p_vaddr; on
x86_64 the kernel's text is in two PT_LOADs, once in the linear map and once where it runs.
"""

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise

from fadump.abi.linux.page_table import PAGE_OFFSET
from fadump.limits import MOST_PIECES, Budget
from fadump.memory.ranges import Range
from fadump.vmcore.contract import VirtualRange

_ADDRESS_MASK = (1 << 64) - 1


class VirtualAddresses:
    """Which virtual addresses the physical memory of a machine has."""

    def __init__(self, machine: str, known: Sequence[VirtualRange]) -> None:
        """``known`` are the source's PT_LOADs; Power doesn't need them."""
        self._is_power = machine.startswith("ppc64")
        self._known = [] if self._is_power else list(_cut(known))
        self._ends = [where.end for where, _distances in self._known]

    def of(self, memory: Iterable[Range]) -> Iterator[tuple[Range, int]]:
        """Each piece of rising ``memory`` with its virtual address, once for each that it has; 0: that isn't known."""
        if self._is_power:
            yield from ((physical, PAGE_OFFSET | physical.start) for physical in memory)
            return
        for physical in memory:
            yield from self._pieces(physical, bisect_right(self._ends, physical.start))

    def _pieces(self, physical: Range, at: int) -> Iterator[tuple[Range, int]]:
        start = physical.start
        while at < len(self._known) and self._known[at][0].start < physical.end:
            where, distances = self._known[at]
            if start < where.start:
                yield Range(start, where.start), 0
            both = Range(max(start, where.start), min(physical.end, where.end))
            yield from ((both, both.start + distance & _ADDRESS_MASK) for distance in distances)
            start = both.end
            at += 1
        if start < physical.end:
            yield Range(start, physical.end), 0


def _cut(known: Sequence[VirtualRange]) -> Iterator[tuple[Range, Sequence[int]]]:
    """The same by rising physical addresses, without overlaps: how far the virtual ones of each piece are from it.

    :raises LimitError: together they are more than any machine has.
    """
    events: list[tuple[int, bool, int]] = []
    for number, part in enumerate(known):
        if part.physical:
            events += [(part.physical.start, True, number), (part.physical.end, False, number)]
    here: dict[int, None] = {}
    budget = Budget("virtual addresses of pieces of memory", MOST_PIECES)
    last: tuple[Range, Sequence[int]] | None = None
    for (start, begins, number), (end, _begins, _number) in pairwise([*sorted(events), (0, False, 0)]):
        if begins:
            here[number] = None
        else:
            here.pop(number)
        if not here or end <= start:
            continue
        budget.spend(len(here))
        distances = tuple(dict.fromkeys(known[n].virtual - known[n].physical.start for n in sorted(here)))
        if last is not None and last[0].end == start and last[1] == distances:
            last = (Range(last[0].start, end), distances)
            continue
        if last is not None:
            yield last
        last = (Range(start, end), distances)
    if last is not None:
        yield last

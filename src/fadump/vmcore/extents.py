"""Where in a file some addresses are, with segments or records that may overlap.

After the last step of "follow one crash" in docs/architecture.md. ELF cores and flattened files both consist of these.
"""

import heapq
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from fadump.memory.ranges import Range


@dataclass(frozen=True, slots=True)
class Extent:
    """Where the bytes of some physical addresses are: in the file from ``file_offset``; None: they are zeros."""

    physical: Range
    file_offset: int | None

    def part(self, wanted: Range) -> "Extent":
        """The part of it at ``wanted`` addresses."""
        if self.file_offset is None:
            return Extent(wanted, None)
        return Extent(wanted, self.file_offset + wanted.start - self.physical.start)


def first_wins(extents: Sequence[Extent]) -> Iterator[Extent]:
    """The same extents, sorted by address and cut so that none overlap: the first one of several keeps its bytes."""
    rising = deque(sorted(enumerate(extents), key=lambda numbered: numbered[1].physical.start))
    borders = sorted({border for extent in extents for border in (extent.physical.start, extent.physical.end)})
    here: list[tuple[int, Extent]] = []  # a heap of those that contain `start` or an earlier border
    for start, end in pairwise(borders):
        while rising and rising[0][1].physical.start == start:
            heapq.heappush(here, rising.popleft())
        while here and here[0][1].physical.end <= start:
            heapq.heappop(here)
        if here:
            yield here[0][1].part(Range(start, end))

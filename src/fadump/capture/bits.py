"""One bit for each page of a machine, the lowest bit of a byte first, as dump files have them.

Step "saved" of docs/architecture.md. 64 GiB of 64K pages take 128 KiB.
"""

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

from fadump.memory.ranges import Range
from fadump.vmcore.bitmap import bits_in

Flags = npt.NDArray[np.bool_]

WINDOW_PAGES = 1 << 16
"""How many pages are looked at at a time."""
_EMPTY_PAGES = 64 * WINDOW_PAGES
"""How many are passed over at a time if there are none."""


class PageBits:
    """A set of pages numbered from 0 up to ``pages``."""

    def __init__(self, pages: int) -> None:
        self.pages = pages
        self._bytes = np.zeros(-(-pages // 8), np.uint8)

    @property
    def data(self) -> memoryview:
        """The bits, in whole bytes."""
        return self._bytes.data

    def copy(self) -> "PageBits":
        """A copy that can be changed."""
        same = PageBits(self.pages)
        for window in self.windows(0, self.pages):  # what has none takes no memory
            where = slice(window.start // 8, -(-window.end // 8))
            same._bytes[where] = self._bytes[where]
        return same

    def count(self) -> int:
        """How many pages are in the set."""
        return sum(
            int(bits_in(self._bytes[at : at + WINDOW_PAGES]).sum()) for at in range(0, len(self._bytes), WINDOW_PAGES)
        )

    def count_between(self, start: int, end: int) -> int:
        """How many of the pages from ``start`` up to ``end`` are in it."""
        return sum(int(self.flags(window.start, window.end).sum()) for window in self.windows(start, end))

    def find(self, ranks: Sequence[int]) -> list[int]:
        """For each of rising ``ranks``, the page in the set that so many others come before; ``pages``: there is none.

        The set is looked through once.
        """
        found: list[int] = []
        before = 0
        for window in self.windows(0, self.pages):
            if len(found) == len(ranks):
                break
            numbers = np.flatnonzero(self.flags(window.start, window.end))
            while len(found) < len(ranks) and ranks[len(found)] < before + len(numbers):
                found.append(window.start + int(numbers[ranks[len(found)] - before]))
            before += len(numbers)
        return found + [self.pages] * (len(ranks) - len(found))

    def flags(self, start: int, end: int) -> Flags:
        """Whether each page from ``start`` up to ``end`` is in it."""
        first = start // 8
        bits = np.unpackbits(self._bytes[first : -(-end // 8)], bitorder="little")
        return bits[start - 8 * first : end - 8 * first].view(np.bool_)

    def put(self, start: int, flags: Flags) -> None:
        """Set for each page from ``start`` on whether it is in the set."""
        first, last = start // 8, -(-(start + len(flags)) // 8)
        bits = np.unpackbits(self._bytes[first:last], bitorder="little")
        bits[start - 8 * first : start - 8 * first + len(flags)] = flags
        self._bytes[first:last] = np.packbits(bits, bitorder="little")

    def fill(self, start: int, end: int, *, value: bool) -> None:
        """Set the same for all pages from ``start`` up to ``end``."""
        first, last = -(-start // 8), end // 8
        if last <= first:
            self.put(start, np.full(end - start, value))
            return
        self.put(start, np.full(8 * first - start, value))
        self._bytes[first:last] = 0xFF if value else 0
        self.put(8 * last, np.full(end - 8 * last, value))

    def windows(self, start: int, end: int) -> Iterator[Range]:
        """Pieces of ``start`` up to ``end`` of at most :data:`WINDOW_PAGES` pages, without those that have none."""
        for part in range(start, end, _EMPTY_PAGES):
            part_end = min(part + _EMPTY_PAGES, end)
            if not self._any(part, part_end):
                continue
            for at in range(part, part_end, WINDOW_PAGES):
                window = Range(at, min(at + WINDOW_PAGES, end))
                if self._any(window.start, window.end):
                    yield window

    def _any(self, start: int, end: int) -> bool:
        return bool(self._bytes[start // 8 : -(-end // 8)].any())

    def runs(self) -> Iterator[Range]:
        """Runs of pages that are in the set, in order; two of them may be adjacent."""
        for window in self.windows(0, self.pages):
            padded = np.zeros(window.size_bytes + 2, np.int8)
            padded[1:-1] = self.flags(window.start, window.end)
            edges = np.flatnonzero(np.diff(padded)) + window.start
            for start, end in zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True):
                yield Range(start, end)

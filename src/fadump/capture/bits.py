"""A set of pages of a machine, one bit for each where that is needed.

Step "saved" of docs/architecture.md. Pages are kept in windows: one that has none or all of its pages takes no memory
of its own, so that a set costs what it is made of, and not what its highest address is. In bytes, the lowest bit of a
byte is first, as dump files have them.
"""

from collections.abc import Iterator, Sequence
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from fadump.memory.ranges import Range
from fadump.vmcore.bitmap import bits_in

Flags = npt.NDArray[np.bool_]
Bits = npt.NDArray[np.uint8]

WINDOW_PAGES = 1 << 16
"""How many pages a window has; whole bytes."""
_NONE, _SOME, _ALL = range(3)
"""How many pages of a window are in a set."""


class PageBits:
    """A set of pages numbered from 0 up to ``pages``."""

    def __init__(self, pages: int) -> None:
        self.pages = pages
        self.kinds = np.full(-(-pages // WINDOW_PAGES), _NONE, np.uint8)
        """Whether each window has none, some or all of its pages."""
        self._bits: dict[int, Bits] = {}
        """Those of the windows that have some pages. The last window may be shorter, and never counts as whole then."""

    def bytes_at(self, offset: int, size_bytes: int) -> bytes:
        """A piece of the bits in whole bytes; those of pages that don't exist are not set."""
        parts = []
        for window in _cut(offset * 8, (offset + size_bytes) * 8):
            number, first = divmod(window.start, WINDOW_PAGES)
            here = slice(first // 8, (first + window.size_bytes) // 8)
            parts.append(self.bits_of(number)[here].tobytes())
        return b"".join(parts)

    def bits_of(self, number: int) -> Bits:
        """The bits of a window; there may be no such window."""
        bits = self._bits.get(number)
        if bits is not None:
            return bits
        is_whole = number < len(self.kinds) and self.kinds[number] == _ALL
        return np.full(WINDOW_PAGES // 8, 0xFF if is_whole else 0, np.uint8)

    def copy(self) -> "PageBits":
        """A copy that can be changed."""
        same = PageBits(self.pages)
        same.kinds = self.kinds.copy()
        same._bits = {number: bits.copy() for number, bits in self._bits.items()}
        return same

    def intersection(self, other: "PageBits") -> "PageBits":
        """The pages that are in both sets, which have as many numbers."""
        both = PageBits(self.pages)
        both.kinds = np.minimum(self.kinds, other.kinds)
        for number in np.flatnonzero(both.kinds == _SOME).tolist():
            bits = self.bits_of(number) & other.bits_of(number)
            both._set(number, _SOME if bits.any() else _NONE, bits)
        return both

    def count(self) -> int:
        """How many pages are in the set."""
        return int(self._counts(0, len(self.kinds)).sum())

    def count_between(self, start: int, end: int) -> int:
        """How many of the pages from ``start`` up to ``end`` are in it."""
        first, last = -(-start // WINDOW_PAGES), end // WINDOW_PAGES
        if first > last:
            return int(np.count_nonzero(self.flags(start, end)))
        before, after = self.flags(start, first * WINDOW_PAGES), self.flags(last * WINDOW_PAGES, end)
        return int(self._counts(first, last).sum()) + int(np.count_nonzero(before)) + int(np.count_nonzero(after))

    def find(self, ranks: Sequence[int]) -> list[int]:
        """For each of rising ``ranks``, the page in the set that so many others come before; ``pages``: there is none.

        The set is looked through once.
        """
        counts = self._counts(0, len(self.kinds))
        ends = np.cumsum(counts)
        found = []
        for rank, number in zip(ranks, np.searchsorted(ends, ranks, side="right").tolist(), strict=True):
            if number == len(ends):
                found.append(self.pages)
                continue
            start = number * WINDOW_PAGES
            pages = np.flatnonzero(self.flags(start, min(start + WINDOW_PAGES, self.pages)))
            found.append(start + int(pages[rank - int(ends[number] - counts[number])]))
        return found

    def flags(self, start: int, end: int) -> Flags:
        """Whether each page from ``start`` up to ``end`` is in it."""
        flags = np.zeros(end - start, np.bool_)
        for window in self.windows(start, end):
            number, first = divmod(window.start, WINDOW_PAGES)
            bits = self.bits_of(number)[first // 8 : -(-(first + window.size_bytes) // 8)]
            unpacked = np.unpackbits(bits, bitorder="little")
            flags[window.start - start : window.end - start] = unpacked[first % 8 :][: window.size_bytes]
        return flags

    def put(self, start: int, flags: Flags) -> None:
        """Set for each page from ``start`` on whether it is in the set."""
        for window in _cut(start, start + len(flags)):
            number, first = divmod(window.start, WINDOW_PAGES)
            here = slice(first // 8, -(-(first + window.size_bytes) // 8))
            bits = self.bits_of(number)
            unpacked = np.unpackbits(bits[here], bitorder="little")
            unpacked[first % 8 :][: window.size_bytes] = flags[window.start - start : window.end - start]
            bits[here] = np.packbits(unpacked, bitorder="little")
            self._set(number, _ALL if (bits == 0xFF).all() else _SOME if bits.any() else _NONE, bits)

    def fill(self, start: int, end: int, *, value: bool) -> None:
        """Set the same for all pages from ``start`` up to ``end``."""
        first, last = -(-start // WINDOW_PAGES), end // WINDOW_PAGES
        if first > last:
            self.put(start, np.full(end - start, value))
            return
        self.put(start, np.full(first * WINDOW_PAGES - start, value))
        for number in np.flatnonzero(self.kinds[first:last] == _SOME).tolist():
            del self._bits[first + number]
        self.kinds[first:last] = _ALL if value else _NONE
        self.put(last * WINDOW_PAGES, np.full(end - last * WINDOW_PAGES, value))

    def windows(self, start: int, end: int) -> Iterator[Range]:
        """Pieces of ``start`` up to ``end`` of at most :data:`WINDOW_PAGES` pages, without windows that have none."""
        first, last = start // WINDOW_PAGES, -(-end // WINDOW_PAGES)
        for number in (np.flatnonzero(self.kinds[first:last] != _NONE) + first).tolist():
            yield Range(max(start, number * WINDOW_PAGES), min(end, (number + 1) * WINDOW_PAGES))

    def runs(self) -> Iterator[Range]:
        """Runs of pages that are in the set, in order; no two are adjacent."""
        last: Range | None = None
        for run in self._runs():
            if last is not None and last.end == run.start:
                last = Range(last.start, run.end)
                continue
            if last is not None:
                yield last
            last = run
        if last is not None:
            yield last

    def _runs(self) -> Iterator[Range]:
        """The same; two may be adjacent."""
        borders = np.flatnonzero(np.diff(self.kinds)) + 1
        for first, last in pairwise([0, *borders.tolist(), len(self.kinds)]):
            kind = self.kinds[first] if first < last else _NONE
            if kind == _ALL:
                yield Range(first * WINDOW_PAGES, last * WINDOW_PAGES)
            elif kind == _SOME:
                for number in range(first, last):
                    yield from self._runs_of(number)

    def _runs_of(self, number: int) -> Iterator[Range]:
        padded = np.zeros(WINDOW_PAGES + 2, np.int8)
        padded[1:-1] = np.unpackbits(self._bits[number], bitorder="little")
        edges = np.flatnonzero(np.diff(padded)) + number * WINDOW_PAGES
        for start, end in zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True):
            yield Range(start, end)

    def _counts(self, first: int, last: int) -> npt.NDArray[np.int64]:
        """How many pages each window from number ``first`` up to ``last`` has."""
        counts = np.where(self.kinds[first:last] == _ALL, WINDOW_PAGES, 0).astype(np.int64)
        for number in np.flatnonzero(self.kinds[first:last] == _SOME).tolist():
            counts[number] = bits_in(self._bits[first + number]).sum()
        return counts

    def _set(self, number: int, kind: int, bits: Bits) -> None:
        self.kinds[number] = kind
        if kind == _SOME:
            self._bits[number] = bits
        else:
            self._bits.pop(number, None)


def _cut(start: int, end: int) -> Iterator[Range]:
    """Pieces of a range of pages, none of them in more than one window."""
    while start < end:
        stop = min(end, start - start % WINDOW_PAGES + WINDOW_PAGES)
        yield Range(start, stop)
        start = stop

"""Half-open ranges of addresses, one at a time and as sets.

Every step of docs/architecture.md describes memory with these two types. Addresses and sizes are in
bytes; a range includes its ``start`` and excludes its ``end``.
"""

from bisect import bisect_right
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Self


@dataclass(frozen=True, slots=True, order=True)
class Range:
    """The addresses from ``start`` up to, not including, ``end``; empty if both are the same.

    :raises ValueError: the start is negative, or the end is before the start.
    """

    start: int
    end: int

    def __post_init__(self) -> None:
        if not 0 <= self.start <= self.end:
            raise ValueError(f"{self.start:#x}..{self.end:#x} is not a range")

    @classmethod
    def sized(cls, start: int, size_bytes: int) -> Self:
        """The range of ``size_bytes`` bytes from ``start``.

        :raises ValueError: either is negative.
        """
        return cls(start, start + size_bytes)

    @property
    def size_bytes(self) -> int:
        """The number of addresses in it."""
        return self.end - self.start

    def __bool__(self) -> bool:
        return self.start < self.end

    def __contains__(self, address: int) -> bool:
        return self.start <= address < self.end

    def __str__(self) -> str:
        return f"{self.start:#x}..{self.end:#x}"

    def contains(self, other: "Range") -> bool:
        """Whether every address of ``other`` is in this range; an empty range is in every range."""
        return not other or (self.start <= other.start and other.end <= self.end)

    def overlaps(self, other: "Range") -> bool:
        """Whether the two have an address in common."""
        return self.intersection(other) is not None

    def intersection(self, other: "Range") -> "Range | None":
        """The addresses in both; None if there are none."""
        start, end = max(self.start, other.start), min(self.end, other.end)
        return Range(start, end) if start < end else None


class RangeSet:
    """A set of addresses, stored as ranges: sorted, disjoint, not adjacent, none empty.

    It is immutable. ``|``, ``-`` and ``&`` take another set and need time linear in both;
    looking up an address or a range is a binary search.
    """

    __slots__ = ("_ranges", "_starts")

    def __init__(self, ranges: Iterable[Range] = ()) -> None:
        self._ranges = tuple(_merged(sorted(ranges)))
        self._starts = [range_.start for range_ in self._ranges]

    def __iter__(self) -> Iterator[Range]:
        return iter(self._ranges)

    def __len__(self) -> int:
        return len(self._ranges)

    def __bool__(self) -> bool:
        return bool(self._ranges)

    def __eq__(self, other: object) -> bool:
        return self._ranges == other._ranges if isinstance(other, RangeSet) else NotImplemented

    def __hash__(self) -> int:
        return hash(self._ranges)

    def __repr__(self) -> str:
        return f"RangeSet({list(self._ranges)!r})"

    def __str__(self) -> str:
        return ", ".join(map(str, self._ranges)) or "nothing"

    def __contains__(self, address: int) -> bool:
        found = self._at_or_before(address)
        return found is not None and address in found

    def __or__(self, other: "RangeSet") -> "RangeSet":
        return RangeSet((*self._ranges, *other._ranges))

    def __and__(self, other: "RangeSet") -> "RangeSet":
        return RangeSet(_common(self._ranges, other._ranges))

    def __sub__(self, other: "RangeSet") -> "RangeSet":
        if not self:
            return self
        everything = Range(self._ranges[0].start, self._ranges[-1].end)
        return self & RangeSet(_gaps(other._ranges, everything))

    @property
    def size_bytes(self) -> int:
        """The number of addresses in the set."""
        return sum(range_.size_bytes for range_ in self._ranges)

    def contains(self, wanted: Range) -> bool:
        """Whether every address of ``wanted`` is in the set; an empty range is in every set."""
        found = self._at_or_before(wanted.start)
        return not wanted or (found is not None and found.contains(wanted))

    def overlaps(self, wanted: Range) -> bool:
        """Whether any address of ``wanted`` is in the set."""
        last = self._at_or_before(wanted.end - 1)
        return last is not None and last.overlaps(wanted)

    def within(self, wanted: Range) -> Iterator[Range]:
        """The parts of ``wanted`` that are in the set, rising; the first is found by a binary search."""
        first = max(0, bisect_right(self._starts, wanted.start) - 1)
        for range_ in islice(self._ranges, first, None):
            if range_.start >= wanted.end:
                return
            both = range_.intersection(wanted)
            if both is not None:
                yield both

    def _at_or_before(self, address: int) -> Range | None:
        index = bisect_right(self._starts, address)
        return self._ranges[index - 1] if index else None


def _merged(ranges: Iterable[Range]) -> Iterator[Range]:
    current: Range | None = None
    for range_ in ranges:
        if not range_:
            continue
        if current is None:
            current = range_
        elif range_.start <= current.end:
            current = Range(current.start, max(current.end, range_.end))
        else:
            yield current
            current = range_
    if current is not None:
        yield current


def _common(left: tuple[Range, ...], right: tuple[Range, ...]) -> Iterator[Range]:
    left_index = right_index = 0
    while left_index < len(left) and right_index < len(right):
        both = left[left_index].intersection(right[right_index])
        if both is not None:
            yield both
        if left[left_index].end <= right[right_index].end:
            left_index += 1
        else:
            right_index += 1


def _gaps(ranges: Iterable[Range], within: Range) -> Iterator[Range]:
    """The parts of ``within`` that aren't in ``ranges`` (sorted, disjoint)."""
    at = within.start
    for range_ in ranges:
        if range_.start >= within.end:
            break
        if at < range_.start:
            yield Range(at, range_.start)
        at = max(at, range_.end)
    if at < within.end:
        yield Range(at, within.end)

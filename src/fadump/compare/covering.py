"""A small set of rows with every pair of values of any two factors, as most bugs depend on one or two factors.

The algorithm is greedy, row by row, like AETG's (Cohen et al., 1997, "The AETG System"): each row begins with a pair
that is still missing, and gets, factor by factor, the value that adds the most pairs. Rules exclude combinations; pairs
that no row can have don't count. allpairspy, which does the same, leaves out possible pairs if there are rules.
"""

import itertools
import random
from collections.abc import Callable, Iterator, Mapping, Sequence

Row = tuple[object, ...]
"""One value of each factor."""
Rule = Callable[[Mapping[str, object]], bool]
"""Whether these values of some factors may be combined."""
_MOST_REPEATS = 1000
_Pair = tuple[tuple[int, object], tuple[int, object]]


class Covering:
    """Rows over ``factors``, the same ones for the same ``source``.

    If nothing else decides, earlier values of a factor are more likely.
    """

    def __init__(self, factors: Mapping[str, Sequence[object]], rule: Rule, source: random.Random) -> None:
        self._names = list(factors)
        self._values = list(factors.values())
        self._rule = rule
        self._source = source

    def pairs(self) -> set[_Pair]:
        """Every pair of values that a row can have."""
        columns = itertools.combinations(range(len(self._names)), 2)
        pairs = (
            ((first, first_value), (second, other))
            for first, second in columns
            for first_value in self._values[first]
            for other in self._values[second]
        )
        return {pair for pair in pairs if self._completed(dict(pair), set()) is not None}

    def rows(self) -> Iterator[Row]:
        """Distinct rows: first those that cover all pairs, then others, until no new one is found."""
        for row, _missing in self._rows():
            yield row

    def covering_rows(self) -> list[Row]:
        """The first of :meth:`rows`, up to the one that completes all pairs."""
        found = []
        for row, missing in self._rows():
            found.append(row)
            if not missing:
                break
        return found

    def _rows(self) -> Iterator[tuple[Row, set[_Pair]]]:
        """Each row with the pairs that are still missing after it."""
        missing, seen, repeats = self.pairs(), set[Row](), 0
        while repeats < _MOST_REPEATS:
            start = dict(self._source.choice(sorted(missing, key=repr))) if missing else {}
            row = self._completed(start, missing)
            assert row is not None  # noqa: S101 - pairs() has only those with a row
            missing -= set(_pairs_of(row))
            if row not in seen:
                seen.add(row)
                repeats = 0
                yield row, missing
            else:
                repeats += 1

    def _completed(self, chosen: dict[int, object], missing: set[_Pair]) -> Row | None:
        """A row with the ``chosen`` values, by column, and many of the ``missing`` pairs; None if there is none."""
        if not self._rule({self._names[column]: value for column, value in chosen.items()}):
            return None
        open_columns = [column for column in range(len(self._names)) if column not in chosen]
        if not open_columns:
            return tuple(chosen[column] for column in range(len(self._names)))
        column = self._source.choice(open_columns)
        for value in sorted(self._by_chance(column), key=lambda candidate: -_gain(column, candidate, chosen, missing)):
            row = self._completed({**chosen, column: value}, missing)
            if row is not None:
                return row
        return None

    def _by_chance(self, column: int) -> list[object]:
        values = self._values[column]
        return sorted(values, key=lambda value: self._source.random() * (values.index(value) + 1))


def _gain(column: int, value: object, chosen: Mapping[int, object], missing: set[_Pair]) -> int:
    return sum(_pair(column, value, *other) in missing for other in chosen.items()) if missing else 0


def _pair(column: int, value: object, other: int, other_value: object) -> _Pair:
    return ((column, value), (other, other_value)) if column < other else ((other, other_value), (column, value))


def _pairs_of(row: Row) -> Iterator[_Pair]:
    yield from itertools.combinations(enumerate(row), 2)

"""A small set of rows with every set of values of any so many factors, as most bugs depend on one or two factors.

How many factors is the set's strength: with 2 each pair of values is in some row. The algorithm is greedy, row by row,
like AETG's (Cohen et al., 1997, "The AETG System"): each row begins with a set of values that is still missing, and
gets, factor by factor, the value that adds the most of them. Rules exclude combinations; what no row can have doesn't
count. allpairspy, which does the same for pairs, leaves out possible ones if there are rules.
"""

import itertools
import random
from collections.abc import Callable, Iterator, Mapping, Sequence

from fadump.errors import UsageError

Row = tuple[object, ...]
"""One value of each factor."""
Rule = Callable[[Mapping[str, object]], bool]
"""Whether these values of some factors may be combined."""
MOST_SETS = 1 << 18
"""How many sets of values are kept track of."""
_MOST_REPEATS = 1000
_MOST_TRIES = 1 << 16
"""How many values are tried to complete one row."""
_Set = tuple[tuple[int, object], ...]
"""Values by column, in the columns' order."""


class Covering:
    """Rows over ``factors``, the same ones for the same ``source``.

    If nothing else decides, earlier values of a factor are more likely.
    """

    def __init__(
        self, factors: Mapping[str, Sequence[object]], rule: Rule, source: random.Random, strength: int = 2
    ) -> None:
        """:raises UsageError: more sets of values than :data:`MOST_SETS` would have to be covered."""
        self._names = list(factors)
        self._values = list(factors.values())
        self._rule = rule
        self._source = source
        self._strength = strength
        if (count := count_sets([len(values) for values in self._values], strength)) > MOST_SETS:
            raise UsageError(
                f"strength {strength} has {count:,} sets of values to cover, more than {MOST_SETS:,}: give a lower "
                "strength, or fewer values"
            )

    def sets(self) -> set[_Set]:
        """Every set of values, of so many factors as the strength, that a row can have.

        :raises UsageError: the rule makes it too hard to find that out.
        """
        columns = itertools.combinations(range(len(self._names)), self._strength)
        sets = (
            tuple(zip(chosen, values, strict=True))
            for chosen in columns
            for values in itertools.product(*(self._values[column] for column in chosen))
        )
        return {each for each in sets if self._finished(dict(each), set()) is not None}

    def rows(self) -> Iterator[Row]:
        """Distinct rows: first those that cover all sets, then others, until no new one is found."""
        for row, _missing in self._rows():
            yield row

    def covering_rows(self) -> list[Row]:
        """The first of :meth:`rows`, up to the one that completes all sets; none if no row is possible.

        :raises UsageError: the rule makes it too hard to find them.
        """
        found = []
        for row, missing in self._rows():
            found.append(row)
            if not missing:
                break
        return found

    def _rows(self) -> Iterator[tuple[Row, set[_Set]]]:
        """Each row with the sets that are still missing after it."""
        missing, seen, repeats = self.sets(), set[Row](), 0
        if not missing:
            return
        in_order = sorted(missing, key=repr)
        while repeats < _MOST_REPEATS:
            start = dict(self._source.choice(in_order)) if in_order else {}
            row = self._finished(start, missing)
            assert row is not None  # noqa: S101 - sets() has only those with a row
            if in_order:
                missing -= set(itertools.combinations(enumerate(row), self._strength))
                in_order = [each for each in in_order if each in missing]
            if row not in seen:
                seen.add(row)
                repeats = 0
                yield row, missing
            else:
                repeats += 1

    def _finished(self, chosen: dict[int, object], missing: set[_Set]) -> Row | None:
        return self._completed(chosen, missing, itertools.count())

    def _completed(self, chosen: dict[int, object], missing: set[_Set], tries: Iterator[int]) -> Row | None:
        """A row with the ``chosen`` values, by column, and many of the ``missing`` sets; None if there is none."""
        if next(tries) > _MOST_TRIES:
            raise UsageError("what is excluded leaves rows that are too hard to find: exclude less at a time")
        if not self._rule({self._names[column]: value for column, value in chosen.items()}):
            return None
        open_columns = [column for column in range(len(self._names)) if column not in chosen]
        if not open_columns:
            return tuple(chosen[column] for column in range(len(self._names)))
        column = self._source.choice(open_columns)
        gains = {value: self._gain(column, value, chosen, missing) for value in self._values[column]}
        for value in sorted(self._by_chance(column), key=lambda candidate: -gains[candidate]):
            row = self._completed({**chosen, column: value}, missing, tries)
            if row is not None:
                return row
        return None

    def _by_chance(self, column: int) -> list[object]:
        values = self._values[column]
        return sorted(values, key=lambda value: self._source.random() * (values.index(value) + 1))

    def _gain(self, column: int, value: object, chosen: Mapping[int, object], missing: set[_Set]) -> int:
        """How many of the ``missing`` sets a value adds to those that are ``chosen``."""
        if not missing:
            return 0
        others = itertools.combinations(chosen.items(), self._strength - 1)
        return sum(tuple(sorted((*some, (column, value)), key=_column)) in missing for some in others)


def count_sets(sizes: Sequence[int], strength: int) -> int:
    """How many sets of values there are of ``strength`` factors, which have so many values."""
    counts = [1] + [0] * strength
    for size in sizes:
        for factors in range(strength, 0, -1):
            counts[factors] += counts[factors - 1] * size
    return counts[strength]


def _column(value: tuple[int, object]) -> int:
    return value[0]

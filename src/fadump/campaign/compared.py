"""Two campaigns: what got better, what got worse, what is new. Runs belong together that have the same values."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from fadump.campaign.matrix import Value
from fadump.campaign.outcome import Outcome, Run
from fadump.campaign.results import Plan, Results
from fadump.errors import UsageError

_RANKS = {outcome: rank for rank, outcome in enumerate(Outcome)}


@dataclass(frozen=True, slots=True)
class Change:
    """The same values with another outcome; None: that campaign has no such run."""

    values: Mapping[str, Value]
    before: Run | None
    after: Run | None
    words: Sequence[str]
    """The later campaign's command, or the earlier one's."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """What differs between two campaigns; ``same`` counts the runs with the same outcome."""

    better: Sequence[Change]
    worse: Sequence[Change]
    new: Sequence[Change]
    gone: Sequence[Change]
    same: int


def compare(earlier: Results, later: Results, ignored: Collection[str] = ()) -> Comparison:
    """Compare two campaigns; factors that are ``ignored`` may differ.

    :raises UsageError: a factor that is ignored is in neither, or without it several runs have the same values.
    """
    plans = earlier.plan(), later.plan()
    for name in ignored:
        if not any(name in case.values for plan in plans for case in plan.cases):
            raise UsageError(f"--ignore {name}: neither campaign has such a factor")
    before, after = (_by_values(plan, results, ignored) for plan, results in zip(plans, (earlier, later), strict=True))
    changes: dict[str, list[Change]] = {"better": [], "worse": [], "new": [], "gone": [], "same": []}
    for key, last in {**before, **after}.items():
        ran = before.get(key), after.get(key)
        changes[_kind(*ran)].append(_change(last, *ran))
    same = len(changes.pop("same"))
    return Comparison(**changes, same=same)


@dataclass(frozen=True, slots=True)
class _Ran:
    values: Mapping[str, Value]
    words: Sequence[str]
    run: Run


def _by_values(plan: Plan, results: Results, ignored: Collection[str]) -> dict[frozenset[tuple[str, Value]], _Ran]:
    """The runs that could be tried, by their values; an option that is not given is none."""
    runs, found = results.runs(), dict[frozenset[tuple[str, Value]], _Ran]()
    for case in plan.cases:
        run = runs.get(case.number)
        if run is None or run.outcome is Outcome.NOT_TRIED:
            continue
        key = frozenset((name, value) for name, value in case.values.items() if name not in ignored and value)
        if key in found:
            raise UsageError(f"{results.path} has several runs that differ in what --ignore leaves out: ignore less")
        found[key] = _Ran(case.values, case.words, run)
    return found


def _kind(before: _Ran | None, after: _Ran | None) -> str:
    if before is None:
        return "new"
    if after is None:
        return "gone"
    difference = _RANKS[after.run.outcome] - _RANKS[before.run.outcome]
    return "same" if difference == 0 else "worse" if difference > 0 else "better"


def _change(last: _Ran, before: _Ran | None, after: _Ran | None) -> Change:
    ran_before, ran_after = (None if ran is None else ran.run for ran in (before, after))
    return Change(last.values, ran_before, ran_after, last.words)

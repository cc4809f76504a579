import pytest

from fadump.campaign.compared import compare
from fadump.campaign.outcome import Outcome
from fadump.campaign.results import Plan, Planned, Results
from fadump.errors import UsageError
from tests.campaign.runs import run


@pytest.fixture
def kept(tmp_path):
    """Results of runs by their values, with the outcome of each."""

    def kept(name, outcomes):
        cases = [Planned(number, dict(values), ["run"]) for number, values in enumerate(outcomes, 1)]
        with Results.create(tmp_path / name, Plan(name, "0", cases, [])) as results:
            for case, outcome in zip(cases, outcomes.values(), strict=True):
                if outcome is not None:
                    results.add(case.number, run(outcome))
        return Results.read(tmp_path / name)

    return kept


def values(kernel, fault=()):
    return ("kernel", (kernel,)), ("fault", fault)


def told(changes):
    return [(dict(change.values), change.before and change.before.outcome, change.after and change.after.outcome)
            for change in changes]  # fmt: skip


def test_runs_with_the_same_values_are_compared(kept):
    before = {
        values("6.1"): Outcome.SAVED,
        values("6.1", ("a",)): Outcome.LOST,
        values("6.1", ("b",)): Outcome.DIFFERENT,
        values("6.1", ("c",)): Outcome.SAVED,
        values("6.1", ("d",)): Outcome.NOT_TRIED,
        values("6.1", ("e",)): None,
    }
    after = {
        values("6.1", ("b",)): Outcome.LOST,
        values("6.1"): Outcome.SAVED,
        values("6.1", ("a",)): Outcome.SAVED,
        values("6.1", ("d",)): Outcome.LOST,
    }
    with kept("before", before) as earlier, kept("after", after) as later:
        found = compare(earlier, later)
    assert told(found.better) == [(dict(values("6.1", ("a",))), Outcome.LOST, Outcome.SAVED)]
    assert told(found.worse) == [(dict(values("6.1", ("b",))), Outcome.DIFFERENT, Outcome.LOST)]
    assert told(found.gone) == [(dict(values("6.1", ("c",))), Outcome.SAVED, None)]
    assert told(found.new) == [(dict(values("6.1", ("d",))), None, Outcome.LOST)]
    assert found.same == 1


def test_a_factor_may_be_ignored_if_the_runs_stay_apart(kept):
    before = {values("6.1"): Outcome.SAVED, values("6.1", ("a",)): Outcome.SAVED}
    after = {values("mine"): Outcome.SAVED, values("mine", ("a",)): Outcome.LOST}
    with kept("before", before) as earlier, kept("after", after) as later:
        assert len(compare(earlier, later).new) == 2
        assert told(compare(earlier, later, ["kernel"]).worse) == [
            (dict(values("mine", ("a",))), Outcome.SAVED, Outcome.LOST)
        ]
        with pytest.raises(UsageError, match="several runs that differ in what --ignore leaves out"):
            compare(earlier, later, ["fault"])
        with pytest.raises(UsageError, match="--ignore kernle: neither campaign has such a factor"):
            compare(earlier, later, ["kernle"])

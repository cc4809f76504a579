import itertools

import pytest

from fadump.covering import Covering
from fadump.errors import UsageError
from fadump.kernel.image.content import seeded

FACTORS = {"machine": ("big", "small"), "disk": (1, 2, 3), "network": ("none", "slow", "fast"), "user": (True, False)}


def small_machines_have_one_disk(values):
    return values.get("machine") != "small" or values.get("disk", 1) == 1


def anything(_values):
    return True


def pairs(rows):
    return {pair for row in rows for pair in itertools.combinations(enumerate(row), 2)}


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("rule", [anything, small_machines_have_one_disk])
def test_every_pair_that_can_be_is_in_a_row(seed, rule):
    rows = Covering(FACTORS, rule, seeded(str(seed))).covering_rows()
    every_row = itertools.product(*FACTORS.values())
    possible = [row for row in every_row if rule(dict(zip(FACTORS, row, strict=True)))]
    assert pairs(rows) == pairs(possible)
    assert set(rows) <= set(possible)
    assert 9 <= len(rows) < len(possible)  # the two largest factors have nine pairs


def test_a_pair_that_only_a_third_value_rules_out_is_not_missed():
    """Two values may stand together, and yet no row has them: each third value goes against one of them."""
    factors = {"a": (0, 1), "b": (0, 1), "c": (0, 1)}

    def rule(values):
        return not ((values.get("a") == 1 and values.get("c") == 0) or (values.get("b") == 1 and values.get("c") == 1))

    rows = Covering(factors, rule, seeded("0")).covering_rows()
    assert ((0, 1), (1, 1)) not in pairs(rows)
    assert pairs(rows) == pairs([(0, 0, 0), (0, 0, 1), (1, 0, 1), (0, 1, 0)])


def test_the_same_source_gives_the_same_rows_and_another_one_others():
    first, again, other = (Covering(FACTORS, anything, seeded(str(seed))).covering_rows() for seed in (1, 1, 2))
    assert first == again
    assert first != other


def test_rows_go_on_with_others_until_there_are_no_more():
    covering = Covering(FACTORS, anything, seeded("0"))
    count = len(covering.covering_rows())
    rows = list(Covering(FACTORS, anything, seeded("0")).rows())
    assert rows[:count] == Covering(FACTORS, anything, seeded("0")).covering_rows()
    assert sorted(rows, key=repr) == sorted(itertools.product(*FACTORS.values()), key=repr)


@pytest.mark.parametrize("strength", [1, 2, 3, 4])
@pytest.mark.parametrize("rule", [anything, small_machines_have_one_disk])
def test_every_set_of_so_many_values_that_can_be_is_in_a_row(strength, rule):
    def sets(rows):
        return {found for row in rows for found in itertools.combinations(enumerate(row), strength)}

    rows = Covering(FACTORS, rule, seeded("0"), strength).covering_rows()
    possible = [row for row in itertools.product(*FACTORS.values()) if rule(dict(zip(FACTORS, row, strict=True)))]
    assert sets(rows) == sets(possible)
    assert set(rows) <= set(possible)
    assert len(rows) == len(possible) if strength == len(FACTORS) else len(rows) < len(possible)


def test_a_rule_that_nothing_passes_leaves_no_rows():
    assert Covering(FACTORS, lambda values: len(values) < len(FACTORS), seeded("0")).covering_rows() == []


def test_more_sets_than_can_be_kept_track_of_are_refused():
    many = {str(number): range(100) for number in range(10)}
    with pytest.raises(UsageError, match="strength 3 has 120,000,000 sets of values to cover, more than"):
        Covering(many, anything, seeded("0"), strength=3)


def test_a_rule_that_makes_rows_too_hard_to_find_is_refused():
    """Every row of 30 factors is against it, which is seen at the last factor only."""
    many = {str(number): (0, 1) for number in range(30)}
    with pytest.raises(UsageError, match="too hard to find"):
        Covering(many, lambda values: len(values) < len(many), seeded("0")).covering_rows()

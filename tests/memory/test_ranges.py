"""Range sets against plain sets of addresses."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fadump.memory.ranges import Range, RangeSet

TOP = 64
addresses = st.integers(0, TOP)
ranges = st.tuples(addresses, addresses).map(lambda ends: Range(min(ends), max(ends)))
range_lists = st.lists(ranges, max_size=8)


def addresses_of(ranges_):
    return {address for range_ in ranges_ for address in range(range_.start, range_.end)}


@given(range_lists)
def test_a_set_is_sorted_disjoint_and_holds_no_empty_range(given_ranges):
    kept = list(RangeSet(given_ranges))
    assert addresses_of(kept) == addresses_of(given_ranges)
    assert all(kept)
    assert all(lower.end < higher.start for lower, higher in pairwise(kept))


@given(range_lists, range_lists)
def test_set_operations_are_those_of_the_addresses(left, right):
    left_set, right_set = RangeSet(left), RangeSet(right)
    assert addresses_of(left_set | right_set) == addresses_of(left) | addresses_of(right)
    assert addresses_of(left_set & right_set) == addresses_of(left) & addresses_of(right)
    assert addresses_of(left_set - right_set) == addresses_of(left) - addresses_of(right)


@given(range_lists, range_lists)
def test_sets_of_the_same_addresses_are_equal_and_hash_alike(left, right):
    same = addresses_of(left) == addresses_of(right)
    assert (RangeSet(left) == RangeSet(right)) is same
    assert RangeSet(left) == RangeSet(reversed(left))
    assert hash(RangeSet(left)) == hash(RangeSet(reversed(left)))


@given(range_lists, ranges)
def test_a_set_contains_and_overlaps_what_its_addresses_do(given_ranges, wanted):
    set_, inside, asked = RangeSet(given_ranges), addresses_of(given_ranges), addresses_of([wanted])
    assert set_.contains(wanted) is (asked <= inside)
    assert set_.overlaps(wanted) is bool(asked & inside)


@given(range_lists)
def test_a_set_knows_its_addresses_and_how_many_they_are(given_ranges):
    set_, inside = RangeSet(given_ranges), addresses_of(given_ranges)
    assert {address for address in range(-1, TOP + 1) if address in set_} == inside
    assert set_.size_bytes == len(inside)
    assert bool(set_) is bool(inside)
    assert len(set_) == len(list(set_))


@given(ranges, ranges)
def test_two_ranges_intersect_contain_and_overlap_as_their_addresses(left, right):
    common = addresses_of([left]) & addresses_of([right])
    both = left.intersection(right)
    assert addresses_of([both] if both else []) == common
    assert (both is None) is (not common)
    assert left.overlaps(right) is bool(common)
    assert left.contains(right) is (addresses_of([right]) <= addresses_of([left]))


def test_a_range_has_its_start_and_not_its_end():
    range_ = Range.sized(0x1000, 0x1000)
    assert 0x1000 in range_
    assert 0x1FFF in range_
    assert 0x2000 not in range_
    assert 0xFFF not in range_
    assert range_ == Range(0x1000, 0x2000)
    assert range_.size_bytes == 0x1000


@pytest.mark.parametrize(("start", "end"), [(2, 1), (-1, 1), (-2, -1)])
def test_a_range_that_ends_before_it_starts_or_is_below_zero_is_refused(start, end):
    with pytest.raises(ValueError, match="is not a range"):
        Range(start, end)


def test_a_range_of_negative_size_is_refused():
    with pytest.raises(ValueError, match=r"0x1000\.\.0xfff is not a range"):
        Range.sized(0x1000, -1)


def test_addresses_are_shown_in_hex():
    assert str(Range(0x1000, 0x2000)) == "0x1000..0x2000"
    assert str(RangeSet([Range(0x4000, 0x5000), Range(0x1000, 0x2000)])) == "0x1000..0x2000, 0x4000..0x5000"
    assert str(RangeSet()) == "nothing"


def test_ranges_that_touch_become_one():
    assert list(RangeSet([Range(1, 2), Range(3, 4), Range(2, 3)])) == [Range(1, 4)]


def test_an_overlap_is_seen_though_another_range_starts_where_the_wanted_one_ends():
    set_ = RangeSet([Range(0, 5), Range(10, 12)])
    assert set_.overlaps(Range(3, 10))
    assert not set_.overlaps(Range(5, 10))


def test_a_set_is_not_equal_to_something_else():
    assert RangeSet([Range(1, 2)]) != [Range(1, 2)]


def test_a_hundred_thousand_ranges_are_combined_and_searched_at_once():
    even = RangeSet(Range.sized(2 * page, 1) for page in range(100_000))
    odd = RangeSet(Range.sized(2 * page + 1, 1) for page in range(100_000))
    assert len(even & odd) == 0
    assert even | odd == RangeSet([Range(0, 200_000)])
    assert (even | odd) - odd == even
    assert sum(address in even for address in range(200_000)) == 100_000


@given(range_lists, ranges)
def test_the_parts_within_a_range_are_those_in_both(given_ranges, wanted):
    found = list(RangeSet(given_ranges).within(wanted))
    assert RangeSet(found) == RangeSet(given_ranges) & RangeSet([wanted])
    assert all(found) and found == sorted(found)

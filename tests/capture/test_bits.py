"""A set of pages counts and finds as a plain list does."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fadump.capture import bits as module
from fadump.capture.bits import PageBits
from fadump.memory.ranges import Range
from tests.bounded import MIB, bounded

PAGES = 200
numbers = st.integers(0, PAGES)
fills = st.tuples(st.tuples(numbers, numbers).map(sorted), st.booleans())


@pytest.fixture(autouse=True, scope="module")
def _small_windows():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "WINDOW_PAGES", 16)
        yield


def filled(changes):
    bits, pages = PageBits(PAGES), set()
    for (start, end), value in changes:
        bits.fill(start, end, value=value)
        pages = pages | {*range(start, end)} if value else pages - {*range(start, end)}
    return bits, sorted(pages)


@given(st.lists(fills, max_size=5), st.lists(numbers, max_size=6), numbers, numbers)
def test_it_is_a_list_of_pages(changes, ranks, one, two):
    bits, pages = filled(changes)
    assert bits.count() == len(pages)
    assert bits.find(sorted(ranks)) == [pages[rank] if rank < len(pages) else PAGES for rank in sorted(ranks)]
    start, end = min(one, two), max(one, two)
    inside = {page for page in pages if start <= page < end}
    assert bits.count_between(start, end) == len(inside)
    assert [start + int(at) for at in np.flatnonzero(bits.flags(start, end))] == sorted(inside)
    seen = {page for window in bits.windows(start, end) for page in range(window.start, window.end)}
    assert inside <= seen <= set(range(start, end))


@given(st.lists(fills, max_size=5), st.lists(fills, max_size=5))
def test_two_sets_have_what_is_in_both(changes, others):
    (one, pages), (other, more) = filled(changes), filled(others)
    both = one.intersection(other)
    assert np.flatnonzero(both.flags(0, PAGES)).tolist() == sorted({*pages} & {*more})
    assert both.count() == len({*pages} & {*more})


@given(st.lists(fills, max_size=5))
def test_its_runs_are_as_long_as_they_can_be(changes):
    bits, pages = filled(changes)
    runs = list(bits.runs())
    assert [page for run in runs for page in range(run.start, run.end)] == pages
    assert all(one.end < other.start for one, other in pairwise(runs))


@given(st.lists(fills, max_size=5), numbers, numbers)
def test_its_bytes_have_the_lowest_page_in_the_lowest_bit(changes, one, two):
    bits, pages = filled(changes)
    expected = sum(1 << page for page in pages).to_bytes(64, "little")
    start, end = min(one, two) // 4, max(one, two) // 4
    assert bits.bytes_at(start, end - start) == expected[start:end]


@given(st.lists(fills, max_size=5), numbers, st.lists(st.booleans(), max_size=40))
def test_what_is_put_is_all_that_changes(changes, start, flags):
    bits, pages = filled(changes)
    before = bits.copy()
    bits.put(start, np.array(flags[: PAGES - start], np.bool_))
    expected = {page for page in pages if not start <= page < start + len(flags)}
    expected |= {start + at for at, flag in enumerate(flags[: PAGES - start]) if flag}
    assert np.flatnonzero(bits.flags(0, PAGES)).tolist() == sorted(expected)
    assert np.flatnonzero(before.flags(0, PAGES)).tolist() == pages


def test_many_pages_that_are_all_in_it_take_no_memory():
    """64 TiB in pages of 4 KiB would take 2 GiB."""

    def count():
        module.WINDOW_PAGES = 1 << 16
        bits = PageBits(1 << 34)
        bits.fill(1 << 20, 1 << 34, value=True)
        bits.fill(1 << 30, (1 << 30) + 5, value=False)
        return [bits.copy().count(), [[run.start, run.end] for run in bits.runs()]]

    count_, runs = bounded(count, most_bytes=16 * MIB, most_steps=1000)
    assert count_ == (1 << 34) - (1 << 20) - 5
    assert [Range(*run) for run in runs] == [Range(1 << 20, 1 << 30), Range((1 << 30) + 5, 1 << 34)]

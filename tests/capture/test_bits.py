"""A set of pages counts and finds as a plain list does."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fadump.capture import bits as module
from fadump.capture.bits import PageBits

PAGES = 200
sets = st.lists(st.tuples(st.integers(0, PAGES), st.integers(0, PAGES)).map(sorted), max_size=4)


@pytest.fixture(autouse=True, scope="module")
def _small_windows():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "WINDOW_PAGES", 16)
        patch.setattr(module, "_EMPTY_PAGES", 64)
        yield


@given(sets, st.lists(st.integers(0, PAGES), max_size=6), st.integers(0, PAGES), st.integers(0, PAGES))
def test_it_is_a_list_of_pages(fills, ranks, one, two):
    bits = PageBits(PAGES)
    pages = set()
    for start, end in fills:
        bits.fill(start, end, value=True)
        pages |= set(range(start, end))
    rising = sorted(pages)
    assert bytes(bits.copy().data) == bytes(bits.data)
    assert bits.find(sorted(ranks)) == [rising[rank] if rank < len(rising) else PAGES for rank in sorted(ranks)]
    start, end = min(one, two), max(one, two)
    assert bits.count_between(start, end) == len(pages & set(range(start, end)))
    seen = {page for window in bits.windows(start, end) for page in range(window.start, window.end)}
    assert pages & set(range(start, end)) <= seen <= set(range(start, end))

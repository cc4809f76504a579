"""What the model kernel says of its pages, by Linux's rules: include/linux/page-flags.h, mm/page_alloc.c."""

import numpy as np
import pytest

from fadump.kernel.image.page_layout import PAGE, page_layout
from fadump.kernel.image.page_mix import mixed_pages
from fadump.kernel.traits import KernelTraits

PAGE_BYTES = 0x10000
PAGES = 1 << 14
VIRTUAL = 0xC00C_0000_0020_0000
PG_LOCKED = 1 << 0


@pytest.fixture(params=[False, True], ids=["flags", "types"])
def mixed(request):
    """The pages of a system, which of them are in use, and the bit of PG_head."""
    layout = page_layout(KernelTraits(typed_pages=request.param))
    pages = np.zeros(PAGES, PAGE)
    used = mixed_pages(pages, np.ones(PAGES, bool), VIRTUAL, PAGE_BYTES, layout, "a seed")
    return pages, used, 6 if request.param else 16


def test_nobody_holds_the_lock_of_a_page(mixed):
    pages, used, head_bit = mixed
    flags = pages["flags"].copy()
    flags[np.flatnonzero(flags >> np.uint64(head_bit) & np.uint64(1)) + 1] = 0  # there are other things of a second one
    assert used.any() and not used.all()
    assert not (flags & np.uint64(PG_LOCKED)).any()


def test_each_page_of_a_compound_one_leads_to_its_first(mixed):
    """compound_head(): the address of the first one's struct page, of 64 bytes, with bit 0 set."""
    pages, used, head_bit = mixed
    heads = np.flatnonzero(pages["flags"] >> np.uint64(head_bit) & np.uint64(1))
    tails = np.flatnonzero(pages["head"] & np.uint64(1))
    assert used[heads].all() and used[tails].all()
    sizes = {4, (2 << 20) // PAGE_BYTES}
    begins = dict.fromkeys(heads.tolist(), 1)
    for tail in tails.tolist():
        first = (int(pages["head"][tail]) - 1 - VIRTUAL) // 64
        assert tail == first + begins[first]  # one after the other, and none left out
        begins[first] += 1
    assert set(begins.values()) == sizes

"""What drgn says that each page was used for: a second opinion, beside makedumpfile's.

Free pages are those on the allocator's own lists. All else is asked of the page's own struct page, by the kernel's
debug information, at an address that drgn has translated.
"""

from functools import cache

import drgn
import numpy as np
from drgn.helpers.linux.list import list_for_each_entry
from drgn.helpers.linux.mm import (
    PageHead,
    PageHWPoison,
    PageLRU,
    PagePrivate,
    PageSlab,
    PageSwapBacked,
    PageTail,
    compound_head,
    page_flags,
    page_to_pfn,
    pfn_to_page,
)
from drgn.helpers.linux.mmzone import for_each_online_pgdat

from fadump.linux.pages.page_class import PageClass
from fadump.linux.system import open_system
from tests.real_linux.page_sets import whole_pages

ANONYMOUS = 1
"""In page.mapping. It and the next two are macros, of which debug information has nothing."""
TYPE_SHIFT = 24
"""Of page.page_type, since Linux 6.12."""
RADIX = 0x40
"""MMU_FTR_TYPE_RADIX, in cpu_spec.mmu_features."""

USUAL = {PageClass.KERNEL, PageClass.USER, PageClass.CACHE, PageClass.CACHE_PRIVATE, PageClass.FREE}
"""Classes that a dump has which is worth comparing."""


def differing_from_drgn(vmcore, vmlinux):
    """Pages of a dump whose class here isn't that which drgn finds, with both."""
    with open_system(vmcore) as system:
        memory = whole_pages(system)
        ours = np.concatenate([system.page_classes.of(pages) for pages in memory])
    truth = _Pages(read_by_drgn(vmcore, vmlinux))
    numbers = [number for pages in memory for number in range(pages.start, pages.end)]
    found = [(number, PageClass(int(our)), truth.class_of(number)) for number, our in zip(numbers, ours, strict=True)]
    assert {our for _number, our, _drgns in found} >= USUAL
    return [(number, our.name, drgns.name) for number, our, drgns in found if our is not drgns]


def read_by_drgn(vmcore, vmlinux):
    """drgn with an ELF core, which finds struct pages with hash, too."""
    program = drgn.Program()
    program.set_core_dump(vmcore)
    program.load_debug_info([vmlinux])
    if not program["cur_cpu_spec"].mmu_features & RADIX:
        _add_vmemmap(program)
    return program


def _add_vmemmap(program):
    """Add the memory of struct pages where vmemmap_list has it: drgn can't translate what hash maps."""
    shift = program["mmu_psize_defs"][program["mmu_vmemmap_psize"]].shift.value_()
    backing = program["vmemmap_list"]
    while backing:
        physical = backing.phys.value_()

        def read(_address, count, offset, _is_physical, physical=physical):
            return program.read(physical + offset, count, True)

        program.add_memory_segment(backing.virt_addr, 1 << shift, read)
        backing = backing.list.read_()


class _Pages:
    """The pages of a crashed kernel."""

    def __init__(self, program):
        self._program = program
        self._free = set(_free_pages(program))
        self._is_hugetlb = _hugetlb_test(program)
        self._swapcache = 1 << program["PG_swapcache"].value_()
        self._class_of_head = cache(self._class_of)

    def class_of(self, number):
        """The class of a page; all pages of a compound one are of its first page's."""
        if number in self._free:
            return PageClass.FREE
        page = pfn_to_page(self._program, number)
        if PageTail(page):
            return self._class_of_head(page_to_pfn(compound_head(page)).value_())
        return self._class_of(number)

    def _class_of(self, number):
        page = pfn_to_page(self._program, number)
        is_anonymous = bool(page.mapping.value_() & ANONYMOUS) and not PageSlab(page)
        in_swap_cache = bool(page_flags(page).value_() & self._swapcache) and PageSwapBacked(page)
        if (PageLRU(page) or in_swap_cache) and not is_anonymous:
            return PageClass.CACHE_PRIVATE if PagePrivate(page) else PageClass.CACHE
        if is_anonymous or (PageHead(page) and self._is_hugetlb(page)):
            return PageClass.USER
        return PageClass.HWPOISON if PageHWPoison(page) else PageClass.KERNEL


def _hugetlb_test(program):
    """What tells whether a compound page, by its first page, is hugetlb's: its type; before Linux 6.9 a destructor."""
    try:
        of_hugetlb = program["PGTY_hugetlb"].value_()
    except KeyError:
        of_hugetlb = program["HUGETLB_PAGE_DTOR"].value_()
        return lambda page: (page + 1).compound_dtor.value_() == of_hugetlb
    return lambda page: page.page_type.value_() >> TYPE_SHIFT == of_hugetlb


def _free_pages(program):
    for pgdat in for_each_online_pgdat(program):
        for zone in pgdat.node_zones[: pgdat.nr_zones]:
            for order, area in enumerate(zone.free_area):
                for head in area.free_list:
                    for page in list_for_each_entry("struct page", head.address_of_(), "lru"):
                        first = page_to_pfn(page).value_()
                        yield from range(first, first + (1 << order))

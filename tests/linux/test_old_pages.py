"""Page classes of older kernels, by the facts that their VMCOREINFO has: what isn't in it, and what is in its place.
Struct pages are laid out here once more, as include/linux/mm_types.h had them then."""

from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fadump.capture.selection import know_pages, select_pages
from fadump.errors import FadumpError, FormatError
from fadump.linux.pages import free_lists
from fadump.linux.pages.classify import classify_pages
from fadump.linux.pages.page_class import DumpLevel, PageClass
from fadump.linux.pages.sections import MemMap, find_mem_maps
from fadump.linux.system import CrashedSystem
from fadump.memory.ranges import Range
from tests.linux.kernel_builder import VMEMMAP_START, FakeKernel, add_vmemmap_list
from tests.linux.test_pages import PAGE, SECTION_PAGES, add_sections, kernel_with

ORDERS = pytest.mark.parametrize("byte_order", ["little", "big"])
SECTION_BITS = 24
PAGES = (1 << SECTION_BITS) // PAGE
STRUCT_BYTES = 56
LRU, ACTIVE, SLAB, PRIVATE, HEAD, TAIL, SWAPCACHE = (1 << bit for bit in (5, 6, 7, 11, 14, 15, 16))
FREE_HUGE_PAGE = 0xC000_0000_0021_0000
POISON = 0x0010_0100
TAIL_MAPPING = 0xDEAD_0000_0000_0400 + 0x11  # v4.4: odd, so that it looks like a process's memory

# kernel/kexec.c, crash_save_vmcoreinfo_init(), as it was in each
V2_6_32 = frozenset(
    [
        "SYMBOL(mem_section)",
        "LENGTH(mem_section)",
        "SIZE(mem_section)",
        "OFFSET(mem_section.section_mem_map)",
        "SIZE(page)",
        "SIZE(pglist_data)",
        "SIZE(zone)",
        "SIZE(free_area)",
        "SIZE(list_head)",
        "SIZE(nodemask_t)",
        "OFFSET(page.flags)",
        "OFFSET(page._count)",
        "OFFSET(page.mapping)",
        "OFFSET(page.lru)",
        "OFFSET(pglist_data.node_zones)",
        "OFFSET(pglist_data.nr_zones)",
        "OFFSET(zone.free_area)",
        "OFFSET(zone.vm_stat)",
        "OFFSET(zone.spanned_pages)",
        "OFFSET(free_area.free_list)",
        "OFFSET(list_head.next)",
        "OFFSET(list_head.prev)",
        "LENGTH(zone.free_area)",
        "LENGTH(free_area.free_list)",
        "NUMBER(PG_lru)",
        "NUMBER(PG_private)",
        "NUMBER(PG_swapcache)",
        "SYMBOL(node_data)",
        "LENGTH(node_data)",
    ]
)
V3_10 = V2_6_32 | {
    "OFFSET(page._mapcount)",
    "OFFSET(page.private)",
    "NUMBER(PG_slab)",
    "NUMBER(PG_hwpoison)",
    "NUMBER(PAGE_BUDDY_MAPCOUNT_VALUE)",
}
V3_17 = V3_10 | {"NUMBER(PG_head_mask)", "SYMBOL(free_huge_page)"}
V4_4 = V3_17
V4_6 = (V3_17 - {"SYMBOL(free_huge_page)"}) | {
    "NUMBER(HUGETLB_PAGE_DTOR)",
    "OFFSET(page.compound_head)",
    "OFFSET(page.compound_order)",
    "OFFSET(page.compound_dtor)",
}
V5_9 = V4_6 | {"NUMBER(MAX_PHYSMEM_BITS)", "NUMBER(PAGE_OFFLINE_MAPCOUNT_VALUE)"}
VALUES = {
    "OFFSET(mem_section.section_mem_map)": 0, "SIZE(mem_section)": 16, "SIZE(page)": STRUCT_BYTES,
    "SIZE(pglist_data)": 0x800, "SIZE(zone)": 0x300, "SIZE(free_area)": 0x38, "SIZE(list_head)": 16,
    "SIZE(nodemask_t)": 32, "OFFSET(page.flags)": 0, "OFFSET(page._count)": 8, "OFFSET(page._mapcount)": 12,
    "OFFSET(page.private)": 16, "OFFSET(page.mapping)": 24, "OFFSET(page.lru)": 40, "OFFSET(pglist_data.node_zones)": 0,
    "OFFSET(pglist_data.nr_zones)": 0x700, "OFFSET(zone.free_area)": 0x40, "OFFSET(zone.vm_stat)": 0x2C0,
    "OFFSET(zone.spanned_pages)": 0x2E0, "OFFSET(free_area.free_list)": 0, "OFFSET(list_head.next)": 0,
    "OFFSET(list_head.prev)": 8, "LENGTH(zone.free_area)": 11, "LENGTH(free_area.free_list)": 3, "LENGTH(node_data)": 4,
    "NUMBER(PG_lru)": 5, "NUMBER(PG_private)": 11, "NUMBER(PG_swapcache)": 16, "NUMBER(PG_slab)": 7,
    "NUMBER(PG_hwpoison)": 22, "NUMBER(PG_head_mask)": HEAD, "NUMBER(PAGE_BUDDY_MAPCOUNT_VALUE)": -128,
    "NUMBER(PAGE_OFFLINE_MAPCOUNT_VALUE)": -256, "NUMBER(HUGETLB_PAGE_DTOR)": 2, "NUMBER(MAX_PHYSMEM_BITS)": 46,
    "OFFSET(page.compound_head)": 40, "OFFSET(page.compound_dtor)": 48, "OFFSET(page.compound_order)": 52,
}  # fmt: skip


class OldKernel(FakeKernel):
    """A section of struct pages, found through vmemmap_list, and the facts that a kernel of then states."""

    def __init__(self, facts, struct_pages, byte_order="little"):
        super().__init__(byte_order, PAGE, "hash", memory_bytes=1 << 20)
        for key in ("NUMBER(RADIX_MMU)", "NUMBER(VMALLOC_START)", "SYMBOL(vmemmap)"):
            del self.facts[key]
        self.symbol("swapper_pg_dir", self.place(bytes(0x1000)))
        self.facts |= {key: str(VALUES[key]) for key in facts if key in VALUES}
        if "SYMBOL(free_huge_page)" in facts:
            self.symbol("free_huge_page", FREE_HUGE_PAGE)
        raw = b"".join(self.struct_page(**page) for page in struct_pages).ljust(PAGES * STRUCT_BYTES, b"\0")
        self.struct_pages = self.place(raw, align=PAGE)
        add_vmemmap_list(self, [(VMEMMAP_START, self.struct_pages & 0xFFFF_FFFF)])
        root = self.place(self.pack("QQ", VMEMMAP_START | 3, 0).ljust(PAGE, b"\0"))
        self.table = self.place(self.pack("QQ", root, 0))
        self.symbol("mem_section", self.table)
        self.facts["LENGTH(mem_section)"] = "2"

    def struct_page(self, flags=0, mapcount=-1, private=0, mapping=0, lru=(POISON, POISON + 0x100)):
        mapcount &= 0xFFFF_FFFF
        return self.pack("QIIQQQQQ", flags, 1, mapcount, private, mapping, 0, *lru)

    def add_free_lists(self, blocks):
        """(first page, order) of free blocks, on the lists of node 1's second zone, migrate type 2."""
        node = self.place(bytes(0x800))
        self.symbol("node_data", self.place(self.pack("QQQQ", 0, node, 0, 0)))
        self.poke(node + 0x700, self.pack("I", 2))
        zone = node + 0x300
        self.poke(zone + 0x2E0, self.pack("Q", PAGES))
        for order in range(11):
            for migrate_type in range(3):
                head = zone + 0x40 + order * 0x38 + migrate_type * 16
                pages = [page for page, its_order in blocks if its_order == order and migrate_type == 2]
                self.link(head, [VMEMMAP_START + page * STRUCT_BYTES + 40 for page in pages])

    def link(self, head, members):
        ring = [head, *members]
        for at, after in zip(ring, [*members, head], strict=True):
            self.poke(self.physically(at), self.pack("Q", after))

    def physically(self, virtual):
        inside = virtual - VMEMMAP_START
        return self.struct_pages + inside if 0 <= inside < PAGES * STRUCT_BYTES else virtual


def classes(kernel, count):
    found = classify_pages(kernel.read())
    assert found.free_unknown is None and not found.unreadable
    return [PageClass(page_class) for page_class in found.of(Range(0, count))]


KINDS = [
    ({"flags": LRU}, PageClass.CACHE),
    ({"flags": LRU | PRIVATE}, PageClass.CACHE_PRIVATE),
    ({"flags": SWAPCACHE}, PageClass.CACHE),
    ({"flags": LRU, "mapping": 0xC000_0000_0000_1001}, PageClass.USER),
    ({"flags": ACTIVE}, PageClass.KERNEL),
]


@ORDERS
@pytest.mark.parametrize(
    "facts", [V2_6_32, V3_10, V3_17, V4_4, V4_6, V5_9], ids=["32", "3.10", "3.17", "4.4", "4.6", "5.9"]
)
def test_the_classes_of_pages_in_kernels_of_every_age(facts, byte_order):
    kernel = OldKernel(facts, [page for page, _class in KINDS], byte_order)
    kernel.add_free_lists([])
    assert classes(kernel, len(KINDS)) == [page_class for _page, page_class in KINDS]


@ORDERS
def test_free_pages_are_those_on_the_lists_where_nothing_marks_them(byte_order):
    kernel = OldKernel(V2_6_32, [{"flags": LRU}, {}, {}, {"flags": LRU}], byte_order)
    kernel.add_free_lists([(1, 0), (4, 2), (16, 4), (32, 4), (2, 0)])
    free, kernels = PageClass.FREE, PageClass.KERNEL
    expected = [PageClass.CACHE, free, free, PageClass.CACHE, *[free] * 4, *[kernels] * 8, *[free] * 16]
    expected += [*[free] * 16, kernels]
    assert classes(kernel, 49) == expected


@pytest.mark.parametrize(
    ("target", "message"),
    [(VMEMMAP_START + 40, "they run in a circle"), (VMEMMAP_START + 48, "no struct page is")],
)
def test_a_damaged_list_of_free_pages_is_told_and_what_was_found_stays(target, message):
    kernel = OldKernel(V2_6_32, [{}])
    kernel.add_free_lists([(0, 0)])
    kernel.poke(kernel.struct_pages + 40, kernel.pack("QQ", target, target))
    found = classify_pages(kernel.read())
    assert found.of(Range(0, 2)).tolist() == [PageClass.FREE, PageClass.KERNEL]
    assert message in found.free_unknown


def test_pages_without_a_struct_page_are_kept_and_counted():
    """A section without struct pages: none is said to have been left out that was not."""
    kernel = OldKernel(V3_10, [{"flags": LRU}])
    kernel.memory += bytes(3 << SECTION_BITS)
    with CrashedSystem(kernel.dump()) as system:
        selection = select_pages(system.dump, know_pages(system), DumpLevel(31))
    beyond = len(kernel.memory) // PAGE - PAGES
    assert selection.remarks == (
        f"pages kept whatever their class, as the kernel has no struct page of them: {beyond}",
    )
    assert selection.excluded == {PageClass.CACHE: 1}


FACTS = sorted(OldKernel(V2_6_32, []).facts.keys() | VALUES.keys())


@given(st.sampled_from(FACTS), st.integers(-2, 70) | st.integers(0, (1 << 64) - 1))
def test_any_fact_may_be_wrong(name, value):
    kernel = OldKernel(V2_6_32, [{"flags": LRU}])
    kernel.add_free_lists([(4, 2)])
    kernel.facts[name] = f"{value:x}" if name.startswith("SYMBOL") else str(value)
    with suppress(FadumpError):
        assert sum(len(block.classes) for block in classify_pages(kernel.read()).blocks) <= 1 << 20


@settings(max_examples=30)
@given(st.data())
def test_nodes_and_lists_may_be_damaged(data):
    kernel = OldKernel(V2_6_32, [{"flags": LRU}])
    kernel.add_free_lists([(4, 2), (8, 3), (1, 0)])
    start = int(kernel.facts["SYMBOL(node_data)"], 16)
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.sampled_from(range(start - 0x800, start + 0x20, 8)))
        kernel.poke(at, kernel.pack("Q", data.draw(st.integers(0, (1 << 64) - 1) | st.just(start))))
    with suppress(FadumpError):
        assert len(classify_pages(kernel.read()).of(Range(0, 8))) == 8


def test_nodes_of_more_lists_than_any_machine_has_are_told(monkeypatch):
    monkeypatch.setattr(free_lists, "MOST_FREE_LISTS", 1 << 12)
    kernel = OldKernel(V2_6_32, [{"flags": LRU}])
    kernel.add_free_lists([])
    node = kernel.place(bytes(0x800))
    kernel.poke(node + 0x700, kernel.pack("I", 16))
    for zone in range(16):
        kernel.poke(node + 0x2E0 + 8 * zone, kernel.pack("Q", 1))
    kernel.symbol("node_data", kernel.place(kernel.pack("1024Q", *[node] * 1024)))
    kernel.state("LENGTH", node_data=1024, zone__free_area=40, free_area__free_list=40)
    kernel.state("SIZE", zone=8, free_area=0, list_head=0)
    kernel.state("OFFSET", zone__free_area=0)
    kernel.link(node, [])
    for zone in range(16):
        kernel.poke(node + 8 * zone, kernel.pack("Q", node + 8 * zone))
    found = classify_pages(kernel.read())
    assert "lists of free pages, more than the" in found.free_unknown


def test_struct_pages_that_only_an_unstated_list_would_lead_to_are_told():
    kernel = OldKernel(V2_6_32, [{"flags": LRU}])
    del kernel.facts["SYMBOL(vmemmap_list)"]
    with CrashedSystem(kernel.dump()) as system:
        selection = select_pages(system.dump, know_pages(system), DumpLevel(31))
    assert "struct pages can't be read: 256" in selection.remarks[0]
    assert selection.wanted.count() == selection.memory.count()


def test_lists_that_are_not_stated_are_told():
    kernel = OldKernel(V2_6_32 - {"LENGTH(free_area.free_list)"}, [{"flags": LRU}])
    found = classify_pages(kernel.read())
    assert "LENGTH(free_area.free_list)" in found.free_unknown
    assert found.of(Range(0, 1)).tolist() == [PageClass.CACHE]


@ORDERS
@pytest.mark.parametrize("facts", [V3_10, V3_17, V4_6])
def test_free_blocks_are_marked_where_the_kernel_states_how(facts, byte_order):
    kernel = OldKernel(facts, [{"mapcount": -128, "private": 1}, {}, {"mapcount": -128, "flags": SLAB}], byte_order)
    assert classes(kernel, 3) == [PageClass.FREE, PageClass.FREE, PageClass.KERNEL]


def compound(order, dtor, **head):
    """A compound page before v4.4: the destructor's address and the order are in the second page's lru."""
    tails = [{"flags": TAIL, "lru": (POISON, 0)}] * ((1 << order) - 2)
    return [{"flags": HEAD, **head}, {"flags": TAIL, "lru": (dtor, order)}, *tails]


@ORDERS
def test_compound_pages_whose_order_is_in_their_second_pages_lru(byte_order):
    pages = [*compound(2, 0xC000_0000_0020_0000, flags=HEAD | LRU, mapping=1), *compound(2, FREE_HUGE_PAGE)]
    pages += compound(2, 0xC000_0000_0020_0000)
    kernel = OldKernel(V3_17, pages, byte_order)
    assert classes(kernel, 12) == [PageClass.USER] * 8 + [PageClass.KERNEL] * 4


@ORDERS
def test_the_tails_of_v4_4_that_look_like_a_processs_memory_are_the_kernels(byte_order):
    """1c290f642101: an odd value in the mapping of each tail; compound_head isn't stated, and is where lru is."""
    head_address = VMEMMAP_START + 1
    dtor_and_order = 1 << 32 | 2 if byte_order == "big" else 2 << 32 | 1
    second = {"mapping": TAIL_MAPPING, "lru": (head_address, dtor_and_order)}
    tail = {"mapping": TAIL_MAPPING, "lru": (head_address, 0)}
    kernel = OldKernel(V4_4, [{"flags": HEAD}, second, tail, tail, {"flags": LRU}], byte_order)
    assert classes(kernel, 5) == [PageClass.KERNEL] * 4 + [PageClass.CACHE]


@ORDERS
def test_an_order_of_four_bytes_and_one_of_one(byte_order):
    """Both are u32 until v4.16, and bytes since."""
    tail = {"lru": (VMEMMAP_START + 1, 0)}
    wide = OldKernel(V4_6, [{"flags": HEAD}, {"lru": (VMEMMAP_START + 1, 2 << 32 | 2)}, tail, tail], byte_order)
    assert classes(wide, 5) == [PageClass.USER] * 4 + [PageClass.KERNEL]
    narrow = OldKernel(V4_6, [{"flags": HEAD}, tail, tail, tail], byte_order)
    narrow.facts["OFFSET(page.compound_order)"] = "49"
    narrow.poke(narrow.struct_pages + STRUCT_BYTES + 48, bytes([2, 2]))
    assert classes(narrow, 5) == [PageClass.USER] * 4 + [PageClass.KERNEL]


def test_a_second_page_without_an_order_is_of_one_page():
    kernel = OldKernel(V3_17, [{"flags": HEAD | LRU}, {"lru": (0xC000_0000_0000_0000, 0xFFFF_FFFF_FFFF_FFFF)}, {}])
    assert classes(kernel, 3) == [PageClass.CACHE, PageClass.KERNEL, PageClass.KERNEL]


@pytest.mark.parametrize("stated", ["the table", "a pointer to it"])
def test_mem_section_is_the_table_or_for_a_while_a_pointer_to_it(stated):
    kernel = OldKernel(V4_6, [{"flags": LRU}])
    if stated == "a pointer to it":
        kernel.symbol("mem_section", kernel.place(kernel.pack("QQQ", kernel.table, 0, 7)))
    assert find_mem_maps(kernel.read()) == [MemMap(0, PAGES, VMEMMAP_START)]


def test_a_table_of_sections_without_any_is_told():
    kernel = FakeKernel(memory_bytes=1 << 20)
    add_sections(kernel, {0: VMEMMAP_START}, has_mem_map=1)
    with pytest.raises(FormatError, match="has no section with struct pages"):
        find_mem_maps(kernel.read())


@pytest.mark.parametrize("key", ["NUMBER(SECTION_SIZE_BITS)", "NUMBER(MAX_PHYSMEM_BITS)", "OFFSET(page.compound_head)"])
def test_a_fact_that_newer_kernels_state_may_be_missing(key):
    kernel = kernel_with([{"flags": LRU}, {"mapcount": 0xF000_0000}])
    kernel.state("OFFSET", page__lru=8)
    if key == "NUMBER(SECTION_SIZE_BITS)":
        kernel = OldKernel(V5_9, [{"flags": LRU}, {"mapcount": -128}])
    else:
        del kernel.facts[key]
    found = classify_pages(kernel.read()).of(Range(0, SECTION_PAGES))
    assert found[:2].tolist() == [PageClass.CACHE, PageClass.FREE]

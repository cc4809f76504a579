"""Classes are compared with makedumpfile's loop over pages, written down once more here, one page at a time."""

import os
import tracemalloc
from contextlib import nullcontext

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fadump.errors import FadumpError, FormatError, LimitError
from fadump.linux.memory import KernelMemory
from fadump.linux.pages import classify
from fadump.linux.pages.classify import classify_pages
from fadump.linux.pages.page_class import DumpLevel, PageClass, left_out
from fadump.linux.pages.sections import MemMap, find_mem_maps
from fadump.linux.vmcoreinfo import Facts
from fadump.memory.ranges import Range
from fadump.vmcore.dump import open_source
from tests.linux.kernel_builder import (
    PAGE_OFFSET,
    VMEMMAP_START,
    FakeKernel,
    PageTables,
    add_vmemmap_list,
    open_bytes,
)
from tests.vmcore.dump_helpers import BytesSource

PAGE = 0x10000
SECTION_BITS = 20
SECTION_PAGES = (1 << SECTION_BITS) // PAGE
STRUCT_BYTES = 56
LRU, PRIVATE, SWAPCACHE, SWAPBACKED, HEAD, HWPOISON = (1 << bit for bit in (5, 14, 10, 17, 6, 22))
ORDERS = 4

TYPED = {"BUDDY": 0xF000_0000, "OFFLINE": 0xF100_0000, "HUGETLB": 0xF400_0000, "SLAB": 0xF500_0000}
BITS = {"BUDDY": ~0x80, "OFFLINE": ~0x100}
VALUES = {"BUDDY": -128, "OFFLINE": -256}


def add_pages(kernel, struct_pages, style="typed"):
    """Struct pages from page 0 on, in sections, through the page tables; what is given of each, the rest is 0."""
    count = -(-len(struct_pages) // SECTION_PAGES) * SECTION_PAGES
    raw = b""
    for number in range(count):
        page = struct_pages[number] if number < len(struct_pages) else {}
        fields = [page.get(name, 0) for name in ("flags", "compound_head", "mapping", "private")]
        mapcount = page.get("mapcount", 0xFFFF_FFFF) & 0xFFFF_FFFF
        raw += kernel.pack("QQ8xQQI", *fields, mapcount).ljust(STRUCT_BYTES, b"\0")
    address = kernel.place(raw.ljust(-(-len(raw) // PAGE) * PAGE, b"\0"), align=PAGE)
    add_sections(kernel, dict.fromkeys(range(count // SECTION_PAGES), VMEMMAP_START))
    state_pages(kernel, style)
    return address & 0xFFFF_FFFF


def add_sections(kernel, maps, has_mem_map=3):
    """A table of sections: number to section_mem_map."""
    per_root = kernel.page_bytes // 16
    roots = {}
    for number, mem_map in maps.items():
        root = roots.setdefault(number // per_root, bytearray(kernel.page_bytes))
        at = number % per_root * 16
        root[at : at + 8] = kernel.pack("Q", mem_map | has_mem_map)
    table = [kernel.place(bytes(roots[index])) if index in roots else 0 for index in range(max(roots, default=0) + 2)]
    kernel.symbol("mem_section", kernel.place(kernel.pack(f"{len(table)}Q", *table)))
    kernel.state("LENGTH", mem_section=len(table), zone__free_area=ORDERS)
    kernel.state("SIZE", mem_section=16, page=STRUCT_BYTES)
    kernel.state("OFFSET", mem_section__section_mem_map=0)
    kernel.state("NUMBER", SECTION_SIZE_BITS=SECTION_BITS, MAX_PHYSMEM_BITS=51)


def state_pages(kernel, style):
    kernel.state("OFFSET", page__flags=0, page__compound_head=8, page__mapping=24, page__private=32, page___mapcount=40)
    kernel.state(
        "NUMBER", PG_lru=5, PG_private=14, PG_swapcache=10, PG_swapbacked=17, PG_head_mask=HEAD, PG_hwpoison=22
    )
    values = {"typed": TYPED, "bits": BITS, "values": VALUES}[style]
    for name, value in values.items():
        kernel.state("NUMBER", **{f"PAGE_{name}_MAPCOUNT_VALUE": value})
    if style == "bits":
        kernel.state("NUMBER", PG_hugetlb=8, PG_slab=9)
    if style == "values":
        kernel.state("NUMBER", PG_slab=9, HUGETLB_PAGE_DTOR=2)
        kernel.state("OFFSET", page__compound_order=49, page__compound_dtor=48)


def kernel_with(struct_pages, byte_order="little", style="typed", mmu="radix"):
    kernel = FakeKernel(byte_order, PAGE, mmu, memory_bytes=1 << 20)
    tables = PageTables(kernel)
    physical = add_pages(kernel, struct_pages, style)
    size = -(-len(struct_pages) * STRUCT_BYTES // PAGE) * PAGE
    for at in range(0, size, PAGE):
        tables.map(VMEMMAP_START + at, physical + at)
    return kernel


def classes(kernel):
    found = classify_pages(kernel.read())
    return [PageClass(page_class) for page_class in found.of(Range(0, SECTION_PAGES))]


def classes_of(*struct_pages, **more):
    return classes(kernel_with(struct_pages, **more))[: len(struct_pages)]


@pytest.mark.parametrize("byte_order", ["little", "big"])
@pytest.mark.parametrize(
    ("page", "expected"),
    [
        ({}, PageClass.KERNEL),
        ({"flags": LRU}, PageClass.CACHE),
        ({"flags": LRU | PRIVATE}, PageClass.CACHE_PRIVATE),
        ({"flags": PRIVATE}, PageClass.KERNEL),
        ({"flags": SWAPCACHE}, PageClass.KERNEL),
        ({"flags": SWAPCACHE | SWAPBACKED}, PageClass.CACHE),
        ({"flags": LRU, "mapping": 0x1001}, PageClass.USER),
        ({"mapping": 0x1001}, PageClass.USER),
        ({"mapping": 0x1001, "mapcount": 0xF500_0000}, PageClass.KERNEL),
        ({"mapcount": 0xF000_0000}, PageClass.FREE),
        ({"mapcount": 0xF000_0000, "private": ORDERS}, PageClass.KERNEL),
        ({"mapcount": 0xF100_0000}, PageClass.OFFLINE),
        ({"flags": HWPOISON}, PageClass.HWPOISON),
        ({"flags": HWPOISON | LRU}, PageClass.CACHE),
        ({"flags": HWPOISON, "mapcount": 0xF000_0000}, PageClass.FREE),
        ({"flags": LRU, "compound_head": 1}, PageClass.KERNEL),
        ({"flags": HEAD, "mapcount": 0xF400_0000}, PageClass.USER),
    ],
)
def test_each_class(byte_order, page, expected):
    assert classes_of(page, byte_order=byte_order) == [expected]


@pytest.mark.parametrize("byte_order", ["little", "big"])
@pytest.mark.parametrize(
    ("style", "free", "offline"),
    [("typed", 0xF000_0000, 0xF100_0000), ("bits", ~0x80, ~0x100), ("values", -128, -256)],
)
def test_each_form_of_a_pages_type(style, free, offline, byte_order):
    pages_ = {"mapcount": free}, {"mapcount": offline}, {"mapcount": 0}, {"mapcount": -2}
    found = classes_of(*pages_, style=style, byte_order=byte_order)
    assert found == [PageClass.FREE, PageClass.OFFLINE, PageClass.KERNEL, PageClass.KERNEL]


def test_a_free_block_is_free_as_a_whole():
    found = classes_of({}, {}, {"mapcount": 0xF000_0000, "private": 1}, {"flags": LRU}, {"flags": LRU})
    assert found[1:] == [PageClass.KERNEL, PageClass.FREE, PageClass.FREE, PageClass.CACHE]


def test_a_compound_page_is_its_heads_class_as_a_whole():
    tail = {"compound_head": 1}
    found = classes_of({"flags": LRU | HEAD}, {"flags": 2, **tail}, tail, tail, {})
    assert found == [PageClass.CACHE] * 4 + [PageClass.KERNEL]


@pytest.mark.parametrize("order", [3, 40, 0xFF])
def test_a_compound_page_that_does_not_lie_at_a_multiple_of_its_size_is_one_page(order):
    found = classes_of({}, {}, {"flags": LRU | HEAD}, {"flags": order, "compound_head": 1})
    assert found[2:] == [PageClass.CACHE, PageClass.KERNEL]


@pytest.fixture
def small_chunks(monkeypatch):
    monkeypatch.setattr(classify, "CHUNK_PAGES", 2)


def test_a_page_in_a_free_block_that_began_in_another_chunk_begins_no_block(small_chunks):
    block = {"mapcount": 0xF000_0000, "private": 1}
    found = classes_of({}, block, {"flags": LRU | HEAD}, {"flags": 1, "compound_head": 1})
    assert found == [PageClass.KERNEL, PageClass.FREE, PageClass.FREE, PageClass.KERNEL]


def test_a_multiple_of_a_size_is_one_of_page_numbers_not_of_a_chunks(small_chunks):
    found = classes_of({}, {}, {"flags": LRU | HEAD}, {"flags": 2, "compound_head": 1}, {}, {})
    assert found[2:] == [PageClass.CACHE, PageClass.KERNEL, PageClass.KERNEL, PageClass.KERNEL]


def test_a_slab_page_is_not_free_whatever_its_type_looks_like():
    assert classes_of({"flags": 1 << 9, "mapcount": ~0x80}, style="bits") == [PageClass.KERNEL]


def test_huge_pages_by_flag_and_by_destructor():
    tail = {"compound_head": 1}
    by_flag = classes_of(
        {"flags": HEAD}, {"flags": 1 | 1 << 8, **tail}, {"flags": HEAD}, {"flags": 1, **tail}, style="bits"
    )
    assert by_flag == [PageClass.USER, PageClass.USER, PageClass.KERNEL, PageClass.KERNEL]
    kernel = kernel_with([{"flags": HEAD}, tail, {}, {}], style="values")
    start = kernel.memory.find(kernel.pack("Q", HEAD))
    kernel.memory[start + STRUCT_BYTES + 48 : start + STRUCT_BYTES + 50] = bytes([2, 1])
    assert classes(kernel)[:3] == [PageClass.USER, PageClass.USER, PageClass.KERNEL]


def test_the_newer_name_of_the_word_that_marks_tails():
    kernel = kernel_with([{"flags": LRU, "compound_head": 1}])
    kernel.facts["OFFSET(page.compound_info)"] = kernel.facts.pop("OFFSET(page.compound_head)")
    assert classes(kernel)[0] == PageClass.KERNEL


def test_hash_finds_struct_pages_in_its_list():
    kernel = FakeKernel("little", PAGE, "hash", memory_bytes=1 << 20)
    physical = add_pages(kernel, [{"mapcount": 0xF000_0000}])
    add_vmemmap_list(kernel, [(VMEMMAP_START, physical)])
    assert classes(kernel)[:2] == [PageClass.FREE, PageClass.KERNEL]


FLAGS = st.sets(st.sampled_from([LRU, PRIVATE, SWAPCACHE, SWAPBACKED, HEAD, HWPOISON, 1, 2])).map(sum)
PAGES = st.lists(
    st.fixed_dictionaries(
        {
            "flags": FLAGS,
            "compound_head": st.sampled_from([0, 0, 0x1000, 0x1001]),
            "mapping": st.sampled_from([0, 0x2000, 0x2001]),
            "private": st.integers(0, ORDERS),
            "mapcount": st.sampled_from([*TYPED.values(), 0xFFFF_FFFF, 0, 3]),
        }
    ),
    max_size=SECTION_PAGES,
)


def expected_classes(struct_pages):
    found = [PageClass.KERNEL] * len(struct_pages)
    pfn = 0
    while pfn < len(struct_pages):
        page, nr_pages, page_class = struct_pages[pfn], 1, PageClass.KERNEL
        type_ = page["mapcount"] >> 24
        anonymous = page["mapping"] & 1 and type_ != 0xF5
        cache = (page["flags"] & LRU or (page["flags"] & SWAPCACHE and page["flags"] & SWAPBACKED)) and not anonymous
        if page["flags"] & HEAD and pfn + 1 < len(struct_pages):
            order = struct_pages[pfn + 1]["flags"] & 0xFF
            nr_pages = 1 << order if order < 40 and not pfn & (1 << order) - 1 else 1
        if page["compound_head"] & 1:
            nr_pages = 1
        elif type_ == 0xF0:
            nr_pages = 1 << page["private"] if page["private"] < ORDERS else 1
            page_class = PageClass.FREE if page["private"] < ORDERS else PageClass.KERNEL
        elif cache:
            page_class = PageClass.CACHE_PRIVATE if page["flags"] & PRIVATE else PageClass.CACHE
        elif anonymous or (page["flags"] & HEAD and type_ == 0xF4):
            page_class = PageClass.USER
        elif page["flags"] & HWPOISON:
            page_class = PageClass.HWPOISON
        elif type_ == 0xF1:
            page_class = PageClass.OFFLINE
        if page_class is PageClass.KERNEL:
            nr_pages = 1
        found[pfn : pfn + nr_pages] = [page_class] * min(nr_pages, len(struct_pages) - pfn)
        pfn += nr_pages
    return found


def aligned(struct_pages):
    """The same pages without free blocks that don't lie at a multiple of their size: Linux has none."""
    return [
        {**page, "private": 0} if page["private"] < ORDERS and pfn & (1 << page["private"]) - 1 else page
        for pfn, page in enumerate(struct_pages)
    ]


@given(PAGES, st.sampled_from([2, 4, 8, 1 << 15]))
def test_the_classes_are_makedumpfiles(struct_pages, chunk_pages):
    struct_pages = aligned(struct_pages)
    struct_pages += [{"flags": 0, "compound_head": 0, "mapping": 0, "private": 0, "mapcount": 0}] * (
        SECTION_PAGES - len(struct_pages)
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(classify, "CHUNK_PAGES", chunk_pages)
        assert classes(kernel_with(struct_pages)) == expected_classes(struct_pages)


def test_struct_pages_that_are_not_in_the_dump_leave_their_pages_unknown():
    kernel = kernel_with([{"mapcount": 0xF000_0000}])
    add_sections(kernel, {0: VMEMMAP_START + 0x4000_0000})
    assert classes(kernel) == [PageClass.UNKNOWN] * SECTION_PAGES


def test_struct_pages_that_can_be_read_among_those_that_cannot(monkeypatch):
    monkeypatch.setattr(classify, "_FEW_PAGES", 2)
    kernel = FakeKernel("little", PAGE, "radix", memory_bytes=80 << 20)
    tables = PageTables(kernel)
    readable = -(-PAGE // STRUCT_BYTES // 2) * 2
    physical = add_pages(kernel, [{"mapcount": 0xF000_0000}] * (readable + 8))
    tables.map(VMEMMAP_START + PAGE, physical + PAGE)
    found = classify_pages(kernel.read()).of(Range(0, readable + 8)).tolist()
    assert found == [PageClass.UNKNOWN] * readable + [PageClass.FREE] * 8


def test_pages_are_counted_in_the_memory_that_is_asked_for():
    kernel = kernel_with([{}, {"flags": LRU}, {"flags": LRU}, {"mapcount": 0xF000_0000}])
    found = classify_pages(kernel.read())
    counts = found.count([Range(PAGE, 2 * PAGE), Range(2 * PAGE + 8, 4 * PAGE), Range(1 << 40, (1 << 40) + 3 * PAGE)])
    assert {page_class: count for page_class, count in counts.items() if count} == {
        PageClass.CACHE: 1,
        PageClass.FREE: 1,
        PageClass.UNKNOWN: 3,
    }


@pytest.mark.parametrize(
    ("level", "classes"),
    [
        (0, set()),
        (1, set()),
        (2, {PageClass.CACHE}),
        (4, {PageClass.CACHE, PageClass.CACHE_PRIVATE}),
        (8, {PageClass.USER}),
        (16, {PageClass.FREE}),
    ],
)
def test_what_a_dump_level_leaves_out(level, classes):
    assert left_out(DumpLevel(level)) == classes | {PageClass.HWPOISON, PageClass.OFFLINE}


def test_sections_whose_struct_pages_are_neighbours_are_one_map():
    kernel = FakeKernel(memory_bytes=4 << SECTION_BITS)
    add_sections(kernel, {0: VMEMMAP_START, 1: VMEMMAP_START, 3: VMEMMAP_START, 9: VMEMMAP_START})
    assert find_mem_maps(kernel.read()) == [
        MemMap(0, 2 * SECTION_PAGES, VMEMMAP_START),
        MemMap(3 * SECTION_PAGES, SECTION_PAGES, VMEMMAP_START + 3 * SECTION_PAGES * STRUCT_BYTES),
    ]


def test_sections_whose_struct_pages_are_not_neighbours_are_two_maps():
    kernel = FakeKernel(memory_bytes=2 << SECTION_BITS)
    add_sections(kernel, {0: VMEMMAP_START, 1: VMEMMAP_START + 0x10000})
    assert [found.pages for found in find_mem_maps(kernel.read())] == [SECTION_PAGES, SECTION_PAGES]


def test_more_struct_pages_than_the_dump_has_room_for_are_refused():
    kernel = FakeKernel(memory_bytes=1 << SECTION_BITS)
    add_sections(kernel, {0: VMEMMAP_START})
    kernel.state("NUMBER", SECTION_SIZE_BITS=50)
    with pytest.raises(
        FormatError, match="claim .*more struct pages than the dump has memory for|more than the dump has memory for"
    ):
        find_mem_maps(kernel.read())


def kernel_of_many_sections(mem_map, roots, memory_bytes=1 << 51, file_bytes=0):
    """A dump that claims nearly all of physical memory, and a table of sections of which all roots are one page.

    ``file_bytes`` is how large the file is, with a hole at its end; 0: it has none.
    """
    kernel = FakeKernel(memory_bytes=2 << 20)
    PageTables(kernel)
    per_root = kernel.page_bytes // 16
    root = kernel.place(kernel.pack("QQ", mem_map | 3, 0) * per_root)
    kernel.symbol("mem_section", kernel.place(kernel.pack("Q", root) * roots))
    state_pages(kernel, "typed")
    kernel.state("LENGTH", mem_section=roots, zone__free_area=ORDERS)
    kernel.state("SIZE", mem_section=16, page=64)
    kernel.state("OFFSET", mem_section__section_mem_map=0)
    kernel.state("NUMBER", SECTION_SIZE_BITS=24, MAX_PHYSMEM_BITS=51)
    core = bytearray(kernel.core())
    last_header = 64 + 56 * (int.from_bytes(core[56:58], "little") - 1)
    core[last_header + 32 : last_header + 48] = kernel.pack("QQ", memory_bytes, memory_bytes)
    source = BytesSource(bytes(core))
    source.size_bytes = max(source.size_bytes, file_bytes)
    os.truncate(source._fd, source.size_bytes)
    dump = open_source([source])
    return KernelMemory(dump, Facts.of(dump))


@pytest.mark.parametrize("mem_map", [VMEMMAP_START, PAGE_OFFSET], ids=["nowhere", "behind the file's end"])
def test_struct_pages_that_are_only_claimed_take_no_memory(mem_map):
    memory = kernel_of_many_sections(mem_map, 64)
    tracemalloc.start()
    try:
        found = classify_pages(memory)
        assert sum(len(block.classes) for block in found.blocks) < 1 << 17
        assert tracemalloc.get_traced_memory()[1] < 32 << 20
    finally:
        tracemalloc.stop()


def test_struct_pages_in_a_hole_have_one_class_and_take_no_memory():
    """A GiB of struct pages, all zeros: their classes would be 16 MiB."""
    memory = kernel_of_many_sections(PAGE_OFFSET, 16, 1 << 40, 2 << 40)
    tracemalloc.start()
    try:
        found = classify_pages(memory)
        assert sum(len(block.classes) for block in found.blocks) == 1 << 24
        assert tracemalloc.get_traced_memory()[0] < 10 << 20
    finally:
        tracemalloc.stop()
    assert found.of(Range(1 << 23, (1 << 23) + 2)).tolist() == [PageClass.KERNEL] * 2


def test_the_classes_of_all_pages_have_a_budget(monkeypatch):
    monkeypatch.setattr(classify, "MOST_CLASSES_BYTES", SECTION_PAGES - 1)
    with pytest.raises(LimitError, match="16 bytes of memory for the classes of pages, more than the 15"):
        classify_pages(kernel_with([{"flags": LRU}, {}]).read())


def test_more_sections_than_any_machine_has_are_refused():
    with pytest.raises(FormatError, match="memory sections, more than the"):
        classify_pages(kernel_of_many_sections(VMEMMAP_START, 1 << 12))


def test_page_tables_that_show_the_same_struct_pages_over_and_over_are_refused():
    kernel = kernel_with([{}])
    add_sections(kernel, {0: VMEMMAP_START + PAGE})
    tables = PageTables(kernel)
    for number in range(1, 200):
        tables.map(VMEMMAP_START + number * PAGE, 0)
    kernel.state("NUMBER", SECTION_SIZE_BITS=33)
    core = bytearray(kernel.core())
    last_header = 64 + 56 * (int.from_bytes(core[56:58], "little") - 1)
    core[last_header + 32 : last_header + 48] = kernel.pack("QQ", 1 << 40, 1 << 40)
    dump = open_bytes(bytes(core))
    with pytest.raises(
        FormatError, match="claim .*more struct pages than the dump has memory for|more than the dump has memory for"
    ):
        classify_pages(KernelMemory(dump, Facts.of(dump)))


NAMES = sorted(kernel_with([{}]).facts)


@given(st.sampled_from(NAMES), st.integers(-2, 70) | st.integers(0, (1 << 64) - 1))
def test_any_fact_may_be_wrong(name, value):
    kernel = kernel_with([{"flags": LRU}, {"mapcount": 0xF000_0000}])
    kernel.facts[name] = f"{value:x}" if name.startswith("SYMBOL") else str(value)
    try:
        found = classify_pages(kernel.read())
    except FadumpError:
        return
    assert sum(len(block.classes) for block in found.blocks) <= 1 << 20


@pytest.mark.parametrize(("struct_bytes", "sane"), [(31, False), (56, True), (1024, True), (1025, False)])
def test_a_struct_page_is_of_a_size_that_one_can_have(struct_bytes, sane):
    kernel = kernel_with([{}])
    kernel.state("SIZE", page=struct_bytes)
    with (
        nullcontext() if sane else pytest.raises(FormatError, match=rf"SIZE\(page\) is {struct_bytes}, not 32 to 1024")
    ):
        classify_pages(kernel.read())

import contextlib
import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fadump.errors import AddressError, FadumpError
from fadump.linux.translate import Mapped, TranslationError
from fadump.linux.vmcoreinfo import MissingFactError
from fadump.memory.ranges import Range
from tests.linux.kernel_builder import (
    INDEX_BITS,
    LEAF,
    PAGE_OFFSET,
    PRESENT,
    VMALLOC_START,
    VMEMMAP_START,
    FakeKernel,
    PageTables,
    add_vmemmap_list,
)

LAYOUTS = [(mmu, size, order) for (mmu, size), order in itertools.product(INDEX_BITS, ["little", "big"])]


@pytest.fixture(params=LAYOUTS, ids=lambda layout: f"{layout[0]}-{layout[1] >> 10}K-{layout[2]}")
def kernel(request):
    mmu, page_bytes, byte_order = request.param
    return FakeKernel(byte_order, page_bytes, mmu)


def test_the_linear_map_needs_no_tables(kernel):
    translation = kernel.read().translation
    assert translation.physical(PAGE_OFFSET + 0x1234) == 0x1234
    assert translation.mapped(Range.sized(PAGE_OFFSET, 0x5000)) == [Mapped(Range.sized(PAGE_OFFSET, 0x5000), 0)]


def test_a_page_is_found_at_each_level(kernel):
    tables = PageTables(kernel)
    places = {}
    for level in (1, 2, 3):
        virtual = VMALLOC_START + level * tables.page_bytes(1)
        physical = 5 * tables.page_bytes(level)
        tables.map(virtual, physical, level)
        places[virtual + 0x678] = physical + 0x678
    translation = kernel.read().translation
    assert {virtual: translation.physical(virtual) for virtual in places} == places


def test_neighbours_in_both_memories_are_one_piece(kernel):
    tables, size = PageTables(kernel), kernel.page_bytes
    for number, frame in enumerate([7, 8, 4]):
        tables.map(VMALLOC_START + number * size, frame * size)
    pieces = kernel.read().translation.mapped(Range.sized(VMALLOC_START + 16, 3 * size - 32))
    assert pieces == [
        Mapped(Range(VMALLOC_START + 16, VMALLOC_START + 2 * size), 7 * size + 16),
        Mapped(Range(VMALLOC_START + 2 * size, VMALLOC_START + 3 * size - 16), 4 * size),
    ]


def test_what_is_not_mapped_is_an_error_at_its_address(kernel):
    tables, size = PageTables(kernel), kernel.page_bytes
    tables.map(VMALLOC_START, 7 * size)
    tables.map(VMALLOC_START + 2 * size, 9 * size)
    tables.map(VMALLOC_START + 3 * size, 9 * size, flags=LEAF)
    translation = kernel.read().translation
    with pytest.raises(TranslationError) as caught:
        translation.mapped(Range.sized(VMALLOC_START, 3 * size))
    assert caught.value.virtual == VMALLOC_START + size
    with pytest.raises(TranslationError, match="isn't mapped"):
        translation.physical(VMALLOC_START + 3 * size)


@pytest.mark.parametrize("virtual", [0, 0x1000, 0x7FFF_FFFF_F000, (1 << 64) - 1])
def test_an_address_that_is_none_of_the_kernels_is_refused(virtual):
    kernel = FakeKernel()
    PageTables(kernel)
    with pytest.raises(TranslationError):
        kernel.read().translation.physical(virtual)


def test_struct_pages_of_hash_are_found_in_their_list():
    kernel = FakeKernel(mmu="hash")
    blocks = [(VMEMMAP_START, 0x30000), (VMEMMAP_START + 0x20000, 0x10000), (VMEMMAP_START + 0x10000, 0x40000)]
    add_vmemmap_list(kernel, blocks)
    translation = kernel.read().translation
    assert translation.physical(VMEMMAP_START + 0x2_0042) == 0x10042
    assert translation.mapped(Range(VMEMMAP_START + 0x8000, VMEMMAP_START + 0x30000)) == [
        Mapped(Range(VMEMMAP_START + 0x8000, VMEMMAP_START + 0x20000), 0x38000),
        Mapped(Range(VMEMMAP_START + 0x20000, VMEMMAP_START + 0x30000), 0x10000),
    ]


def test_an_empty_list_leads_to_the_tables_as_with_radix():
    kernel = FakeKernel()
    add_vmemmap_list(kernel, [])
    PageTables(kernel).map(VMEMMAP_START, 0x30000)
    assert kernel.read().translation.physical(VMEMMAP_START + 4) == 0x30004


def test_a_list_that_is_a_loop_is_an_error():
    kernel = FakeKernel(mmu="hash")
    add_vmemmap_list(kernel, [(VMEMMAP_START, 0), (VMEMMAP_START + 0x10000, 0)])
    first = kernel.place(kernel.pack("QQQ", 0, 0, VMEMMAP_START))
    kernel.poke(first, kernel.pack("Q", first))
    kernel.symbol("vmemmap_list", kernel.place(kernel.pack("Q", first)))
    with pytest.raises(TranslationError, match="loop"):
        kernel.read().translation.physical(VMEMMAP_START)


@pytest.mark.parametrize("shift", [0, 11, 35, 0xFFFF_FFFF])
def test_blocks_of_an_impossible_size_are_an_error(shift):
    kernel = FakeKernel(mmu="hash")
    add_vmemmap_list(kernel, [(VMEMMAP_START, 0)], shift=shift)
    with pytest.raises(TranslationError, match="mmu_psize_defs"):
        kernel.read().translation.physical(VMEMMAP_START)


@pytest.mark.parametrize(("features", "is_radix"), [(0x40, True), (0x1, False)])
def test_without_a_number_the_cpus_features_tell_radix_from_hash(features, is_radix):
    kernel = FakeKernel()
    del kernel.facts["NUMBER(RADIX_MMU)"]
    spec = kernel.place(kernel.pack("4xIQ", 0, features))
    kernel.symbol("cur_cpu_spec", kernel.place(kernel.pack("Q", spec)))
    kernel.state("OFFSET", cpu_spec__mmu_features=8)
    assert kernel.read().translation.is_radix == is_radix


@pytest.mark.parametrize("mmu", ["radix", "hash"])
def test_a_kernel_that_says_nothing_of_its_mmu_is_known_by_its_tables(mmu):
    kernel = FakeKernel(mmu=mmu)
    tables = PageTables(kernel)
    del kernel.facts["NUMBER(RADIX_MMU)"]
    tables.map(VMALLOC_START, 0x30000)
    if mmu == "radix":
        tables.map(PAGE_OFFSET, 0, level=1)
    translation = kernel.read().translation
    assert translation.is_radix == (mmu == "radix")
    assert translation.physical(VMALLOC_START + 5) == 0x30005


def test_a_kernel_that_says_nothing_of_its_tables_is_an_error():
    kernel = FakeKernel()
    del kernel.facts["NUMBER(RADIX_MMU)"]
    with pytest.raises(MissingFactError, match="swapper_pg_dir"):
        kernel.read().translation.physical(VMALLOC_START)


@pytest.mark.parametrize("root", [0x1000, VMALLOC_START, (1 << 64) - 8])
def test_tables_that_only_tables_could_find_are_an_error(root):
    kernel = FakeKernel()
    kernel.symbol("swapper_pg_dir", root)
    with pytest.raises(TranslationError, match="should be in the linear map"):
        kernel.read().translation.physical(VMALLOC_START)


def test_tables_that_lead_back_to_themselves_end():
    kernel = FakeKernel()
    tables = PageTables(kernel)
    table = kernel.place(bytes(0x1000), align=0x1000)
    for index in range(512):
        tables.poke(table + 8 * index, (table - PAGE_OFFSET) | PRESENT)
    for index in range(1 << 13):
        tables.poke(tables.root + 8 * index, (table - PAGE_OFFSET) | PRESENT)
    translation = kernel.read().translation
    with pytest.raises(TranslationError, match="page tables"):
        translation.mapped_within(Range.sized(VMALLOC_START, 1 << 50))


def test_a_table_outside_of_memory_is_an_error_that_says_so():
    kernel = FakeKernel()
    tables = PageTables(kernel)
    tables.poke(tables.root + 8 * (VMALLOC_START >> 39 & 0x1FFF), 1 << 50 | PRESENT)
    with pytest.raises(AddressError):
        kernel.read().translation.physical(VMALLOC_START)


@given(st.lists(st.integers(0, (1 << 64) - 1), min_size=1, max_size=8), st.integers(VMALLOC_START, (1 << 64) - 1))
def test_any_table_gives_an_address_or_an_error(entries, virtual):
    kernel = FakeKernel()
    tables = PageTables(kernel)
    for number, entry in enumerate(entries):
        tables.poke(tables.root + 8 * ((virtual >> 39) + number & 0x1FFF), entry & ~0xFFF_FFFF_FFF0_0000)
    for at in range(0x20000, len(kernel.memory) - 8, 8 * 37):
        tables.poke(PAGE_OFFSET + at, entries[at % len(entries)])
    with contextlib.suppress(FadumpError):
        assert kernel.read().translation.physical(virtual) < 1 << 64

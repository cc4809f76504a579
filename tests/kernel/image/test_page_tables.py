"""The linear map in page tables, walked as the hardware does."""

import struct
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fadump.abi.linux.page_table import LEAF, LEAF_ADDRESS, PAGE_OFFSET, POINTER_ADDRESS, PRESENT
from fadump.kernel.image.page_tables import PageTables
from fadump.kernel.state import PAGE_TABLES
from fadump.linux.translate import Translation
from fadump.linux.vmcoreinfo import Facts
from fadump.memory.ranges import Range, RangeSet
from tests.kernel.running import guest_memory

RAM = Range(0, 32 << 20)
MIB = 1 << 20
INDEX_BITS = {0x1000: (13, 9, 9, 9), 0x10000: (13, 9, 9, 5)}


def walk(memory, root, address, page_bytes):
    """The physical address that the tables have for an address of the linear map, None if they have none."""
    table, bits = root, INDEX_BITS[page_bytes]
    shift = page_bytes.bit_length() - 1 + sum(bits)
    address |= PAGE_OFFSET
    for level, width in enumerate(bits):
        shift -= width
        (entry,) = struct.unpack(">Q", memory.read(table + 8 * (address >> shift & (1 << width) - 1), 8))
        if not entry & PRESENT:
            return None
        if entry & LEAF:
            return (entry & LEAF_ADDRESS & -(1 << shift)) | address & (1 << shift) - 1
        assert entry & 0x1F == bits[level + 1]
        table = entry & POINTER_ADDRESS
        assert PAGE_TABLES.contains(Range.sized(table, 0x1000))
    return None


def written(memory, regions, page_bytes):
    """Tables with the linear map of ``regions``; where the top one is."""
    tables = PageTables(page_bytes, radix=True)
    tables.map_linear(regions)
    tables.write(memory)
    return PAGE_TABLES.start


edges = st.integers(1, 1 << 16).map(lambda number: number * 16 * MIB)


@pytest.mark.parametrize("page_bytes", INDEX_BITS)
@given(st.lists(edges, min_size=1, max_size=8, unique=True).map(sorted))
def test_all_memory_is_mapped_and_nothing_else(page_bytes, cuts):
    regions = [Range(0, 256 * MIB), *(Range(a, b) for a, b in list(pairwise(cuts))[::2] if a >= 256 * MIB)]
    ram = RangeSet(regions)
    with guest_memory(RAM) as memory:
        root = written(memory, regions, page_bytes)
        for region in regions:
            for address in (region.start, (region.start + region.end) // 2, region.end - 1):
                assert walk(memory, root, address, page_bytes) == address
            for address in (region.start - 1, region.end):
                if address >= 0 and address not in ram:
                    assert walk(memory, root, address, page_bytes) is None


@pytest.mark.parametrize("page_bytes", INDEX_BITS)
@pytest.mark.parametrize("radix", [True, False])
def test_pages_of_vmalloc_are_mapped_one_by_one(page_bytes, radix):
    start, places = 0xC008_0000_0001_0000, (0x123 * page_bytes, 0x45 * page_bytes)
    with guest_memory(RAM) as memory:
        tables = PageTables(page_bytes, radix=radix)
        for number, place in enumerate(places):
            assert tables.map_leaves(start + number * page_bytes, place, page_bytes.bit_length() - 1)
        tables.write(memory)
        facts = {"PAGESIZE": page_bytes, "NUMBER(RADIX_MMU)": int(radix), "NUMBER(VMALLOC_START)": "0xc008000000000000"}
        facts["SYMBOL(swapper_pg_dir)"] = f"{PAGE_OFFSET | PAGE_TABLES.start:x}"
        text = "".join(f"{key}={value}\n" for key, value in facts.items()).encode()
        translation = Translation(memory.read, Facts(text), "little")
        assert [translation.physical(start + at) for at in (8, page_bytes + 8)] == [place + 8 for place in places]


def test_without_room_for_all_tables_the_rest_is_left_out():
    regions = [Range.sized(number << 39, 2 * MIB) for number in range(4096)]
    with guest_memory(RAM) as memory:
        root = written(memory, regions, 0x10000)
        assert walk(memory, root, regions[1000].start, 0x10000) == regions[1000].start
        assert walk(memory, root, regions[-1].start, 0x10000) is None
        assert not memory.populated(Range(PAGE_TABLES.end, RAM.end))

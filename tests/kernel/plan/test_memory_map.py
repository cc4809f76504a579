from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fadump.kernel.plan.memory_map import MemoryBlock, MemoryMap, find_from_top, free_ranges, limited, regions_of
from fadump.kernel.traits import GIB, LINUX_6_1, LINUX_6_12, MIB
from fadump.memory.ranges import Range, RangeSet
from tests.bounded import bounded

TOP = 64
ranges = st.builds(lambda ends: Range(min(ends), max(ends)), st.tuples(st.integers(0, TOP), st.integers(0, TOP)))
blocks = st.lists(st.builds(MemoryBlock, ranges, st.booleans()), max_size=6)


def addresses(some_ranges):
    return {address for range_ in some_ranges for address in range(range_.start, range_.end)}


@given(blocks)
def test_regions_are_the_blocks_sorted_and_disjoint(given_blocks):
    regions = regions_of(given_blocks)
    assert addresses(regions) == addresses(block.range for block in given_blocks)
    assert all(before.end <= after.start for before, after in pairwise(regions))


def test_neighbours_are_one_region_unless_only_one_can_be_removed():
    low, high, last = (Range.sized(index * GIB, GIB) for index in range(3))
    assert regions_of([MemoryBlock(low), MemoryBlock(high)]) == (Range(0, 2 * GIB),)
    assert regions_of([MemoryBlock(high, True), MemoryBlock(low)]) == (low, high)
    removable = [MemoryBlock(low), MemoryBlock(high, True), MemoryBlock(last, True)]
    assert regions_of(removable) == (low, Range(GIB, 3 * GIB))


def test_regions_end_with_their_numa_node_once_the_nodes_are_known():
    blocks = [MemoryBlock(Range.sized(index * GIB, GIB), node=index // 2) for index in range(4)]
    map_ = MemoryMap.of([*blocks, MemoryBlock(Range(8 * GIB, 9 * GIB), node=1)], RangeSet(), RangeSet())
    assert map_.regions == (Range(0, 4 * GIB), Range(8 * GIB, 9 * GIB))
    assert map_.by_node(map_.regions) == (Range(0, 2 * GIB), Range(2 * GIB, 4 * GIB), Range(8 * GIB, 9 * GIB))
    assert map_.by_node([Range(0, GIB)]) == (Range(0, GIB),)


def test_memory_from_2_pib_on_is_ignored():
    limit = 1 << 51
    blocks = [
        MemoryBlock(Range(0, GIB)),
        MemoryBlock(Range(limit - GIB, limit + GIB)),
        MemoryBlock(Range(limit + GIB, 2 * limit)),
    ]
    map_ = MemoryMap.of(blocks, RangeSet(), RangeSet())
    assert map_.regions == (Range(0, GIB), Range(limit - GIB, limit))
    assert (map_.ignored_bytes, map_.end) == (limit, limit)
    assert MemoryMap.of([MemoryBlock(Range(0, limit))], RangeSet(), RangeSet()).ignored_bytes == 0


def test_whether_memory_can_be_removed_splits_it_early_in_the_boot_only():
    blocks = [MemoryBlock(Range(0, GIB)), MemoryBlock(Range(GIB, 2 * GIB), True)]
    map_ = MemoryMap.of(blocks, RangeSet(), RangeSet())
    assert map_.regions == (Range(0, GIB), Range(GIB, 2 * GIB))
    assert map_.by_node(map_.regions) == (Range(0, 2 * GIB),)


@given(blocks, st.lists(ranges, max_size=6))
def test_what_is_free_is_memory_that_is_not_reserved(given_blocks, reserved):
    regions = regions_of(given_blocks)
    free = list(free_ranges(regions, RangeSet(reserved)))
    assert addresses(free) == addresses(regions) - addresses(reserved)
    assert all(any(region.contains(piece) for region in regions) for piece in free)
    assert free == sorted(free)


@given(st.lists(ranges, max_size=6), ranges, st.sampled_from([1, 2, 4, 8]))
def test_the_highest_place_is_found(free, within, size_bytes):
    pieces = list(RangeSet(free))
    found = find_from_top(pieces, within, size_bytes)
    places = [
        start
        for start in range(0, TOP, size_bytes)
        if within.contains(Range.sized(start, size_bytes))
        and any(piece.contains(Range.sized(start, size_bytes)) for piece in pieces)
    ]
    assert found == (Range.sized(max(places), size_bytes) if places else None)


@pytest.mark.parametrize(
    ("limit", "expected"),
    [
        (0, [(0, 1024), (2048, 3072)]),
        (512, [(0, 512)]),
        (1536, [(0, 1024), (2048, 2560)]),
        (1551, [(0, 1024), (2048, 2560)]),  # whole 16 MiB
        (4096, [(0, 1024), (2048, 3072)]),
        (1, [(0, 1024), (2048, 3072)]),  # less than 16 MiB is none at all
    ],
)
def test_mem_leaves_so_much_memory_from_below(limit, expected):
    regions = (Range(0, GIB), Range(2 * GIB, 3 * GIB))
    assert limited(regions, limit * MIB, LINUX_6_12) == tuple(Range(start * MIB, end * MIB) for start, end in expected)


def test_memory_that_is_no_multiple_of_16_mib_loses_its_end():
    assert limited((Range(0, GIB + 17 * MIB),), 0, LINUX_6_12) == (Range(0, GIB + 16 * MIB),)


def test_before_6_10_only_parts_of_a_page_are_rounded():
    assert limited((Range(0, GIB + 17 * MIB),), 0, LINUX_6_1) == (Range(0, GIB + 17 * MIB),)
    assert limited((Range(0, GIB),), 17 * MIB - 1, LINUX_6_1) == (Range(0, 17 * MIB),)


def test_the_first_block_is_remembered_though_it_is_merged():
    given_blocks = [MemoryBlock(Range(GIB, 2 * GIB)), MemoryBlock(Range(0, GIB))]
    memory = MemoryMap.of(given_blocks, RangeSet(), RangeSet())
    assert (memory.first_block_bytes, memory.ram_bytes, memory.end) == (GIB, 2 * GIB, 2 * GIB)


@pytest.mark.parametrize(
    ("given_blocks", "message"),
    [
        ([], "no memory at address 0"),
        ([MemoryBlock(Range(0, 0))], "no memory at address 0"),
        ([MemoryBlock(Range(1, 2))], "no memory at address 0"),
        ([MemoryBlock(Range(0, 1)), MemoryBlock(Range(1 << 63, (1 << 64) + 1))], "beyond 64 bits"),
    ],
)
def test_a_kernel_needs_memory_at_0(given_blocks, message):
    with pytest.raises(ValueError, match=message):
        MemoryMap.of(given_blocks, RangeSet(), RangeSet())


def split_by_node(map_):
    return len(map_.by_node(map_.regions))


def test_many_pieces_and_many_nodes_are_not_multiplied():
    """10,000 pieces of memory with a gap after each, and 10,000 borders of nodes."""
    blocks = [MemoryBlock(Range.sized(2 * index * MIB, MIB), node=index % 2) for index in range(10_000)]
    map_ = MemoryMap.of(blocks, RangeSet(), RangeSet())
    assert len(map_.node_borders) == 9_999
    assert bounded(split_by_node, map_, most_steps=600_000) == 10_000

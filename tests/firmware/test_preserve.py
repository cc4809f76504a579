from hypothesis import given
from hypothesis import strategies as st

from fadump.firmware.preserve import CopyFault, copy_aside, kept_ranges
from fadump.memory.ranges import Range, RangeSet
from tests.firmware.pseries.guest import DIMM, RAM, UPPER, guest_memory

ranges = st.builds(Range.sized, st.integers(0, DIMM.end), st.integers(0, 0x10_0000))


def test_a_range_is_copied_and_its_holes_are_zeros_at_the_destination():
    with guest_memory() as memory:
        memory.write(0x3000, b"crashed")
        memory.write(0x50_0000, b"\xff" * 0x8000)
        assert copy_aside(memory, 0x1000, 0x50_0000, 0x7000) is None
        assert memory.read(0x50_0000, 0x8000) == memory.read(0x1000, 0x7000) + b"\xff" * 0x1000


def test_a_range_that_is_its_own_destination_stays():
    with guest_memory() as memory:
        memory.write(0x3000, b"crashed")
        assert copy_aside(memory, 0x3000, 0x3000, 0x1000) is None
        assert memory.read(0x3000, 7) == b"crashed"


def test_a_range_that_can_not_be_copied_is_not_begun():
    with guest_memory() as memory:
        memory.write(0x3000, b"crashed")
        assert copy_aside(memory, UPPER.end - 0x1000, 0x3000, 0x2000) is CopyFault.SOURCE
        assert copy_aside(memory, 0x3000, UPPER.end - 0x1000, 0x2000) is CopyFault.DESTINATION
        assert copy_aside(memory, 0x3000, 0x3001, 0x1000) is CopyFault.DESTINATION
        assert not memory.read(UPPER.end - 0x1000, 0x1000).strip(b"\0")
        assert memory.read(0x3000, 7) == b"crashed"


@given(st.lists(ranges, max_size=5), st.lists(ranges, max_size=5))
def test_what_is_kept_is_ram_above_boot_memory_and_the_destinations(boot_memory, destinations):
    kept = kept_ranges(RAM, RangeSet(boot_memory), destinations)
    top = max((range_.end for range_ in boot_memory if range_), default=0)
    assert not kept - RAM
    assert kept & RangeSet([Range(top, max(top, DIMM.end))]) == RAM & RangeSet([Range(top, max(top, DIMM.end))])
    below = kept - RangeSet([Range(top, max(top, DIMM.end))])
    assert not below - RangeSet(destinations)
    assert RAM & RangeSet(destinations) == RAM & RangeSet(destinations) & kept

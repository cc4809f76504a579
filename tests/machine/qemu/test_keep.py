"""What a boot firmware overwrites is put back, and nothing else is touched."""

import os

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fadump.errors import MachineError
from fadump.machine.qemu.keep import KeptMemory
from fadump.memory.guest import GuestMemory, Segment
from fadump.memory.ranges import Range, RangeSet

RAM_BYTES = 0x100000
KEEP = RangeSet([Range(0x40000, 0x80000), Range(0xA0800, RAM_BYTES)])


@pytest.fixture
def memory():
    fd = os.memfd_create("ram")
    os.ftruncate(fd, RAM_BYTES)
    with GuestMemory([Segment(Range(0, RAM_BYTES), fd, 0)]) as memory:
        os.close(fd)
        yield memory


def keep(memory):
    return KeptMemory(memory, KEEP)


def test_an_overwritten_page_is_put_back_and_counted(memory):
    memory.write(0x41000, b"the crashed kernel's")
    kept = keep(memory)
    memory.write(0x41004, b"SLOF")
    assert kept.put_back(RangeSet()) == 0x1000  # the one page of it that was populated
    assert memory.read(0x41000, 20) == b"the crashed kernel's"
    kept.close()


def test_an_image_over_memory_that_is_kept_is_refused_with_its_place_and_size(memory):
    kept = keep(memory)
    kept.check(RangeSet([Range(0, 0x40000), Range(0x80000, 0xA0800)]))
    images = RangeSet([Range(0x70000, 0x90000), Range(0xFF000, RAM_BYTES)])
    with pytest.raises(MachineError, match=r"over 68\.0 KiB of the crashed kernel's memory, from 0x70000 on"):
        kept.check(images)
    kept.close()


def test_untouched_memory_costs_nothing(memory):
    memory.write(0x41000, b"kept")
    kept = keep(memory)
    assert kept.put_back(RangeSet()) == 0
    assert memory.populated(Range(0, RAM_BYTES)).size_bytes <= 0x1000
    kept.close()


def test_zeros_that_take_memory_in_the_guest_take_none_here(memory):
    memory.write(0x40000, bytes(0x40000))
    memory.write(0x7FFFF, b"x")
    kept = keep(memory)
    assert kept.stored_bytes <= 0x10000
    memory.write(0x40000, b"SLOF")
    kept.put_back(RangeSet())
    assert memory.read(0x40000, 0x40000).strip(b"\0") == b"x"
    kept.close()


def test_what_was_a_hole_reads_as_zeros_again(memory):
    kept = keep(memory)
    memory.write(0xF0000, b"SLOF's stack")
    kept.put_back(RangeSet())
    assert memory.read(0xF0000, 12) == bytes(12)
    kept.close()


def test_live_memory_and_memory_that_was_not_to_be_kept_stay_as_they_are(memory):
    kept = keep(memory)
    memory.write(0x10000, b"kernel")
    memory.write(0x7F000, b"RTAS")
    memory.write(0xA0700, bytes(range(256)) * 2)
    kept.put_back(RangeSet([Range(0x7F000, 0x80000)]))
    assert memory.read(0x10000, 6) == b"kernel"
    assert memory.read(0x7F000, 4) == b"RTAS"
    assert memory.read(0xA0700, 0x200) == bytes(range(256)) + bytes(256)
    kept.close()


writes = st.lists(st.tuples(st.integers(0, RAM_BYTES - 64), st.binary(min_size=1, max_size=64)), max_size=12)
lives = st.builds(
    lambda start, size: RangeSet([Range.sized(start, size)]), st.integers(0, 0xF0000), st.integers(0, 0x9000)
)


@settings(max_examples=60)
@given(writes, writes, lives)
def test_every_byte_is_either_kept_or_new(before, after, live):
    fd = os.memfd_create("ram")
    os.ftruncate(fd, RAM_BYTES)
    with GuestMemory([Segment(Range(0, RAM_BYTES), fd, 0)]) as memory:
        os.close(fd)
        for address, data in before:
            memory.write(address, data)
        old = memory.read(0, RAM_BYTES)
        kept = KeptMemory(memory, KEEP)
        for address, data in after:
            memory.write(address, data)
        expected = bytearray(memory.read(0, RAM_BYTES))
        kept.put_back(live)
        kept.close()
        for piece in KEEP - live:
            expected[piece.start : piece.end] = old[piece.start : piece.end]
        assert memory.read(0, RAM_BYTES) == expected

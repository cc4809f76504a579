"""What a capture boot touches of its boot memory, in pieces of 64 KiB."""

import os

import pytest

from fadump.memory.guest import GuestMemory, Segment
from fadump.memory.ranges import Range, RangeSet
from fadump.observer import Seen, Unwatched
from fadump.systems.size.touched import TouchedMemory

PIECE = 0x10000
BOOT_MEMORY = Range(0, 32 * PIECE)


class Dump:
    boot_memory = RangeSet([BOOT_MEMORY])


class Told(Unwatched):
    def __init__(self):
        self.told = []

    def seen(self, seen, at_seconds):
        self.told.append((seen, at_seconds))


@pytest.fixture
def memory():
    fd = os.memfd_create("guest")
    os.ftruncate(fd, 64 * PIECE)
    with GuestMemory([Segment(Range(0, 64 * PIECE), fd, 0)]) as opened:
        yield opened
    os.close(fd)


def test_pieces_that_differ_at_the_invalidation_are_touched(memory):
    memory.write(0, b"old" * 1000)
    memory.write(5 * PIECE, b"old" * 1000)
    memory.write(8 * PIECE, b"old" * 1000)
    touched = TouchedMemory(Unwatched(), memory)
    touched.preserved(Dump, 1.0)
    touched.seen(Seen.CAPTURE_BOOT, 2.0)
    assert touched.touched_bytes is None
    memory.write(5 * PIECE - 1, b"xy")  # of two pieces
    memory.write(20 * PIECE + 0x8000, b"new")  # where nothing was
    memory.discard(Range(8 * PIECE, 9 * PIECE))  # zeros are something else
    memory.write(0, b"old")  # as it was
    memory.write(40 * PIECE, b"not boot memory")
    touched.seen(Seen.INVALIDATED, 3.0)
    assert touched.touched_bytes == 4 * PIECE


def test_only_the_first_capture_boot_of_a_dump_counts(memory):
    touched = TouchedMemory(Unwatched(), memory)
    touched.preserved(Dump, 1.0)
    memory.write(0, b"x")
    touched.seen(Seen.CAPTURE_BOOT, 2.0)
    memory.write(3 * PIECE, b"x")
    touched.seen(Seen.INVALIDATED, 3.0)
    memory.write(4 * PIECE, b"x")
    touched.seen(Seen.INVALIDATED, 4.0)
    assert touched.touched_bytes == PIECE


def test_an_observer_behind_it_is_told_everything(memory):
    told = Told()
    touched = TouchedMemory(told, memory)
    touched.seen(Seen.REGISTERED, 1.5)
    touched.preserved(Dump, 2.0)
    touched.seen(Seen.CAPTURE_BOOT, 2.5)
    assert told.told == [(Seen.REGISTERED, 1.5), (Seen.CAPTURE_BOOT, 2.5)]

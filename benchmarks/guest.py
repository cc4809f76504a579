"""Guest memory for benchmarks: memfd segments as a QEMU machine has them, filled as a guest would."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

from fadump.memory.guest import GuestMemory, Segment
from fadump.memory.ranges import Range

PAGE_BYTES = 0x10000
"""Memory is populated in pieces of this size: a kernel with 64K pages does."""


@contextmanager
def guest_memory(size_bytes: int) -> Iterator[tuple[GuestMemory, int]]:
    """Memory from address 0, all of it a hole, and the file behind it."""
    fd = os.memfd_create("fadump-benchmark")
    try:
        os.ftruncate(fd, size_bytes)
        with GuestMemory([Segment(Range(0, size_bytes), fd, 0)]) as memory:
            yield memory, fd
    finally:
        os.close(fd)


def populate(fd: int, piece: Range, percent: int) -> int:
    """Fill ``percent`` of a range's pages, evenly spread, as the guest would: behind our mapping's back.

    Returns how many bytes that were.
    """
    page = os.urandom(PAGE_BYTES)
    filled = 0
    for index, at in enumerate(range(piece.start, piece.end, PAGE_BYTES)):
        if (index + 1) * percent // 100 > index * percent // 100:
            filled += os.pwrite(fd, page[: piece.end - at], at)
    return filled

"""Saving /proc/vmcore to the guest's disk: untouched memory stays a hole.

Step "saved" of docs/architecture.md, on the embedded machine.
"""

import os
from collections.abc import Iterator

from fadump.kernel.vmcore import VmCore
from fadump.memory.guest import GuestMemory
from fadump.memory.ranges import Range, RangeSet

_CHUNK_BYTES = 8 << 20


def save_vmcore(vmcore: VmCore, memory: GuestMemory, disk_fd: int) -> None:
    """Write the file from the disk's first byte on; whatever stood on the disk is gone. Ends with fsync(2).

    :raises OSError: the disk can't be written to.
    """
    disk_bytes = os.fstat(disk_fd).st_size
    os.ftruncate(disk_fd, 0)
    os.ftruncate(disk_fd, disk_bytes)
    save_file(vmcore, memory, disk_fd, 0)


def save_file(vmcore: VmCore, memory: GuestMemory, disk_fd: int, offset: int) -> None:
    """Write the file to the disk from ``offset`` on, where nothing but holes has stood. Ends with fsync(2).

    :raises OSError: the disk can't be written to.
    """
    _write(disk_fd, vmcore.head, offset)
    for piece in vmcore.pieces:
        for part in _there(memory, Range.sized(piece.address, piece.size_bytes)):
            for at in range(part.start, part.end, _CHUNK_BYTES):
                data = memory.read(at, min(_CHUNK_BYTES, part.end - at))
                _write(disk_fd, data, offset + piece.offset + at - piece.address)
    os.fsync(disk_fd)


def _there(memory: GuestMemory, wanted: Range) -> Iterator[Range]:
    """What is memory, and has been written to."""
    for part in memory.ram & RangeSet([wanted]):
        yield from memory.populated(part)


def _write(disk_fd: int, data: bytes, offset: int) -> None:
    view = memoryview(data)
    while view:
        written = os.pwrite(disk_fd, view, offset)
        view, offset = view[written:], offset + written

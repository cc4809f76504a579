"""Files that a guest reads off its own disk: too large for the guest channel, and not wanted in every initramfs."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fadump.errors import SetupError, naming
from fadump.machine.channel import LoadKdump
from fadump.memory.ranges import Range

_ALIGN_BYTES = 1 << 20


@contextmanager
def lent_on_disk(disk_fd: int, kernel: Path, initrd: Path) -> Iterator[LoadKdump]:
    """Put both at the end of the disk, each at a whole MiB; at the end of the context the disk is empty.

    The guest must not use its disk meanwhile, but to read them.

    :raises SetupError: a file can't be read, or the disk is too small.
    :raises OSError: there is no room.
    """
    disk_bytes = os.fstat(disk_fd).st_size
    end = disk_bytes
    places = []
    try:
        for path in (initrd, kernel):
            data = _read(path)
            end = (end - len(data)) // _ALIGN_BYTES * _ALIGN_BYTES
            if end < 0:
                raise SetupError(f"{path} does not fit on the guest's disk of {disk_bytes} bytes")
            with naming("the guest's disk"):
                _write(disk_fd, data, end)
            places.append(Range.sized(end, len(data)))
        yield LoadKdump(kernel=places[1], initrd=places[0])
    finally:
        os.ftruncate(disk_fd, 0)
        os.ftruncate(disk_fd, disk_bytes)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise SetupError(f"{path} can't be read for the guest's crash kernel: {error.strerror}") from error


def _write(fd: int, data: bytes, at: int) -> None:
    left = memoryview(data)
    while left:
        written = os.pwrite(fd, left, at)
        left, at = left[written:], at + written

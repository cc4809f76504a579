"""Where a file has data, and where it has holes, which read as zeros.

Used by every step of docs/architecture.md that reads all memory: guest memory, its copy and dumps are sparse files.
See lseek(2), SEEK_DATA and SEEK_HOLE.
"""

import errno
import os
from collections.abc import Iterator

from fadump.memory.ranges import Range


def data_ranges(fd: int, wanted: Range) -> Iterator[Range]:
    """The offsets within ``wanted`` that are not in a hole; all of them if the file system doesn't support holes.

    :raises OSError: the file can't be read.
    """
    at = wanted.start
    while at < wanted.end:
        start = first_data(fd, at)
        if start is None or start >= wanted.end:
            return
        hole = _seek(fd, start, os.SEEK_HOLE)
        at = wanted.end if hole is None else min(hole, wanted.end)
        yield Range(start, at)


def first_data(fd: int, offset: int) -> int | None:
    """Where data begins from ``offset`` on; None if there is none. The end of the data isn't searched.

    :raises OSError: the file can't be read.
    """
    return _seek(fd, offset, os.SEEK_DATA)


def _seek(fd: int, offset: int, whence: int) -> int | None:
    """The offset of the next data or hole; None if the file has no more."""
    try:
        return os.lseek(fd, offset, whence)
    except OSError as error:
        if error.errno == errno.ENXIO:
            return None
        if error.errno in {errno.EINVAL, errno.EOPNOTSUPP}:
            return offset if whence == os.SEEK_DATA else None
        raise

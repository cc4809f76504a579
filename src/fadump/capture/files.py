"""The file operations that saving is made of: all that stands between a writer and a disk.

Step "saved" of docs/architecture.md. A test replaces :data:`HOST` by a :class:`Files` that fails, or that loses what
was never made durable. Everything that a writer does to a disk goes through here, from one thread.
"""

import errno
import os
from contextlib import suppress
from pathlib import Path
from typing import Protocol

from fadump.file_systems import fsync_directory

Bytes = bytes | bytearray | memoryview


class Files(Protocol):
    """What a writer asks of a system. Every call may raise OSError."""

    def open(self, path: Path, flags: int, mode: int) -> int:
        """See open(2)."""

    def write(self, fd: int, data: Bytes) -> int:
        """How many bytes were written where the last write ended, maybe fewer than asked; see write(2)."""

    def pwrite(self, fd: int, data: Bytes, offset: int) -> int:
        """How many bytes were written from ``offset`` on, maybe fewer than asked; see pwrite(2)."""

    def allocate(self, fd: int, offset: int, length: int) -> None:
        """Give the file disk space for ``length`` bytes, which read as zeros; see posix_fallocate(3)."""

    def write_out(self, fd: int, offset: int, length: int) -> None:
        """Hint that these bytes may go to the disk now and needn't be kept in memory. Nothing is guaranteed."""

    def reread(self, fd: int) -> None:
        """Have the file read from the disk from now on, not from memory, which may have what the disk never got."""

    def truncate(self, fd: int, length: int) -> None:
        """See ftruncate(2)."""

    def fsync(self, fd: int) -> None:
        """Everything written to the file is durable when this returns; see fsync(2)."""

    def close(self, fd: int) -> None:
        """See close(2)."""

    def rename(self, source: Path, destination: Path) -> None:
        """See rename(2)."""

    def unlink(self, path: Path) -> None:
        """See unlink(2)."""

    def fsync_directory(self, path: Path) -> None:
        """What happened to names in the directory ``path`` is durable when this returns."""


class HostFiles:
    """The host's own files."""

    def open(self, path: Path, flags: int, mode: int) -> int:
        return os.open(path, flags | os.O_CLOEXEC, mode)

    def write(self, fd: int, data: Bytes) -> int:
        return os.write(fd, data)

    def pwrite(self, fd: int, data: Bytes, offset: int) -> int:
        return os.pwrite(fd, data, offset)

    def allocate(self, fd: int, offset: int, length: int) -> None:
        try:
            os.posix_fallocate(fd, offset, length)
        except OSError as error:
            if error.errno not in (errno.EOPNOTSUPP, errno.EINVAL):  # neither the file system nor the C library can
                raise

    def write_out(self, fd: int, offset: int, length: int) -> None:
        """Advise DONTNEED: Linux starts writing what isn't written yet, and drops what is (mm/fadvise.c)."""
        with suppress(OSError):  # a hint; a pipe can't take it
            os.posix_fadvise(fd, offset, length, os.POSIX_FADV_DONTNEED)

    def reread(self, fd: int) -> None:
        """Advise DONTNEED: Linux drops what isn't dirty (posix_fadvise(2)), unless the disk is memory."""
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)

    def truncate(self, fd: int, length: int) -> None:
        os.ftruncate(fd, length)

    def fsync(self, fd: int) -> None:
        os.fsync(fd)

    def close(self, fd: int) -> None:
        os.close(fd)

    def rename(self, source: Path, destination: Path) -> None:
        source.rename(destination)

    def unlink(self, path: Path) -> None:
        path.unlink()

    def fsync_directory(self, path: Path) -> None:
        fsync_directory(path)


HOST = HostFiles()


def write_all(files: Files, fd: int, data: Bytes, offset: int | None = None) -> None:
    """Write all of ``data`` from ``offset`` on, or where the last write ended, however many calls that takes.

    :raises OSError: the file system failed; EINTR is no failure.
    """
    rest = memoryview(data)
    while rest:
        try:
            written = files.write(fd, rest) if offset is None else files.pwrite(fd, rest, offset)
        except InterruptedError:
            continue
        rest = rest[written:]
        if offset is not None:
            offset += written


def fsync_file(files: Files, fd: int) -> None:
    """Make a file durable. An error is final: Linux forgets which pages it couldn't write (fsync(2), BUGS).

    :raises OSError: as fsync(2), but for EINTR.
    """
    while True:
        try:
            files.fsync(fd)
        except InterruptedError:
            continue
        return

"""The bytes of a dump file, read from the file itself or unflattened.

A short read is an error. Reads use pread(2), views a mapping (mmap(2)): if the file is made shorter meanwhile, a read
is an error and using a view ends the process (SIGBUS). A disk that can't read is an error for both.
"""

import ctypes
import errno
import mmap
import os
import stat
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Protocol

import numpy as np

from fadump.errors import FadumpError, FormatError, ReadError
from fadump.memory.holes import data_ranges, first_data
from fadump.memory.ranges import Range
from fadump.vmcore.contract import Bytes

StrPath = str | os.PathLike[str]

_MADV_POPULATE_READ = 22
_EHWPOISON = 133
MOST_POPULATED_BYTES = 16 << 20
"""Views up to this size are read at once. Larger ones may be used only in part, so they aren't: if the disk can't read
them, using them ends the process (SIGBUS)."""
_madvise = ctypes.CDLL(None, use_errno=True).madvise
_madvise.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
_PIECE_BYTES = 256 << 10
"""Reads are made in pieces that fit into the processor's cache."""


_ZEROS = np.zeros(MOST_POPULATED_BYTES, np.uint8)
_ZEROS.flags.writeable = False


class Source(Protocol):
    """``size_bytes`` bytes that can be read at any offset."""

    size_bytes: int

    def read(self, offset: int, length: int, what: str) -> bytes:
        """Read ``length`` bytes from ``offset``; ``what`` names them in errors.

        :raises FormatError: the file doesn't have all of them, or no longer has them.
        :raises ReadError: the disk can't read them.
        """

    def read_into(self, offset: int, buffer: memoryview, what: str) -> None:
        """Fill ``buffer`` with the bytes from ``offset``; errors as for :meth:`read`."""

    def check_has(self, offset: int, length: int, what: str) -> None:
        """Check that there are ``length`` bytes at ``offset``.

        :raises FormatError: there aren't.
        """

    def data_ranges(self, wanted: Range) -> Iterator[Range]:
        """Those of the ``wanted`` bytes that may be anything but zeros; errors as for :meth:`read`."""

    def next_data(self, offset: int) -> int:
        """Where the first byte is from ``offset`` on that may be anything but a zero; ``size_bytes``: there is none."""

    def view(self, offset: int, length: int) -> Bytes | None:
        """The same bytes without a copy; None if that is impossible. ``length`` isn't 0."""

    def close(self) -> None:
        """Close the file; views stay valid. May be called twice."""


def open_file(path: StrPath) -> int:
    """Open a file or a disk for reading; the caller owns the descriptor.

    :raises FadumpError: it is something else, such as a directory or a pipe, which may never have any bytes.
    :raises OSError: it can't be opened.
    """
    if os.fspath(path) == "-":
        raise FadumpError("a dump isn't read from standard input: save it to a file first (a file named - is ./-)")
    fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)  # don't wait for a pipe's writer
    mode = os.fstat(fd).st_mode
    if not (stat.S_ISREG(mode) or stat.S_ISBLK(mode)):
        os.close(fd)
        what = (
            "a directory: name a file in it"
            if stat.S_ISDIR(mode)
            else "neither a file nor a disk: save it to one first"
        )
        raise FadumpError(f"{os.fspath(path)} is {what}")
    return fd


class FileSource:
    """A file, a block device or /proc/vmcore."""

    def __init__(self, fd: int, name: str = "the file") -> None:
        """This object owns ``fd`` from now on, unless this fails; ``name`` is for errors.

        :raises OSError: the file has no size.
        """
        self._name = name
        self.size_bytes = os.lseek(fd, 0, os.SEEK_END)
        self._fd = fd
        self._map: mmap.mmap | None = None
        self._populated = Range(0, 0)
        """The contiguous range that was viewed last, which needn't be read again."""
        self._can_map = self.size_bytes > 0 and not _is_in_proc(fd)

    def read(self, offset: int, length: int, what: str) -> bytes:
        if offset < 0 or length < 0 or offset + length > self.size_bytes:
            self.check_has(offset, length, what)
        try:
            data = os.pread(self._fd, length, offset)
        except OSError as error:
            raise ReadError(self._name, offset, length, error) from error
        if len(data) == length:
            return data
        buffer = bytearray(length)
        self.read_into(offset, memoryview(buffer), what)
        return bytes(buffer)

    def read_into(self, offset: int, buffer: memoryview, what: str) -> None:
        self.check_has(offset, len(buffer), what)
        done = 0
        while done < len(buffer):
            piece = buffer[done : done + _PIECE_BYTES]
            try:
                count = os.preadv(self._fd, [piece], offset + done)
            except OSError as error:
                raise ReadError(self._name, offset + done, len(piece), error) from error
            if not count:
                raise FormatError(f"{what} has gone: the file was made shorter meanwhile", offset=offset + done)
            done += count

    def check_has(self, offset: int, length: int, what: str) -> None:
        check_has(self, offset, length, what)

    def data_ranges(self, wanted: Range) -> Iterator[Range]:
        """The parts of ``wanted`` that aren't in a hole of the file."""
        try:
            there = os.lseek(self._fd, 0, os.SEEK_END)
            if there < min(wanted.end, self.size_bytes):
                raise FormatError("file has gone: it was made shorter meanwhile", offset=there)
            yield from data_ranges(self._fd, wanted)
        except OSError as error:
            raise ReadError(self._name, wanted.start, wanted.size_bytes, error) from error

    def next_data(self, offset: int) -> int:
        """Where the hole at ``offset`` ends, or ``offset`` itself: in no time, as the end of data isn't searched."""
        try:
            found = first_data(self._fd, offset)
        except OSError as error:
            raise ReadError(self._name, offset, 1, error) from error
        return self.size_bytes if found is None else found

    def view(self, offset: int, length: int) -> Bytes | None:
        """The bytes without a copy; None for a file that can't be mapped.

        :raises ReadError: the disk can't read what is viewed.
        """
        self.check_has(offset, length, "view")
        if self._map is None and self._can_map:
            try:
                self._map = mmap.mmap(self._fd, self.size_bytes, prot=mmap.PROT_READ)
            except (OSError, ValueError, OverflowError):  # /proc/vmcore in its own format, or too large
                self._can_map = False
        if self._map is None:
            return None
        view = np.frombuffer(self._map, np.uint8, length, offset)
        here, known = Range.sized(offset, length), self._populated
        if length <= MOST_POPULATED_BYTES and not known.contains(here):
            try:
                data_at = first_data(self._fd, offset)  # not where it ends: tmpfs looks at every page for that
                if data_at is None or data_at >= here.end:
                    return _ZEROS[:length]  # a hole: reading it would fill the page cache with zeros
                _populate(view)
            except OSError as error:
                raise ReadError(self._name, offset, length, error) from error
            touches = here.start <= known.end and known.start <= here.end
            self._populated = Range(min(here.start, known.start), max(here.end, known.end)) if touches else here
        return view

    def close(self) -> None:
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)
        mapped, self._map, self._can_map = self._map, None, False
        if mapped is not None:
            with suppress(BufferError):  # a view is still in use: the mapping is freed with it
                mapped.close()


def _is_in_proc(fd: int) -> bool:
    """Whether it is /proc/vmcore. When that is mapped, Linux makes page tables for all of it at once (fs/proc/vmcore.c,
    mmap_vmcore()), which can take more than a capture kernel's memory."""
    try:
        return os.fstat(fd).st_dev == Path("/proc").stat().st_dev
    except OSError:
        return False


def _populate(view: Bytes) -> None:
    """Have a mapping read now, so that an error of the disk is an exception and doesn't end the process.

    Linux before 4ca9b3859dac (v5.14) can't do this; nothing is done there.

    :raises OSError: it can't be read.
    """
    start = view.ctypes.data // mmap.PAGESIZE * mmap.PAGESIZE
    if _madvise(start, view.ctypes.data + view.nbytes - start, _MADV_POPULATE_READ):
        code = ctypes.get_errno()
        if code in (errno.EFAULT, _EHWPOISON):
            raise OSError(errno.EIO, os.strerror(errno.EIO))


def check_has(source: Source, offset: int, length: int, what: str) -> None:
    """Check that ``source`` has ``length`` bytes from ``offset``.

    :raises FormatError: it doesn't.
    """
    if offset < 0 or length < 0 or offset + length > source.size_bytes:
        there = max(0, source.size_bytes - offset)
        raise FormatError(f"{what} cut short", offset=offset, expected=length, found=there)


def data_or_all(source: Source, wanted: Range) -> Iterator[Range]:
    """What of ``wanted`` isn't in a hole. If that can't be found out, all of it: reading it then gives the error."""
    at = wanted.start
    try:
        for data in source.data_ranges(wanted):
            yield data
            at = data.end
    except (OSError, FormatError):
        yield Range(at, wanted.end)

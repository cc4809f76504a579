"""Where a dump goes: a file that gets its name only once it is whole, or a stream.

Step "saved" of docs/architecture.md. A writer puts bytes at offsets and sets barriers: what was written before one is
durable before anything that is written behind it, so that an index never refers to bytes that a power cut has taken.
A file is called ``DST.incomplete`` until :meth:`FileTarget.publish`. A stream is makedumpfile's flattened format
(see :mod:`fadump.vmcore.flattened`): of a stream that broke off, a reader has the beginning, in order.
"""

import errno
import fcntl
import os
import stat
from collections.abc import Iterable, Iterator
from contextlib import suppress
from io import RawIOBase
from pathlib import Path
from typing import Protocol

from fadump.capture.files import Bytes, Files, fsync_file, write_all
from fadump.errors import FadumpError, SetupError, unwritable
from fadump.file_systems import lock_at_once
from fadump.vmcore.flattened import END_OF_STREAM, encode_record, encode_stream_header
from fadump.vmcore.source import FileSource, Source

_PRIVATE = 0o600
_NO_FILES = (errno.EMFILE, errno.ENFILE)
_PIECE_BYTES = 1 << 20
_WRITE_OUT_BYTES = 8 << 20
"""So much is written before the disk is told to begin."""


class SaveError(FadumpError):
    """A dump that couldn't be saved; the sentence says what is left of it and what to do.

    ``why`` is without that, for a caller who does something else; None: there is no shorter one.
    """

    def __init__(self, sentence: str, why: str | None = None) -> None:
        super().__init__(sentence)
        self.why = why


class Target(Protocol):
    """What a writer writes to. Every call may raise OSError."""

    barriers_are_free: bool
    """Whether barriers cost nothing, so that there may be as many as one likes."""

    def clear(self) -> None:
        """Start over: drop all that was written before."""

    def write(self, offset: int, data: Bytes) -> None:
        """Put ``data`` at ``offset``."""

    def allocate(self, offset: int, length: int) -> None:
        """Make sure that there is room for ``length`` bytes from ``offset`` on; until written they are zeros."""

    def barrier(self) -> None:
        """What was written before is durable before what is written after."""

    def close(self) -> None:
        """Close it as it is. May be called twice."""


class FileTarget:
    """A file on its way to the name ``path``."""

    barriers_are_free = False

    def __init__(self, path: Path, files: Files, *, continued: bool = False) -> None:
        """Make ``path.incomplete``; with ``continued`` go on with the one that is there, or with ``path`` itself.

        :raises SetupError: it can't be made, is there already, is not a file of ours, or another process is writing it.
        :raises DiskError: it can't be made, as the disk is full or has failed.
        """
        self.path = path
        self.incomplete = incomplete_name(path)
        self._name = path if continued and os.path.lexists(path) else self.incomplete
        self._files = files
        self._written_out = self._written = 0
        self.has_begun = continued and os.path.lexists(self._name)
        """Whether there is anything of a dump in it."""
        self._lost: OSError | None = None
        self._fd = self._open()
        try:
            self._take()
        except SetupError:
            self.has_begun = True  # it isn't ours, so it must not be removed
            self.close()
            raise
        except BaseException:
            self.close()
            raise

    @property
    def fd(self) -> int:
        """For another writer, such as a guest whose disk it is, which has to set ``has_begun`` too."""
        return self._fd

    def _open(self) -> int:
        flags = os.O_NOFOLLOW if self.has_begun else os.O_CREAT | os.O_EXCL
        try:
            return self._files.open(self._name, os.O_RDWR | os.O_NONBLOCK | flags, _PRIVATE)
        except FileExistsError:
            # Destination has found none before, so that this one is no remainder
            raise SetupError(
                f"{self._name} has just been made by another process: wait, or name another file"
            ) from None
        except OSError as error:
            if error.errno == errno.ELOOP:
                raise self._no_file() from None
            if not self.path.parent.is_dir():
                raise SetupError(f"there is no directory {self.path.parent} to save to") from None
            if self.has_begun:
                raise unwritable(error)(f"can't go on with {self._name}: {error.strerror}") from error
            what_next = "raise the limit (ulimit -n)" if error.errno in _NO_FILES else "name a file elsewhere"
            raise unwritable(error)(f"can't make {self._name}: {error.strerror}: {what_next}") from error

    def _take(self) -> None:
        """Make sure that it is a file, and that nobody else writes it."""
        if not stat.S_ISREG(os.fstat(self._fd).st_mode):
            raise self._no_file()
        if not lock_at_once(self._fd):
            raise SetupError(f"another process is writing {self._name}: wait, or name another file")
        if not _is_called(self._fd, self._name):
            raise SetupError(f"another process has just finished {self._name}: look at {self.path}")
        with suppress(OSError):  # there are file systems without modes
            os.fchmod(self._fd, _PRIVATE)

    def _no_file(self) -> SetupError:
        return SetupError(f"{self._name} is not a file: remove it, and save without --continue")

    def read_back(self) -> Source:
        """What is in it."""
        return FileSource(os.dup(self._fd), str(self._name))

    def take_back(self) -> None:
        """Have a file that has its name already be incomplete again, before anything is done to it."""
        if self._name != self.incomplete:
            self._files.rename(self._name, self.incomplete)
            self._files.fsync_directory(self.path.parent)
            self._name = self.incomplete

    def clear(self) -> None:
        self._lost = None
        self.truncate(0)

    def write(self, offset: int, data: Bytes) -> None:
        write_all(self._files, self._fd, data, offset)
        self.has_begun = True
        self._written = max(self._written, offset + len(data))
        if self._written - self._written_out >= _WRITE_OUT_BYTES:
            # the piece before is on the disk by now and can leave memory
            start = max(0, self._written_out - _WRITE_OUT_BYTES)
            self._files.write_out(self._fd, start, self._written - start)
            self._written_out = self._written

    def allocate(self, offset: int, length: int) -> None:
        if length:
            self._files.allocate(self._fd, offset, length)

    def truncate(self, length: int) -> None:
        """Cut the file to ``length`` bytes, durably: what follows must never be read with what was there."""
        self._files.truncate(self._fd, length)
        self.barrier()
        self._written = self._written_out = length

    def barrier(self) -> None:
        """Make what is written durable. Once this has failed, it fails until :meth:`clear`: fsync(2) would succeed."""
        if self._lost is not None:
            raise OSError(self._lost.errno, self._lost.strerror)
        try:
            fsync_file(self._files, self._fd)
        except OSError as error:
            self._lost = error
            raise

    def settle(self) -> None:
        """Make durable what can be, and have only that read: after a failed fsync(2) memory still has what is lost."""
        self.barrier()
        self._files.reread(self._fd)

    def publish(self) -> None:
        """Give a file that is whole and durable its name, and make that durable.

        :raises OSError: the file system failed; the file has either name.
        """
        self._files.rename(self.incomplete, self.path)
        self._files.fsync_directory(self.path.parent)

    def close(self) -> None:
        """Close the file; one that has nothing in it is removed."""
        fd, self._fd = self._fd, -1
        if fd < 0:
            return
        try:
            if not self.has_begun:
                with suppress(OSError):
                    self._files.unlink(self._name)
        finally:
            with suppress(OSError):  # what counts is durable by now, or marked as incomplete
                self._files.close(fd)


class StreamTarget:
    """A flattened stream to an open descriptor, which stays the caller's."""

    barriers_are_free = True

    def __init__(self, fd: int, files: Files) -> None:
        """Write the stream's own header.

        :raises OSError: nobody reads.
        """
        self._fd = fd
        self._files = files
        write_all(files, fd, encode_stream_header())

    def clear(self) -> None:
        """Do nothing: a stream can't take back what is written."""

    def write(self, offset: int, data: Bytes) -> None:
        if data:
            write_all(self._files, self._fd, encode_record(offset, len(data)))
            write_all(self._files, self._fd, data)

    def allocate(self, offset: int, length: int) -> None:
        """Do nothing: what is not in a stream reads as zeros."""

    def barrier(self) -> None:
        """Do nothing: a stream is in order."""

    def publish(self) -> None:
        """Say that the stream ends here."""
        write_all(self._files, self._fd, END_OF_STREAM)

    def close(self) -> None:
        """Do nothing: the descriptor is the caller's."""


def is_being_written(path: Path) -> bool:
    """Whether a save is writing to a file at the moment; False if that can't be found out."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        return not lock_at_once(fd, fcntl.LOCK_SH)
    except OSError:
        return False
    finally:
        os.close(fd)


def _is_called(fd: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(fd), path.stat())
    except FileNotFoundError:
        return False


def write_text(path: Path, text: bytes, files: Files) -> None:
    """Write a small file durably, in the place of an earlier one: at any time there is one of them, whole.

    :raises OSError: it can't be written.
    """
    _write_pieces(path, [text], files)


def copy_file(source: Path, path: Path, files: Files) -> None:
    """Copy a file durably, likewise.

    :raises OSError: it can't be read or written.
    """
    with source.open("rb", buffering=0) as file:
        _write_pieces(path, pieces(file), files)


def pieces(file: RawIOBase) -> Iterator[bytes]:
    """What a file has, in pieces of a bounded size."""
    while piece := file.read(_PIECE_BYTES):
        yield piece


def _write_pieces(path: Path, data: Iterable[bytes], files: Files) -> None:
    incomplete = incomplete_name(path)
    with suppress(FileNotFoundError):
        files.unlink(incomplete)
    fd = files.open(incomplete, os.O_WRONLY | os.O_CREAT | os.O_EXCL, _PRIVATE)
    try:
        try:
            offset = 0
            for piece in data:
                write_all(files, fd, piece, offset)
                offset += len(piece)
            fsync_file(files, fd)
        finally:
            files.close(fd)
    except OSError:
        with suppress(OSError):  # the error to report is the one of writing
            files.unlink(incomplete)
        raise
    files.rename(incomplete, path)
    files.fsync_directory(path.parent)


def incomplete_name(path: Path) -> Path:
    """What a dump is called until it is whole."""
    return path.with_name(path.name + ".incomplete")

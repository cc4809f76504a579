"""The embedded machine as a tree of files: what a process in its guest finds at /sys and /proc in the current boot.

Used in every step of docs/architecture.md that involves user space. There is no FUSE here: :mod:`fadump.mount.fuse`
serves the tree. The kernel's files are those of :mod:`fadump.kernel.files.sysfs`; this module has the directories
around them, what opening, reading and writing them does, and when one boot ends and the next begins: writing ``c`` to
/proc/sysrq-trigger crashes the machine, ``b`` resets it, and the write returns in the next boot.

Errors are Linux's, as OSError: fs/kernfs/file.c, fs/proc/inode.c, fs/debugfs/file.c. A file of an earlier boot is
ENODEV in /sys and EIO in /proc, as if it had been removed while it was open. Everything is thread-safe.
"""

import errno
import os
import posixpath
import stat
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol, TypeVar

from fadump.errors import FadumpError
from fadump.kernel.files.sysfs import Entry, FileSystem, KernelFile, KernelLink
from fadump.machine.channel import Crash, Crashing, FileWritten, Hello, Report, Request
from fadump.machine.embedded.guest import SYSRQ_TRIGGER
from fadump.machine.embedded.machine import EmbeddedMachine

_DIRECTORY_MODES = {"/": 0o755, "/sys": 0o555, "/proc": 0o555, "/sys/kernel/debug": 0o700}
_GONE = {FileSystem.SYSFS: errno.ENODEV, FileSystem.DEBUGFS: errno.ENODEV, FileSystem.PROC: errno.EIO}


_R = TypeVar("_R", bound=Report)


class Served(Protocol):
    """Serves the machine while its guest works: :class:`fadump.session.Session`."""

    def ask(self, request: Request, answer: type[_R]) -> _R:
        """Send the guest a request and wait for its report of type ``answer``."""

    def expect(self, answer: type[_R]) -> _R:
        """Serve the machine until the guest sends a report of type ``answer``."""


@dataclass(frozen=True, slots=True)
class Attributes:
    """stat(2)'s ``mode``, with the file's type, and ``size_bytes``."""

    mode: int
    size_bytes: int = 0


class MachineFiles:
    """The tree. Paths are absolute; create it after the ``hello`` of the machine's first boot.

    ``crash_cpu`` is the CPU that a crash happens on. ``on_failure`` is called with a sentence when the machine has
    ended, as by a panic of the model: from then on reading and writing fail with EIO.
    """

    def __init__(
        self, machine: EmbeddedMachine, served: Served, crash_cpu: int, on_failure: Callable[[str], None]
    ) -> None:
        self._machine = machine
        self._served = served
        self._crash_cpu = crash_cpu
        self._on_failure = on_failure
        self._lock = threading.RLock()
        self._failed = False
        self._entries: Mapping[str, Entry] = {}
        self._directories: Mapping[str, set[str]] = {}
        self._look()

    def attributes(self, path: str) -> Attributes:
        """:raises OSError: there is no such file."""
        with self._lock:
            if path in self._directories:
                return Attributes(stat.S_IFDIR | _DIRECTORY_MODES.get(path, 0o755))
            match self._entry(path):
                case KernelLink(target=target):
                    return Attributes(stat.S_IFLNK | 0o777, len(target))
                case KernelFile() as file:
                    return _attributes_of(file)

    def names(self, path: str) -> list[str]:
        """The names in a directory.

        :raises OSError: it isn't one.
        """
        with self._lock:
            if path not in self._directories:
                self._entry(path)
                raise _error(errno.ENOTDIR)
            return sorted(self._directories[path])

    def target(self, path: str) -> str:
        """Where a link points.

        :raises OSError: it isn't one.
        """
        entry = self._entry(path)
        if not isinstance(entry, KernelLink):
            raise _error(errno.EINVAL)
        return entry.target

    def open(self, path: str, *, reading: bool, writing: bool, blocking: bool = True) -> "OpenFile":
        """:raises OSError: it can't be opened in this mode, even by root."""
        with self._lock:
            file = self._entry(path)
            if not isinstance(file, KernelFile):
                raise _error(errno.ELOOP)
            if file.file_system is FileSystem.SYSFS and (
                (reading and not (file.mode & 0o444 and file.readable))
                or (writing and not (file.mode & 0o222 and file.store))
            ):
                raise _error(errno.EACCES)
            return OpenFile(self, path, file, self._machine.boot, blocking=blocking)

    def read(self, opened: "OpenFile", offset: int, length: int) -> bytes:
        """Read an open file; Linux's error if it was opened in an earlier boot."""
        with self._lock:
            file = self._still_there(opened)
            if file.read_at is not None:
                return file.read_at(offset, length)
            if file.stream is not None:
                data = file.stream(length)
                if not data and not opened.blocking:
                    raise _error(errno.EAGAIN)
                return data
            if file.show is None:
                raise _error(-file.file_system.misuse)
            if offset == 0 or opened.shown is None:
                opened.shown = file.show()
            return opened.shown[offset : offset + length]

    def seek(self, opened: "OpenFile", offset: int, whence: int) -> int:
        """Where an open file's next data or hole is; see lseek(2), SEEK_DATA and SEEK_HOLE."""
        with self._lock:
            file = self._still_there(opened)
            if not 0 <= offset < file.size_bytes:
                raise _error(errno.ENXIO)
            if file.data_from is None:
                return offset if whence == os.SEEK_DATA else file.size_bytes
            at = offset
            for data in file.data_from(offset):
                if whence == os.SEEK_DATA:
                    return data.start
                if data.start > at:
                    return at
                at = data.end
            if whence == os.SEEK_DATA:
                raise _error(errno.ENXIO)
            return at

    def write(self, opened: "OpenFile", data: bytes) -> int:
        """Write to an open file, which may crash the machine; return the number of bytes written."""
        with self._lock:
            file = self._still_there(opened)
            if file.store is None:
                raise _error(-file.file_system.misuse)
            if not data:
                return 0
            return self._sysrq(data) if opened.path == SYSRQ_TRIGGER else self._store(opened.path, data)

    def has(self, opened: "OpenFile") -> bool:
        """Whether the machine still has an open file."""
        with self._lock:
            return self._current(opened) is not None

    def _store(self, path: str, data: bytes) -> int:
        self._machine.write_file(path, data)
        result = self._run(lambda: self._served.expect(FileWritten)).result
        if result < 0:
            raise _error(-result)
        return result

    def _sysrq(self, data: bytes) -> int:
        """write_sysrq_trigger(): only the first letter counts, or all after an underscore."""
        for letter in data[1:] if data.startswith(b"_") else data[:1]:
            if letter == ord("c"):
                self._run(self._crash)
                break
            if letter == ord("b"):
                self._machine.press_reset()
                self._run(lambda: self._served.expect(Hello))
                break
        return len(data)

    def _crash(self) -> Hello:
        self._served.ask(Crash(self._crash_cpu), Crashing)
        return self._served.expect(Hello)

    def _run(self, story: Callable[[], _R]) -> _R:
        """Let the machine run; its files may have changed afterwards."""
        if self._failed:
            raise _error(errno.EIO)
        try:
            report = story()
        except FadumpError as error:
            self._failed = True
            self._on_failure(str(error))
            raise _error(errno.EIO) from error
        self._look()
        return report

    def _look(self) -> None:
        entries = self._machine.files()
        directories: dict[str, set[str]] = {"/": {"proc", "sys"}, "/proc": set(), "/sys": set()}
        for path in entries:
            while path != "/":
                path, name = posixpath.split(path)  # noqa: PLW2901 - up to the root
                directories.setdefault(path, set()).add(name)
        self._entries, self._directories = entries, directories

    def _entry(self, path: str) -> Entry:
        with self._lock:
            entry = self._entries.get(path)
        if entry is None:
            raise _error(errno.ENOENT)
        return entry

    def _still_there(self, opened: "OpenFile") -> KernelFile:
        file = self._current(opened)
        if file is None:
            raise _error(errno.EIO if self._failed else _GONE[opened.file.file_system])
        return file

    def _current(self, opened: "OpenFile") -> KernelFile | None:
        """The current file of an open one, None if it is gone."""
        file = self._entries.get(opened.path)
        if self._failed or opened.boot != self._machine.boot or not isinstance(file, KernelFile):
            return None
        return file


class OpenFile:
    """One open(2) of a file."""

    def __init__(self, files: MachineFiles, path: str, file: KernelFile, boot: int, *, blocking: bool) -> None:
        self._files = files
        self.path = path
        self.file = file
        self.boot = boot
        self.blocking = blocking
        self.shown: bytes | None = None
        """The file's contents when it was last read from the start."""

    @property
    def is_there(self) -> bool:
        """Whether the machine still has it: it is neither removed nor of an earlier boot."""
        return self._files.has(self)

    @property
    def attributes(self) -> Attributes:
        """fstat(2)'s values, also for a file that is gone."""
        return _attributes_of(self.file)

    def read(self, offset: int, length: int) -> bytes:
        """Read ``length`` bytes from ``offset``, fewer at the end. The log ends where Linux would wait for more of it.

        :raises OSError: as in Linux.
        """
        return self._files.read(self, offset, length)

    def seek(self, offset: int, whence: int) -> int:
        """Where the next data or hole is.

        :raises OSError: as in Linux.
        """
        return self._files.seek(self, offset, whence)

    def write(self, data: bytes) -> int:
        """One write(2), at any offset; return the number of bytes written.

        :raises OSError: as in Linux.
        """
        return self._files.write(self, data)


def _attributes_of(file: KernelFile) -> Attributes:
    return Attributes(stat.S_IFREG | file.mode, file.size_bytes)


def _error(number: int) -> OSError:
    return OSError(number, os.strerror(number))

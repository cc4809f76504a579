"""A mount of the embedded machine's files: FUSE turns system calls into calls of :mod:`.files`.

Used in every step of docs/architecture.md that involves user space. ``host`` adds this host's own files, for a shell in
a mount namespace where the tree is at /proc and /sys: a name that the machine doesn't have is a link into ``.host``, an
empty directory over which the host's own /proc (/sys/kernel, /sys/firmware) is bind-mounted.

Only /proc/vmcore and other images have a real size; that of other files is a page or 0, so they are read without the
page cache (direct_io). The host's kernel checks permissions by the modes.

The host's kernel caches what is read of an image, as it couldn't be mapped otherwise. Before each read(2) it asks for
the file's times, and drops its cache if they have changed (FUSE_AUTO_INVAL_DATA). So an open file that is gone gets
other times, and reading it again fails, as in Linux.
"""

import errno
import os
import posixpath
import signal
import stat
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Protocol

import mfusepy  # type: ignore[import-untyped]

from fadump.errors import SetupError
from fadump.mount.files import Attributes, MachineFiles, OpenFile

HOST_DIRECTORIES = ("/proc", "/sys/kernel", "/sys/firmware")
"""Directories that also have the host's own files."""
HOST = ".host"
_HOST_MOUNTS = frozenset((*(f"{directory}/{HOST}" for directory in HOST_DIRECTORIES), "/proc/sys"))
"""Empty directories to bind-mount the host's own over, including /proc/sys, as sysctl(8) follows no link."""
_HIDDEN = frozenset((
    "/proc/vmcore", "/proc/device-tree", "/sys/firmware/devicetree", "/sys/firmware/opal", "/sys/kernel/fadump",
    "/sys/kernel/fadump_enabled", "/sys/kernel/fadump_registered", "/sys/kernel/fadump_release_mem",
))  # fmt: skip
"""Never the host's own, even if the machine has none: the host may be a Power machine with a dump of its own."""
_OPTIONS = {"entry_timeout": 0, "attr_timeout": 0, "negative_timeout": 0, "max_idle_threads": 10}
"""Nothing is cached, as files come and go. Without the last one, libfuse 3.14 warns about its own default."""
_SECOND = 1_000_000_000


def serve(files: MachineFiles, directory: Path, *, host: bool, on_mounted: Callable[[], None]) -> None:
    """Mount the tree, and return when it is unmounted, or when the process gets SIGINT, SIGTERM or SIGHUP.

    A SIGHUP that is ignored stays ignored. With ``host`` all users of the namespace may use it.

    :raises SetupError: it could not be mounted; libfuse has said why on stderr.
    """
    operations = _Operations(files, on_mounted, host=host)
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGHUP)}
    for number, handler in before.items():
        if handler is not signal.SIG_IGN:
            signal.signal(number, signal.SIG_DFL)  # libfuse sets its own handler
    try:
        _Fuse(
            operations,
            str(directory.absolute()),  # absolute, so that its name can't be an option
            foreground=True,
            raw_fi=True,
            fsname="fadump",
            default_permissions=True,
            allow_other=host,
            **_OPTIONS,
        )
    except RuntimeError as error:
        if not operations.mounted:
            raise SetupError(f"{directory} could not be mounted on; FUSE's message is above") from error
        # ended by a signal
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class _FileInfo(Protocol):
    """The fields of struct fuse_file_info that are used here."""

    flags: int
    fh: int
    direct_io: bool


class _FileInfoPointer(Protocol):
    """A pointer to one, by ctypes."""

    contents: _FileInfo


def _refuse(number: int) -> Callable[..., int]:
    """An operation that no file supports."""

    def operation(*_arguments: object) -> int:
        raise mfusepy.FuseOSError(number)

    return operation


class _Fuse(mfusepy.FUSE):  # type: ignore[misc]  # untyped
    """With SEEK_DATA and SEEK_HOLE, which mfusepy doesn't pass on."""

    def lseek(self, path: bytes, offset: int, whence: int, fip: _FileInfoPointer) -> int:
        """See lseek(2); the host's kernel asks for these two only."""
        return int(self.operations.lseek(path.decode(self.encoding), offset, whence, fip.contents))


class _Operations(mfusepy.Operations):  # type: ignore[misc]  # untyped
    """libfuse's high-level operations; errors are raised as OSError."""

    use_ns = True

    def __init__(self, files: MachineFiles, on_mounted: Callable[[], None], *, host: bool) -> None:
        self._files = files
        self._on_mounted = on_mounted
        self._host = host
        self._open: dict[int, OpenFile] = {}
        now = time.time_ns()
        self._times = _all_times(now)
        self._times_when_gone = _all_times(now + _SECOND)
        self._owner = {"st_uid": os.getuid(), "st_gid": os.getgid()}
        self.mounted = False

    def init(self, path: str) -> None:
        self.mounted = True
        self._on_mounted()

    def getattr(self, path: str, fi: _FileInfo | None = None) -> dict[str, Any]:
        opened = None if fi is None else self._open.get(fi.fh)
        attributes = self._attributes(path) if opened is None else opened.attributes
        links = 2 if stat.S_ISDIR(attributes.mode) else 1
        size = {"st_mode": attributes.mode, "st_size": attributes.size_bytes, "st_nlink": links}
        times = self._times if opened is None or opened.is_there else self._times_when_gone
        return {**size, **self._owner, **times}

    def readdir(self, path: str, fh: int) -> Iterable[str]:
        names = set(self._files.names(path))
        if self._host and path in HOST_DIRECTORIES:
            names |= {HOST, *(name for name in _names(path) if f"{path}/{name}" not in _HIDDEN)}
        return [".", "..", *sorted(names)]

    def readlink(self, path: str) -> str:
        if (host := self._host_target(path)) is not None:
            return host
        target = self._files.target(path)
        if target.startswith("/") and not self._host:  # relative, as the tree can be mounted anywhere
            return posixpath.relpath(target, posixpath.dirname(path))
        return target

    def open(self, path: str, fi: _FileInfo) -> int:
        access = fi.flags & os.O_ACCMODE
        opened = self._files.open(
            path,
            reading=access in (os.O_RDONLY, os.O_RDWR),
            writing=access in (os.O_WRONLY, os.O_RDWR),
            blocking=not fi.flags & os.O_NONBLOCK,
        )
        if fi.flags & os.O_DIRECT:
            raise mfusepy.FuseOSError(errno.EINVAL)
        fi.direct_io = opened.file.read_at is None
        fi.fh = id(opened)
        self._open[fi.fh] = opened
        return 0

    def read(self, path: str, size: int, offset: int, fi: _FileInfo) -> bytes:
        return self._open[fi.fh].read(offset, size)

    def lseek(self, path: str, offset: int, whence: int, fi: _FileInfo) -> int:
        return self._open[fi.fh].seek(offset, whence)

    def write(self, path: str, data: bytes, offset: int, fi: _FileInfo) -> int:
        return self._open[fi.fh].write(data)

    def release(self, path: str, fi: _FileInfo) -> int:
        del self._open[fi.fh]
        return 0

    def truncate(self, path: str, length: int, fh: object = None) -> int:
        """Opening with O_TRUNC changes nothing, as in Linux."""
        self._files.attributes(path)
        return 0

    create = mknod = _refuse(errno.EACCES)
    mkdir = rmdir = unlink = rename = link = symlink = chmod = chown = utimens = _refuse(errno.EPERM)

    def _attributes(self, path: str) -> Attributes:
        if self._host and path in _HOST_MOUNTS:
            return Attributes(stat.S_IFDIR | 0o755)
        if (target := self._host_target(path)) is not None:
            return Attributes(stat.S_IFLNK | 0o777, len(target))
        return self._files.attributes(path)

    def _host_target(self, path: str) -> str | None:
        """The target of the link to the host's own file of this name, None if that is not to be shown."""
        directory, name = posixpath.split(path)
        if not self._host or directory not in HOST_DIRECTORIES or path in _HIDDEN | _HOST_MOUNTS:
            return None
        if not os.path.lexists(path):
            return None
        return None if name in self._files.names(directory) else f"{HOST}/{name}"


def _all_times(nanoseconds: int) -> dict[str, int]:
    return dict.fromkeys(("st_atime", "st_mtime", "st_ctime"), nanoseconds)


def _names(directory: str) -> list[str]:
    try:
        return os.listdir(directory)  # noqa: PTH208 - names only
    except OSError:
        return []

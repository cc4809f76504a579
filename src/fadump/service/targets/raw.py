"""A whole disk or partition for one dump, without a file system: a flattened dump from its first byte on.

Flattened dumps say where they end, so that what a larger one has left behind doesn't count. Their first 4 KiB, without
which nothing is a dump, are written last, when all else is durable; before anything else they are cleared.
"""

import os
import re
import stat
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from fadump.capture.files import HOST, Bytes, HostFiles, fsync_file, write_all
from fadump.errors import FadumpError, reason
from fadump.service.crash import Crash, identity
from fadump.service.proof import prove_file
from fadump.service.root import Root
from fadump.service.settings import TRUTH, number
from fadump.service.targets.contract import DumpStream, Stored, TargetError, Tell
from fadump.service.targets.device import DEVICE, find_device, signature
from fadump.vmcore.dump import open_dump

_HEAD_BYTES = 4096
_RAM_DISK = re.compile(r"z?ram\d+")
_WRITE_OUT_BYTES = 8 << 20


@dataclass(frozen=True, slots=True)
class RawSettings:
    """A disk or a partition; with ``overwrite`` even if there is a file system on it. It may come late in a boot."""

    device: Annotated[str, DEVICE]
    overwrite: Annotated[bool, TRUTH] = False
    wait: Annotated[int, number(0, 3600, "seconds from 0 to 3600")] = 30

    def target(self, root: Root) -> "RawTarget":
        return RawTarget(self)


class RawTarget:
    """Implements :class:`~fadump.service.targets.contract.Target`."""

    def __init__(self, settings: RawSettings, may_be: Callable[[int], bool] = stat.S_ISBLK) -> None:
        """``may_be`` is asked whether a mode is a device's."""
        self._settings = settings
        self._may_be = may_be
        self._path = Path(settings.device)
        self._fd = -1
        self._files = _HeadLast()

    @property
    def name(self) -> str:
        return self._settings.device

    def prepare(self) -> None:
        self._path = find_device(self._settings.device, self._settings.wait)
        if not self._may_be(self._path.stat().st_mode):
            raise TargetError(f"{self.name} is no disk and no partition")
        try:  # O_EXCL of a block device: nothing has it mounted, swaps to it, or has made a volume of it
            self._fd = os.open(self._path, os.O_RDWR | os.O_EXCL | os.O_CLOEXEC)
        except OSError as error:
            raise TargetError(f"{self.name} can't be written to: {reason(error)}") from error
        there = signature(self._path)
        if there is not None and not self._settings.overwrite:
            raise TargetError(f"{self.name} has {there} on it: wipefs -a it, or allow it by overwrite = true")

    def in_memory(self, root: Root) -> str | None:
        name = self._path.resolve().name
        return name if _RAM_DISK.fullmatch(name) else None

    def room(self) -> int | None:
        return os.lseek(self._fd, 0, os.SEEK_END)

    def find(self, crash: Crash) -> Stored | None:
        try:
            with open_dump(self._path) as dump:
                return Stored(self.name, self._path) if identity(dump) == crash.identity else None
        except (FadumpError, OSError):  # it has something else
            return None

    def open(self, crash: Crash) -> DumpStream:
        self._clear()
        os.lseek(self._fd, _HEAD_BYTES, os.SEEK_SET)
        self._files = _HeadLast()
        return DumpStream(self._fd, self._files)

    def add_text(self, name: str, text: bytes) -> None:
        """There is no room for any: the log is in the dump."""

    def add_file(self, name: str, source: Path) -> None:
        raise TargetError("a disk without a file system has no room for more than a dump")

    def settle(self) -> Stored:
        fsync_file(HOST, self._fd)
        write_all(HOST, self._fd, self._files.head, 0)
        fsync_file(HOST, self._fd)
        return Stored(self.name, self._path)

    def prove(self, tell: Tell, *, complete: bool) -> str:
        try:
            return prove_file(self._path, tell, complete=complete)
        except TargetError:
            with suppress(OSError):  # the error to report is what is wrong with it
                self._clear()
            raise

    def shelf(self) -> None:
        """There is one dump at most."""

    def _clear(self) -> None:
        """Take the first bytes away: without them nothing is a dump."""
        write_all(HOST, self._fd, bytes(_HEAD_BYTES), 0)
        fsync_file(HOST, self._fd)

    def close(self) -> None:
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)


class _HeadLast(HostFiles):
    """The system's files, but for the first bytes of a stream, which are kept back."""

    def __init__(self) -> None:
        self.head = b""
        self._since = 0

    def write(self, fd: int, data: Bytes) -> int:
        room = _HEAD_BYTES - len(self.head)
        if room > 0:
            kept = bytes(data[:room])
            self.head += kept
            return len(kept)
        written = super().write(fd, data)
        self._since += written
        if self._since >= _WRITE_OUT_BYTES:  # what is written needn't stay in memory
            at = os.lseek(fd, 0, os.SEEK_CUR)
            self.write_out(fd, max(0, at - 2 * self._since), 2 * self._since)
            self._since = 0
        return written

"""A system's files below a directory: the running system's own, or a tree that was copied from one. Only read.

Links are followed as the system itself would follow them: an absolute one starts at the directory, and none leads out
of it.
"""

import errno
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_MOST_LINKS = 40
_MOST_TEXT_BYTES = 1 << 20
_RECORD_BYTES = 16 << 10
"""More than one record of /dev/kmsg has."""
_LEVEL_BITS = 7


@dataclass(frozen=True, slots=True)
class SystemFiles:
    """``directory`` is where the system's / is. What is not there, or can't be read, is None or nothing."""

    directory: Path = Path("/")
    is_running_system: bool = True
    """Whether it is what runs here, whose disks can be asked for room; not so what was copied from a system."""

    def path(self, name: str) -> Path:
        """Where a file of the system is; there need not be one.

        :raises OSError: links go round in a circle.
        """
        parts = name.strip("/").split("/")
        at: list[str] = []
        links = 0
        while parts:
            part = parts.pop(0)
            if part in ("", "."):
                continue
            if part == "..":
                at = at[:-1]
                continue
            here = self.directory.joinpath(*at, part)
            try:
                target = str(here.readlink())
            except OSError:  # no link, or nothing at all
                at.append(part)
                continue
            links += 1
            if links > _MOST_LINKS:
                raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), str(here))
            if target.startswith("/"):
                at = []
            parts = [*target.split("/"), *parts]
        return self.directory.joinpath(*at)

    def exists(self, name: str) -> bool:
        """Whether there is such a file or directory."""
        try:
            return self.path(name).exists()
        except OSError:
            return False

    def is_named(self, name: str) -> bool:
        """Whether there is something of that name, if only a link that leads nowhere."""
        directory, _slash, last = name.rpartition("/")
        return last in self.names(directory)

    def is_masking(self, name: str) -> bool:
        """Whether a unit or a rule is masked by what stands in its place: a link to /dev/null, or an empty file."""
        try:
            path = self.path(name)
        except OSError:
            return False
        return path == self.directory / "dev/null" or self.size_bytes(name) == 0

    def is_directory(self, name: str) -> bool:
        """Whether there is such a directory."""
        try:
            return self.path(name).is_dir()
        except OSError:
            return False

    def text(self, name: str) -> str | None:
        """A file's text, of a long one the first MiB."""
        data = self.data(name, _MOST_TEXT_BYTES)
        return None if data is None else data.decode(errors="replace")

    def data(self, name: str, most_bytes: int) -> bytes | None:
        """The first bytes of a regular file."""
        try:
            path = self.path(name)
            if not stat.S_ISREG(path.stat().st_mode):  # a pipe has no end
                return None
            with path.open("rb") as file:
                return file.read(most_bytes)
        except OSError:
            return None

    def number(self, name: str) -> int | None:
        """The number that a file is, such as one of /sys."""
        text = self.text(name)
        try:
            return None if text is None else int(text, 0)
        except ValueError:
            return None

    def size_bytes(self, name: str) -> int | None:
        """A regular file's size."""
        status = self._status(name)
        return None if status is None or not stat.S_ISREG(status.st_mode) else status.st_size

    def written(self, name: str) -> float | None:
        """When a file was last written, in seconds since 1970."""
        status = self._status(name)
        return None if status is None else status.st_mtime

    def _status(self, name: str) -> os.stat_result | None:
        try:
            return self.path(name).stat()
        except OSError:
            return None

    def names(self, name: str) -> list[str]:
        """What is in a directory, sorted."""
        try:
            return sorted(entry.name for entry in self.path(name).iterdir())
        except OSError:
            return []

    def kernel_log(self) -> Iterator[tuple[int, str]]:
        """The messages of this boot's kernel that are still there, with their levels; nobody but root may read them."""
        try:
            fd = os.open(self.path("/dev/kmsg"), os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError:
            return
        try:
            log = b"".join(iter(lambda: _record(fd), b"")).decode(errors="replace")
        finally:
            os.close(fd)
        for record in log.split("\n"):
            head, _semicolon, text = record.partition(";")
            priority = head.partition(",")[0]
            if priority.isdecimal():  # else it is one of the keys of the record before it
                yield int(priority) & _LEVEL_BITS, text


def _record(fd: int) -> bytes:
    """The next record; nothing at the end. EPIPE: one has been overwritten meanwhile, and the next comes."""
    while True:
        try:
            return os.read(fd, _RECORD_BYTES)
        except BrokenPipeError:
            continue
        except OSError:
            return b""

"""A directory for dumps, on any file system that is mounted.

/var/crash/20261129T160534Z/vmcore              the dump, whole: it has had this name since it is durable
                            vmcore.incomplete   as far as it is written
                            vmcore-dmesg.txt    the crashed kernel's log
                            fadump.json         which crash it is of, and that the directory is ours
"""

import os
import stat
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from fadump.capture.files import HOST as HOST_FILES
from fadump.capture.target import copy_file, incomplete_name, is_being_written, write_text
from fadump.errors import FadumpError, reason
from fadump.file_systems import lock_at_once
from fadump.service.crash import NAME, Crash, identity
from fadump.service.lasting import in_memory
from fadump.service.proof import prove_file
from fadump.service.record import RECORD_NAME, Record, dump_directories, read_record
from fadump.service.root import Root
from fadump.service.settings import ABSOLUTE_PATH
from fadump.service.shelf import DirectoryShelf
from fadump.service.targets.contract import VMCORE_NAME, DumpDirectory, Stored, TargetError, Tell
from fadump.vmcore.dump import open_dump

DEFAULT_DIRECTORY = Path("/var/crash")
_PRIVATE_DIRECTORY = 0o700
_MOST_OF_A_NAME = 1000
_TRIES = 3


@dataclass(frozen=True, slots=True)
class DirectorySettings:
    """A directory; its parent has to be there."""

    path: Annotated[Path, ABSOLUTE_PATH] = DEFAULT_DIRECTORY

    def target(self, root: Root) -> "DirectoryTarget":
        return DirectoryTarget(self.path)


class DirectoryTarget:
    """Implements :class:`~fadump.service.targets.contract.Target`; others have one where they have mounted theirs."""

    def __init__(self, path: Path, name: str | None = None) -> None:
        """``name`` is what it is called in sentences, if not by its path."""
        self._path = path
        self._name = name or str(path)
        self._own: Path | None = None
        self._fd = -1

    @property
    def name(self) -> str:
        return self._name

    @property
    def path(self) -> Path:
        """Where the dumps' directories are."""
        return self._path

    def prepare(self) -> None:
        with suppress(FileExistsError, FileNotFoundError):
            self._path.mkdir(_PRIVATE_DIRECTORY)
            HOST_FILES.fsync_directory(self._path.parent)
        if not self._path.is_dir():
            raise TargetError(f"{self._name} is no directory: make it, or name another in the configuration")
        if os.statvfs(self._path).f_flag & os.ST_RDONLY:
            raise TargetError(f"{self._name} is on a file system that is mounted read-only: mount -o remount,rw")
        self._lock()
        for directory in self._path.iterdir():
            with suppress(OSError):
                _remove_if_left_empty(directory)

    def in_memory(self, root: Root) -> str | None:
        return in_memory(root.mounts, self._path)

    def room(self) -> int | None:
        there = os.statvfs(self._path)
        return there.f_bavail * there.f_frsize

    def find(self, crash: Crash) -> Stored | None:
        for directory in dump_directories(self._path):
            vmcore = directory / VMCORE_NAME
            if _is_of(directory, crash) and _is_file(vmcore) and not _is_of_another(vmcore, crash):
                self._own = directory
                return self.settle()
        return None

    def open(self, crash: Crash) -> DumpDirectory:
        begun = (directory for directory in dump_directories(self._path) if _is_of(directory, crash))
        own = next((directory for directory in begun if _may_be_replaced(directory, crash)), None)
        if own is None:
            return self._begin(crash)
        self._own = own
        vmcore = own / VMCORE_NAME
        incomplete = incomplete_name(vmcore)
        if is_being_written(incomplete):
            raise TargetError(f"another process is writing {incomplete}: wait until it is done")
        for path in (vmcore, incomplete):
            path.unlink(missing_ok=True)
        self.add_text(RECORD_NAME, Record(crash).encode())
        return DumpDirectory(own)

    def add_text(self, name: str, text: bytes) -> None:
        write_text(self._directory / name, text, HOST_FILES)

    def add_file(self, name: str, source: Path) -> None:
        path = self._directory / name
        if not path.exists():
            copy_file(source, path, HOST_FILES)

    def settle(self) -> Stored:
        """Nothing is left to do: a save has a file durable, and its directory, before it has its name."""
        vmcore = self._directory / VMCORE_NAME
        return Stored(str(vmcore), vmcore)

    def prove(self, tell: Tell, *, complete: bool) -> str:
        vmcore = self._directory / VMCORE_NAME
        try:
            return prove_file(vmcore, tell, complete=complete)
        except TargetError:
            with suppress(OSError):  # the error to report is what is wrong with it
                HOST_FILES.rename(vmcore, incomplete_name(vmcore))
                HOST_FILES.fsync_directory(self._directory)
            raise

    def shelf(self) -> DirectoryShelf:
        return DirectoryShelf(self._path, self._name, self._own)

    def close(self) -> None:
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)

    def _lock(self) -> None:
        """Have it alone, as far as this system goes: another capture may be at its looking, removing or writing."""
        self._fd = os.open(self._path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        if not lock_at_once(self._fd):
            raise TargetError(f"another fadump capture is saving to {self._name}: wait until it is done")

    @property
    def _directory(self) -> Path:
        if self._own is None:
            raise TargetError(f"no dump has been begun in {self._name}")
        return self._own

    def _begin(self, crash: Crash) -> DumpDirectory:
        for _ in range(_TRIES):
            self._own = self._make(crash.name(time.time()))
            with suppress(FileNotFoundError):  # another machine has taken it for one that was left empty
                self.add_text(RECORD_NAME, Record(crash).encode())
                return DumpDirectory(self._own)
        raise TargetError(f"what is made in {self._name} is removed at once by somebody else")

    def _make(self, name: str) -> Path:
        """A directory of our own: nobody else's is used, whatever it is called."""
        for number in range(1, _MOST_OF_A_NAME):
            directory = self._path / (name if number == 1 else f"{name}-{number}")
            try:
                directory.mkdir(_PRIVATE_DIRECTORY)
            except FileExistsError:
                continue
            except OSError as error:
                raise TargetError(f"can't make {directory}: {reason(error)}") from error
            HOST_FILES.fsync_directory(self._path)
            return directory
        raise TargetError(f"{self._name} has {_MOST_OF_A_NAME} directories called {name}: remove some")


def _remove_if_left_empty(directory: Path) -> None:
    """Remove a directory that has been made, and has got no record before the power failed.

    :raises OSError: it isn't, as where somebody has put something there.
    """
    status = directory.lstat()
    is_ours = NAME.fullmatch(directory.name) and status.st_uid in (0, os.geteuid())
    if is_ours and stat.S_ISDIR(status.st_mode) and stat.S_IMODE(status.st_mode) == _PRIVATE_DIRECTORY:
        record = incomplete_name(directory / RECORD_NAME)
        if [*directory.iterdir()] == [record]:
            record.unlink()
        directory.rmdir()


def _is_of(directory: Path, crash: Crash) -> bool:
    record = read_record(directory)
    return record is not None and record.crash.identity == crash.identity


def _is_file(path: Path) -> bool:
    try:
        return stat.S_ISREG(path.lstat().st_mode)
    except OSError:
        return False


def _is_of_another(vmcore: Path, crash: Crash) -> bool:
    """Whether it is another crash's dump, as where somebody has copied one: of that a record proves nothing."""
    try:
        with open_dump(vmcore) as dump:
            return identity(dump) != crash.identity
    except (FadumpError, OSError):  # it is damaged, which is found when it is proven
        return False


def _may_be_replaced(directory: Path, crash: Crash) -> bool:
    """Whether all in it is what an earlier attempt has left there, and nothing is somebody else's."""
    vmcore = directory / VMCORE_NAME
    return all(map(_is_file, directory.iterdir())) and not _is_of_another(vmcore, crash)

"""The dumps in a directory of this system, as far as they are ours to remove.

A dump's directory is ours if it has our record, and this doesn't name another machine. One in which somebody has put a
file of theirs is left as it is.
"""

import re
import stat
from collections.abc import Iterator
from pathlib import Path

from fadump.capture.dmesg import dmesg_name
from fadump.capture.target import incomplete_name, is_being_written
from fadump.service.dumps import is_whole_name
from fadump.service.record import RECORD_NAME, dump_directories, read_record
from fadump.service.targets.contract import OPAL_CORE_NAME, VMCORE_NAME, Kept

OUR_FILES = (VMCORE_NAME, dmesg_name(Path(VMCORE_NAME)).name, OPAL_CORE_NAME, RECORD_NAME)
"""What we write into a dump's directory; each has another name until it is whole."""
_BLOCK_BYTES = 512
_OTHERS = re.compile(
    r"(dump|dmesg|vmcore)\.\d{12}|dump-incomplete"  # kdump-tools
    r"|vmcore\.flat|vmcore(\.flat)?-incomplete|vmcore-dmesg-incomplete\.txt|kexec-dmesg\.log"  # kdump-utils
    r"|dmesg|README\.txt"  # openSUSE's kdump
)
"""What other services write beside their dumps."""


class DirectoryShelf:
    """Implements :class:`~fadump.service.targets.contract.Shelf`."""

    def __init__(self, path: Path, name: str, own: Path | None) -> None:
        """``name`` is what ``path`` is called in sentences, ``own`` the dump's directory that stays, or None."""
        self.name = name
        self._path = path
        self._own = own

    def dumps(self) -> list[Kept]:
        return list(self._dumps())

    def _dumps(self) -> Iterator[Kept]:
        for path in dump_directories(self._path):
            record = read_record(path)
            if record is not None and not record.is_of_another_machine:
                time = path.stat().st_mtime if record.crash.time is None else record.crash.time
                whole = any(is_whole_name(file.name) for file in path.iterdir())
                yield Kept(path.name, record.crash, whole, time, _size(path), path == self._own)

    def remove(self, dump: Kept) -> str | None:
        directory = self._path / dump.directory
        why = _why_it_stays(directory)
        if why is None:
            _remove(directory)
        return why


def _size(directory: Path) -> int:
    return sum(path.lstat().st_blocks for path in directory.iterdir()) * _BLOCK_BYTES


def _why_it_stays(directory: Path) -> str | None:
    for path in sorted(directory.iterdir()):
        if not (_is_known(path.name) and stat.S_ISREG(path.lstat().st_mode)):
            return f"{path.name} in it is none of ours"
        if is_being_written(path):
            return f"{path.name} in it is being written"
    return None


def _is_known(name: str) -> bool:
    ours = any(name in (own, incomplete_name(Path(own)).name) for own in OUR_FILES)
    return ours or _OTHERS.fullmatch(name) is not None


def _remove(directory: Path) -> None:
    """The record goes last: without it, a directory stops being one of ours."""
    for path in sorted(directory.iterdir(), key=lambda path: path.name == RECORD_NAME):
        path.unlink()
    directory.rmdir()

"""How many dumps stay: the oldest are removed once there are more than was asked for, incomplete ones first.

The newest never is, nor anything that has no record of ours: that is, what we have made, and what another service has
and we have proven. A directory in which somebody has put a file of theirs is left as it is.
"""

import re
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from fadump.capture.dmesg import dmesg_name
from fadump.capture.target import incomplete_name, is_being_written
from fadump.errors import reason
from fadump.service.config import KeepSettings
from fadump.service.dumps import is_whole_name
from fadump.service.record import RECORD_NAME, read_record
from fadump.service.targets.contract import OPAL_CORE_NAME, VMCORE_NAME
from fadump.service.targets.directory import dump_directories

_BLOCK_BYTES = 512
_OURS = [VMCORE_NAME, dmesg_name(Path(VMCORE_NAME)).name, OPAL_CORE_NAME, RECORD_NAME]
_OTHERS = re.compile(
    r"(dump|dmesg|vmcore)\.\d{12}|dump-incomplete"  # kdump-tools
    r"|vmcore\.flat|vmcore(\.flat)?-incomplete|vmcore-dmesg-incomplete\.txt|kexec-dmesg\.log"  # kdump-utils
    r"|dmesg|README\.txt"  # openSUSE's kdump
)
"""What other services write beside their dumps."""


@dataclass(frozen=True, slots=True)
class Kept:
    """A dump's directory. Its size is what it takes of the disk."""

    path: Path
    whole: bool
    time: float
    size_bytes: int

    @property
    def order(self) -> tuple[bool, float, str]:
        """What is removed first comes first."""
        return self.whole, self.time, self.path.name


@dataclass(frozen=True, slots=True)
class Retained:
    """What has been removed, and sentences about what could not be."""

    removed: tuple[Path, ...] = ()
    remarks: tuple[str, ...] = ()


def retain(newest: Path, keep: KeepSettings) -> Retained:
    """Remove what is too much beside ``newest``, the directory of a dump that has just been saved."""
    try:
        others = sorted(_others(newest), key=lambda dump: dump.order)
        count, size_bytes = len(others) + 1, sum(dump.size_bytes for dump in others) + _size(newest)
    except OSError as error:
        return Retained(
            remarks=(f"{newest.parent} can't be looked through, so that every dump stays: {reason(error)}",)
        )
    removed, remarks = [], []
    for dump in others:
        if not (0 < keep.dumps < count or 0 < keep.bytes < size_bytes):
            break
        try:
            why = _why_it_stays(dump.path)
            if why is not None:
                remarks.append(f"{dump.path} stays, as {why}")
                continue
            _remove(dump.path)
        except OSError as error:
            remarks.append(f"{dump.path} can't be removed: {reason(error)}")
            continue
        removed.append(dump.path)
        count, size_bytes = count - 1, size_bytes - dump.size_bytes
    return Retained(tuple(removed), tuple(remarks))


def _others(newest: Path) -> Iterator[Kept]:
    for path in dump_directories(newest.parent):
        record = read_record(path)
        if path != newest and record is not None:
            time = path.stat().st_mtime if record.crash.time is None else record.crash.time
            whole = any(is_whole_name(file.name) for file in path.iterdir())
            yield Kept(path, whole, time, _size(path))


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
    ours = any(name in (own, incomplete_name(Path(own)).name) for own in _OURS)
    return ours or _OTHERS.fullmatch(name) is not None


def _remove(directory: Path) -> None:
    """The record goes last: without it, a directory stops being one of ours."""
    for path in sorted(directory.iterdir(), key=lambda path: path.name == RECORD_NAME):
        path.unlink()
    directory.rmdir()

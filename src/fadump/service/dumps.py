"""What lies in a directory of dumps: ours, and those of the services of distributions.

20261129T160534Z/vmcore                         fadump capture
202611291605/dump.202611291605                  Debian's kdump-tools, dump-incomplete while it is written
202611291605/vmcore.202611291605                the same, where makedumpfile has failed and cp has not
127.0.0.1-2026-11-29-16:05:34/vmcore            kdump-utils of RHEL and Fedora, vmcore-incomplete likewise
2026-11-29-16-05/vmcore                         openSUSE's kdump, with a colon in the time before its version 2
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from fadump.errors import FadumpError, reason
from fadump.linux.system import open_system
from fadump.printable import with_others
from fadump.service.crash import Crash, read_crash
from fadump.service.record import read_record
from fadump.vmcore.check import Weight, check_dump

_WHOLE_NAME = re.compile(r"vmcore(\.flat|\.\d{12})?|dump\.\d{12}")
_INCOMPLETE_NAME = re.compile(r"vmcore[.-]incomplete|vmcore\.flat-incomplete|dump-incomplete")
_MADE_BY = [
    (re.compile(r"\d{12}"), "kdump-tools"),
    (re.compile(r".+-\d{4}-\d\d-\d\d-\d\d:\d\d:\d\d"), "kdump-utils"),
    (re.compile(r"\d{4}-\d\d-\d\d-\d\d[-:]\d\d"), "openSUSE's kdump"),
]
"""By the directory's name."""
_BLOCK_BYTES = 512


@dataclass(frozen=True, slots=True)
class FoundDump:
    """A dump. ``made_by`` None: nobody that is known. ``crash`` None: it can't be read at all.

    ``whole`` is False if it isn't; ``damage`` says why. ``proven`` says whether that has been looked at, now or when it
    was saved; otherwise it is only what its headers say.
    """

    path: Path
    made_by: str | None
    size_bytes: int
    crash: Crash | None
    whole: bool
    proven: bool
    damage: str | None = None


def find_dumps(directory: Path, *, check: bool = False) -> Iterator[FoundDump]:
    """The dumps in a directory's directories and in itself, by their names; with ``check`` each is read to its end.

    :raises OSError: the directory can't be read.
    """
    return (_look(path, check=check) for path in dump_files(directory))


def dump_files(directory: Path) -> list[Path]:
    """Their files, in the order of their names.

    :raises OSError: the directory can't be read.
    """
    found = []
    for path in sorted(directory.iterdir()):
        if _is_file(path) and _is_dump(path.name):
            found.append(path)
        elif path.is_dir() and not path.is_symlink():
            found += _files(path)
    return found


def _is_file(path: Path) -> bool:
    return path.is_file() and not path.is_symlink()


def _files(directory: Path) -> list[Path]:
    try:
        return sorted(path for path in directory.iterdir() if _is_file(path) and _is_dump(path.name))
    except OSError:  # somebody else's
        return []


def _is_dump(name: str) -> bool:
    return bool(_WHOLE_NAME.fullmatch(name) or _INCOMPLETE_NAME.fullmatch(name))


def _look(path: Path, *, check: bool) -> FoundDump:
    record = read_record(path.parent)
    size_bytes = path.lstat().st_blocks * _BLOCK_BYTES
    made_by = _service(path.parent.name) or (None if record is None else "fadump")
    was_proven = record is not None and record.proof is not None and is_whole_name(path.name)
    try:
        with open_system(path) as system:
            crash: Crash | None = read_crash(system)
            damage = [str(error) for error in system.dump.damage]
            if check:
                report = check_dump(system.dump)
                damage = [finding.text for finding in report.findings if finding.weight is Weight.DAMAGE]
    except (FadumpError, OSError) as error:
        crash = None if record is None else record.crash
        return FoundDump(path, made_by, size_bytes, crash, whole=False, proven=True, damage=reason(error))
    if not damage and _INCOMPLETE_NAME.fullmatch(path.name):
        damage = ["it was not finished"]
    is_proven = check or was_proven or bool(damage)
    told = with_others(damage) if damage else None
    return FoundDump(path, made_by, size_bytes, crash, whole=not damage, proven=is_proven, damage=told)


def is_whole_name(name: str) -> bool:
    """Whether a file is called as a dump is that was saved to its end."""
    return _WHOLE_NAME.fullmatch(name) is not None


def _service(name: str) -> str | None:
    return next((service for pattern, service in _MADE_BY if pattern.fullmatch(name)), None)

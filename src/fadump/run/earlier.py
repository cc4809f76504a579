"""The files of an earlier run in the same directory: they are moved aside as one set, never mixed or lost.

``DIR/earlier-1`` has the first set, ``DIR/earlier-2`` the next. A set is called ``earlier-N.incomplete`` if moving it
was interrupted; the next run moves the rest of it.
"""

import os
import re
from pathlib import Path

_OF_A_RUN = re.compile(
    r"(vmcore|opalcore)(\.\d+)?(\.saved|\.kdump)?(-dmesg\.txt)?(\.incomplete)?"
    r"|hpte(\.\d+)?(\.incomplete)?"
    r"|console\.log|firmware\.log|timeline\.json"
)
"""The files that a run, or the commands in its hints, can make; other files in the directory aren't moved."""
_SET = re.compile(r"earlier-(\d+)(\.incomplete)?")


def set_aside(directory: Path) -> Path | None:
    """Move the files of an earlier run in ``directory`` to a directory of their own; return it, None if there are none.

    They complete the last set whose moving was interrupted, unless that has one of their names already.

    :raises OSError: they can't be moved; what has been moved stays in an ``earlier-N.incomplete``.
    """
    found = sorted(path.name for path in directory.iterdir() if _OF_A_RUN.fullmatch(path.name))
    interrupted = sorted(filter(_is_interrupted, directory.iterdir()), key=_number)
    if found and (not interrupted or any(os.path.lexists(interrupted[-1] / name) for name in found)):
        moving = directory / f"earlier-{_next_number(directory)}.incomplete"
        moving.mkdir(mode=0o700)
        interrupted.append(moving)
    for name in found:
        (directory / name).rename(interrupted[-1] / name)
    done = [_finish(moving) for moving in interrupted]
    return done[-1] if done else None


def put_back(earlier: Path) -> None:
    """Undo :func:`set_aside` for a run that has not begun: its own files are replaced.

    :raises OSError: they can't be moved; the next :func:`set_aside` makes one set of them again.
    """
    moving = earlier.rename(earlier.with_name(earlier.name + ".incomplete"))
    for path in sorted(moving.iterdir()):
        path.rename(earlier.parent / path.name)
    moving.rmdir()


def _finish(moving: Path) -> Path:
    """Give a whole set its name, or the next one if that is taken."""
    name = moving.with_suffix("")
    return moving.rename(moving.with_name(f"earlier-{_next_number(moving.parent)}") if os.path.lexists(name) else name)


def _is_interrupted(path: Path) -> bool:
    match = _SET.fullmatch(path.name)
    return match is not None and match[2] is not None and path.is_dir()


def _number(path: Path) -> int:
    """The number of a set; 0 if it isn't one."""
    match = _SET.fullmatch(path.name)
    return int(match[1]) if match else 0


def _next_number(directory: Path) -> int:
    return 1 + max(map(_number, directory.iterdir()), default=0)

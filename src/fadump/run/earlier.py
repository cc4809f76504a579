"""The files of a run that was in the same directory before: they are set aside as one set, never mixed or lost.

``DIR/earlier-1`` has the first set, ``DIR/earlier-2`` the next. A set that is not whole, because its moving was
interrupted, is called ``earlier-N.incomplete``; the next run moves the rest of it.
"""

import re
from pathlib import Path

_OF_A_RUN = re.compile(
    r"(vmcore|opalcore)(\.\d+)?(\.saved|\.kdump)?(-dmesg\.txt)?(\.incomplete)?"
    r"|console\.log|firmware\.log|timeline\.json"
)
"""What a run leaves, and what its hints make of it; whatever else is in the directory stays where it is."""
_SET = re.compile(r"earlier-(\d+)(\.incomplete)?")


def set_aside(directory: Path) -> Path | None:
    """Move the files of earlier runs in ``directory`` to one of their own; returns that, None if there are none.

    :raises OSError: they can't be moved; what has been moved stays in an ``earlier-N.incomplete``.
    """
    names = sorted(path.name for path in directory.iterdir())
    found = [name for name in names if _OF_A_RUN.fullmatch(name)]
    sets = {name: match for name in names if (match := _SET.fullmatch(name))}
    interrupted = [name for name, match in sets.items() if match[2]]
    if not found and not interrupted:
        return None
    number = 1 + max((int(match[1]) for match in sets.values()), default=0)
    moving = directory / (interrupted[0] if interrupted else f"earlier-{number}.incomplete")
    moving.mkdir(mode=0o700, exist_ok=True)
    for name in found:
        (directory / name).rename(moving / name)
    return moving.rename(moving.with_suffix(""))


def put_back(earlier: Path) -> None:
    """Undo :func:`set_aside` for a run that has not begun: its own files are replaced.

    :raises OSError: they can't be moved.
    """
    for path in sorted(earlier.iterdir()):
        path.rename(earlier.parent / path.name)
    earlier.rmdir()

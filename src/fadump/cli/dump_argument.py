"""A dump as it is named on a command line: its file, all files of a split one, or the directory that it lies in."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from fadump.errors import FadumpError
from fadump.printable import MOST_LISTED, in_a_line
from fadump.vmcore.dump import open_dump

_MOST_LOOKED_AT = 10_000
COPIES = (".for-drgn", ".for-crash", ".for-gdb")
"""How the names of copies end that were made for a debugger: they are no other dumps."""


def dump_files(given: Sequence[Path]) -> Sequence[Path]:
    """The files meant: those given, or, for a directory, the one dump in it or in its directories.

    :raises FadumpError: there is no dump there, or more than one.
    :raises OSError: the directory can't be read.
    """
    if len(given) != 1 or not given[0].is_dir():
        return given
    directory = given[0]
    found = list(_dumps(directory))
    for below in sorted(directory.iterdir()) if not found else ():
        if below.is_dir() and not below.is_symlink():
            found += _dumps(below)
    if not found:
        raise FadumpError(f"{directory}: there is no dump in this directory")
    if len(found) > 1:
        names = [in_a_line(str(path)) for path in found[:MOST_LISTED]]
        more = [f"{len(found) - MOST_LISTED} more"] if len(found) > MOST_LISTED else []
        raise FadumpError(f"{directory}: there are {len(found)} dumps, name one: {', '.join([*names, *more])}")
    return found


def _dumps(directory: Path) -> Iterator[Path]:
    """The dumps right in a directory, known by their content."""
    try:
        paths = sorted(directory.iterdir())
    except OSError:  # somebody else's
        return
    for path in paths[:_MOST_LOOKED_AT]:
        if path.is_file() and not path.is_symlink() and not path.name.endswith(COPIES):
            try:
                open_dump(path).close()
            except (FadumpError, OSError):
                continue
            yield path

"""The names of a save's files, checked once, before anything is read or written.

Step "saved" of docs/architecture.md.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from fadump.capture.dmesg import dmesg_name
from fadump.capture.options import SaveOptions
from fadump.capture.target import incomplete_name, is_being_written
from fadump.errors import SetupError, UsageError
from fadump.vmcore.source import StrPath

_MOST_NAMES = 4
_NAME_MAX = 255
"""Bytes in a file's name: Linux, and nearly all of its file systems."""


@dataclass(frozen=True, slots=True)
class Destination:
    """Where a dump goes: its ``files``, more than one of a split dump, and its log, ``dmesg``.

    :meth:`take` makes one; nothing that is there would be replaced by a save to it.
    """

    files: tuple[Path, ...]
    dmesg: Path

    @classmethod
    def take(cls, path: Path, options: SaveOptions, sources: Sequence[StrPath] = ()) -> Self:
        """The names for a dump to be called ``path`` or, split, ``path.1`` and so on; it is saved from ``sources``.

        :raises SetupError: ``path`` is a directory, something would be replaced, or a source be written to; or there
            is nothing to go on with.
        """
        if os.path.isdir(path):  # noqa: PTH112 - Path.is_dir() fails where a name is too long
            raise SetupError(f"{path} is a directory: name a file in it")
        _check_length(path, options)
        numbered = [path.with_name(f"{path.name}.{number}") for number in range(1, options.split + 1)]
        names = numbered if options.split > 1 else [path]
        written = [*map(incomplete_name, names), *(names if options.continued else [])]
        _refuse_to_read_what_is_written(sources, written)
        _refuse_to_replace(names, continued=options.continued)
        return cls(tuple(names), dmesg_name(path))

    def begun(self) -> list[Path]:
        """Which files are there and incomplete."""
        return [name for name in map(incomplete_name, self.files) if name.exists()]


def listed(paths: Sequence[Path]) -> str:
    """Names of files in a sentence; of many, the first ones."""
    more = [f"{len(paths) - _MOST_NAMES} more"] if len(paths) > _MOST_NAMES else []
    return ", ".join([*map(str, paths[:_MOST_NAMES]), *more])


def _check_length(path: Path, options: SaveOptions) -> None:
    """Check that the names of the files can be names, also while they are incomplete."""
    last = path.with_name(f"{path.name}.{options.split}") if options.split > 1 else path
    too_many = len(os.fsencode(incomplete_name(last).name)) - _NAME_MAX
    if too_many > 0:
        raise SetupError(
            f"{path} is {too_many} bytes too long for a name, to which .incomplete is added until the dump is whole: "
            "give it a shorter one"
        )


def _refuse_to_read_what_is_written(sources: Sequence[StrPath], paths: Sequence[Path]) -> None:
    for written in paths:
        if any(written.exists() and written.samefile(source) for source in sources):
            raise UsageError(
                f"{written} is what would be written: give the dump that it is saved from, or name another file"
            )


def _refuse_to_replace(paths: Sequence[Path], *, continued: bool) -> None:
    """Refuse to replace a file; but with ``continued``, a set with incomplete files is continued as a whole."""
    there = [path for path in paths if os.path.lexists(path)]
    begun = [path for path in paths if os.path.lexists(incomplete_name(path))]
    if begun and not continued:
        incomplete = incomplete_name(begun[0])
        if is_being_written(incomplete):
            raise SetupError(f"another process is writing {incomplete}: wait, or name another file")
        raise SetupError(f"{incomplete} is there from a save that was interrupted: go on with --continue, or remove it")
    twice = [path for path in there if path in begun]
    if twice or (there and not begun):
        raise SetupError(f"{(twice or there)[0]} exists and is not replaced: name another file")
    if continued and not begun:
        raise SetupError(f"there is no {incomplete_name(paths[0])} to go on with: save without --continue")

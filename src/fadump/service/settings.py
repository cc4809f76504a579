"""Settings: the fields of a dataclass as keys of a TOML table, each annotated with what is allowed.

    dumps: Annotated[int, number(0, 1000)] = 0

A field without a default has to be given, and one without a :class:`Kind` is no key. Whatever is wrong with a table
becomes sentences, all of them at once; nothing is guessed.
"""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, dataclass, fields
from enum import StrEnum
from pathlib import Path
from typing import Any, TypeVar, get_type_hints

from fadump.service.lines import Problems
from fadump.spelling import nearest

_UNITS = {"": 0, "K": 10, "M": 20, "G": 30, "T": 40}
_SIZE = re.compile(r"(\d+)([KMGT]?)(?:i?B)?")
_MOST_SHOWN = 200
_MOST_BYTES = 1 << 62

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Kind:
    """What a value may be: ``allowed`` in words, ``read`` makes of TOML's value our own.

    ``read`` raises ValueError for any other value, without a text.
    """

    allowed: str
    read: Callable[[object], Any]


def keys(settings: type) -> dict[str, Kind]:
    """The keys of a table: a dataclass's fields, but for those that are no settings, such as other tables."""
    return {
        name: kind
        for name, hint in get_type_hints(settings, include_extras=True).items()
        for kind in getattr(hint, "__metadata__", ())
        if isinstance(kind, Kind)
    }


def read_settings(
    settings: type[T], table: Mapping[str, object], where: str, problems: Problems, *, others: Sequence[str] = ()
) -> T | None:
    """A table's settings; None if something is wrong, which ``problems`` then say.

    ``where`` names the table as its keys are named, "save." or nothing for the file's own. ``others`` are keys that
    the caller reads.
    """
    kinds, before = keys(settings), len(problems.sentences)
    known = [*kinds, *others]
    for key in table:
        if key not in known:
            problems.add(where, key, _unknown(where, key, known))
    required = [member.name for member in fields(settings) if member.name in kinds and member.default is MISSING]  # type: ignore[arg-type]
    for key in required:
        if key not in table:
            problems.add(where, key, f"{where}{key} is missing: {kinds[key].allowed}")
    values = {}
    for key, kind in kinds.items():
        if key in table:
            try:
                values[key] = kind.read(table[key])
            except ValueError:
                problems.add(where, key, f"{where}{key} is {shown(table[key])}: allowed is {kind.allowed}")
    return settings(**values) if len(problems.sentences) == before else None


def shown(value: object) -> str:
    """A value as TOML has it, or nearly; of a long one the beginning."""
    try:
        text = json.dumps(value, default=str, ensure_ascii=False)
    except (ValueError, RecursionError):  # a number of thousands of digits, thousands of tables in each other
        return "too much to be shown"
    return text if len(text) <= _MOST_SHOWN else f"{text[:_MOST_SHOWN]}..."


def _unknown(where: str, key: str, known: Sequence[str]) -> str:
    near = nearest(key, known)
    did_you_mean = "" if near is None else f"did you mean {near}? "
    shown_key = key if key.isidentifier() else shown(key)
    return f"{where}{shown_key} is no setting: {did_you_mean}There are {', '.join(known)}"


def choice(choices: type[StrEnum]) -> Kind:
    """One of an enum's values."""
    return Kind(" or ".join(f'"{value}"' for value in choices), lambda value: choices(_text(value)))


def number(least: int, most: int, allowed: str | None = None) -> Kind:
    """A whole number."""
    return Kind(allowed or f"a number from {least} to {most}", lambda value: _number(value, least, most))


def either(*kinds: Kind) -> Kind:
    """The first of several kinds that takes a value."""

    def read(value: object) -> object:
        for kind in kinds:
            try:
                return kind.read(value)
            except ValueError:
                continue
        raise ValueError

    return Kind(", or ".join(kind.allowed for kind in kinds), read)


def several(kind: Kind, *, least: int = 0) -> Kind:
    """A list, which becomes a tuple."""

    def read(value: object) -> tuple[object, ...]:
        if not isinstance(value, list) or len(value) < least:
            raise ValueError
        return tuple(map(kind.read, value))

    return Kind(f"a list, each {kind.allowed}", read)


def word(text: str) -> Kind:
    """This word and no other; it becomes None."""

    def read(value: object) -> None:
        if value != text:
            raise ValueError

    return Kind(f'"{text}"', read)


def matching(pattern: str, allowed: str) -> Kind:
    """A text that a regular expression matches as a whole."""

    def read(value: object) -> str:
        if not re.fullmatch(pattern, _text(value)):
            raise ValueError
        return _text(value)

    return Kind(allowed, read)


def _absolute(value: object) -> Path:
    path = Path(_text(value))
    if not path.is_absolute() or ".." in path.parts or not _text(value).isprintable():
        raise ValueError
    return path


def _relative(value: object) -> Path:
    path = Path(_text(value))
    if path.is_absolute() or ".." in path.parts or not _text(value).isprintable():
        raise ValueError
    return path


def _size(value: object) -> int:
    if isinstance(value, int):
        return _number(value, 0, _MOST_BYTES)
    found = _SIZE.fullmatch(_text(value))
    if found is None:
        raise ValueError
    return _number(int(found[1]) << _UNITS[found[2]], 0, _MOST_BYTES)


def _truth(value: object) -> bool:
    if not isinstance(value, bool):
        raise ValueError  # noqa: TRY004 - what every kind raises
    return value


def _number(value: object, least: int, most: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        raise ValueError
    return value


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise ValueError  # noqa: TRY004 - what every kind raises
    return value


TRUTH = Kind("true or false", _truth)
ABSOLUTE_PATH = Kind("a path from / on, printable and without ..", _absolute)
RELATIVE_PATH = Kind("a path below the file system's root, not from / on, printable and without ..", _relative)
SIZE = Kind('bytes, as 1000000 or "10G"', _size)
COMMAND = several(matching(r"(?s)[^\0]+", "a word that isn't empty"))
"""A program and its arguments, which no shell reads; an empty list: none."""

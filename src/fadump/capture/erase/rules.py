"""The rules of what is to be erased: a file in TOML, as types.

Step "saved" of docs/architecture.md; docs/erase.md has every key. Whatever is wrong with a file is said before a dump
is looked at, with the rule's name and its line.

    [[erase]]
    name = "keys of users"
    start = "key_serial_tree"                           # a symbol, and members from there on
    walk = [
        { tree = "key.serial_node", where = { type = "key_type_user" } },
        { to = "payload.data[0]", type = "user_key_payload" },
    ]
    data = "data"                                       # of the last object; without it, all of that
    size = "datalen"                                    # bytes, or where they are; without it, the type's size
"""

import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path as File

from fadump.errors import UsageError
from fadump.given import check_file, reading
from fadump.limits import MOST_ERASED_BYTES, MOST_RULES_BYTES
from fadump.linux.types.objects import Path, PathError, parse_path
from fadump.printable import in_a_line
from fadump.spelling import nearest

_HEADER = re.compile(r"\s*\[\[\s*erase\s*\]\]\s*(#.*)?")
_RULE_KEYS = ("name", "start", "type", "walk", "data", "size", "string", "optional")
_STEP_KEYS = ("list", "tree", "next", "to", "type", "count", "where")
_NAME = re.compile(r"[^\x00-\x1f\x7f]{1,80}")
_MOST_SHOWN = 80
_MOST_RULES = 1000
_MOST_STEPS = _MOST_CONDITIONS = 32
_MOST_TEXT = 1024
"""Of each step's conditions, and of the text of one: all of them are asked of each object."""


class RuleError(UsageError):
    """A rule that can't be meant as it stands."""


class Way(StrEnum):
    """How a step leads to objects."""

    LIST = "list"
    """All on a list_head or an hlist_head."""
    TREE = "tree"
    """All in an rb_root."""
    NEXT = "next"
    """An object and those that each names as the next."""
    TO = "to"
    """A path."""


@dataclass(frozen=True, slots=True)
class Condition:
    """What is at ``path`` of an object is ``value``: a number, a text, or the symbol that a pointer points to."""

    path: Path
    value: int | str


@dataclass(frozen=True, slots=True)
class Step:
    """One step from an object to others. ``type_name`` is the structure of a list's or a tree's members, whose link is
    ``path``; of the other ways it is the type that the objects are taken for, None: their own. A pointer that ``TO``
    leads to has ``count`` objects, which is a number or a path from where the step began.
    """

    way: Way
    path: Path
    type_name: str | None
    count: int | Path | None
    where: tuple[Condition, ...]


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule: what is erased is ``data`` of each object that ``symbol``, ``path`` and ``steps`` lead to.

    ``size`` is a number of bytes, or a path to one; None: the type has it. ``is_string``: up to the zero byte.
    """

    name: str
    line: int | None
    symbol: str
    path: Path
    type_name: str | None
    steps: tuple[Step, ...]
    data: Path
    size: int | Path | None
    is_string: bool
    is_optional: bool
    expression: str
    """What is written about it: the symbol, or the last structure, and the members."""

    def __str__(self) -> str:
        return f'rule "{self.name}"' + ("" if self.line is None else f", line {self.line}")


def read_rules(path: File) -> Sequence[Rule]:
    """The rules of a file.

    :raises SetupError: it can't be read.
    :raises RuleError: one of them makes no sense, or there is none.
    """
    check_file("--erase", path)
    with reading("--erase", path), path.open("rb") as file:
        raw = file.read(MOST_RULES_BYTES + 1)
    if len(raw) > MOST_RULES_BYTES:
        raise RuleError(f"--erase {path} has more than {MOST_RULES_BYTES} bytes: that is no file of rules")
    try:
        text = raw.decode()
        table = tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        raise RuleError(f"--erase {path} is no TOML: {error}") from None
    rules = table.get("erase")
    others = [key for key in table if key != "erase"]
    if others or not isinstance(rules, list) or not rules or not all(isinstance(rule, dict) for rule in rules):
        wrong = f"{others[0]!r} is no key of such a file" if others else "there is no rule in it"
        raise RuleError(f"--erase {path}: {wrong}; each rule begins with [[erase]]")
    if len(rules) > _MOST_RULES:
        raise RuleError(
            f"--erase {path}: there are {len(rules)} rules in it, more than the {_MOST_RULES} that are read"
        )
    lines: list[int | None] = [
        number for number, line in enumerate(text.splitlines(), start=1) if _HEADER.fullmatch(line)
    ]
    if len(lines) != len(rules):  # written in another way, or a text of several lines has such a line
        lines = [None] * len(rules)
    return tuple(
        _read_rule(path, rule, line, number)
        for number, (rule, line) in enumerate(zip(rules, lines, strict=True), start=1)
    )


def _read_rule(file: File, table: Mapping[str, object], line: int | None, number: int) -> Rule:
    name = table.get("name", table.get("start", f"number {number}"))
    where = f"--erase {file}{'' if line is None else f', line {line}'}, rule {_shown(name)}"
    try:
        return _rule(table, line)
    except (RuleError, PathError) as error:
        raise RuleError(f"{where}: {error}") from None


def _rule(table: Mapping[str, object], line: int | None) -> Rule:
    """:raises RuleError: it makes no sense, as is a PathError."""
    _check_keys(table, _RULE_KEYS)
    start = _text(table, "start")
    if start is None:
        raise RuleError("start is missing: the symbol where it begins")
    symbol, *path = parse_path(start)
    name = _text(table, "name") or start
    if not _NAME.fullmatch(name):
        raise RuleError("name is up to 80 characters of one line")
    walk = table.get("walk", [])
    if not isinstance(walk, list) or not all(isinstance(step, dict) for step in walk):
        raise RuleError("walk is a list of tables, such as [{ list = ... }, { to = ... }]")
    if len(walk) > _MOST_STEPS:
        raise RuleError(f"walk has more than {_MOST_STEPS} steps")
    steps = tuple(_step(step, number) for number, step in enumerate(walk, start=1))
    size = _number_or_path(table, "size")
    is_string = _flag(table, "string")
    if is_string and size is not None:
        raise RuleError("string and size don't go together: a string's size is its own")
    return Rule(
        name=name,
        line=line,
        symbol=str(symbol),
        path=tuple(path),
        type_name=_text(table, "type"),
        steps=steps,
        data=_path(table, "data"),
        size=size,
        is_string=is_string,
        is_optional=_flag(table, "optional"),
        expression=_expression(start, steps, _text(table, "data")),
    )


def _step(table: Mapping[str, object], number: int) -> Step:
    _check_keys(table, _STEP_KEYS)
    ways = [way for way in Way if way in table]
    if len(ways) != 1:
        raise RuleError(f"step {number} of walk has one of {', '.join(Way)}, and not {len(ways)} of them")
    way = ways[0]
    path, type_name = _path(table, way), _text(table, "type")
    if way in (Way.LIST, Way.TREE):
        if type_name is not None:
            raise RuleError(f"step {number} of walk: a {way} has its type in front of the member, no other")
        if len(path) < 2:
            raise RuleError(f"step {number} of walk: {way} is a structure and its member, such as task_struct.tasks")
        type_name, path = str(path[0]), path[1:]
    count = _number_or_path(table, "count")
    if count is not None and way is not Way.TO:
        raise RuleError(f"step {number} of walk: count goes with to")
    where = table.get("where", {})
    if not isinstance(where, dict):
        raise RuleError(f'step {number} of walk: where is a table, such as {{ "type.name" = "user" }}')
    if len(where) > _MOST_CONDITIONS:
        raise RuleError(f"step {number} of walk: where has more than {_MOST_CONDITIONS} conditions")
    return Step(way, path, type_name, count, tuple(_condition(key, value) for key, value in where.items()))


def _condition(key: str, value: object) -> Condition:
    if isinstance(value, bool) or not isinstance(value, int | str):
        raise RuleError(f"where {key} is {_shown(value)}: allowed is a number, a text, or the name of a symbol")
    if isinstance(value, str) and len(value) > _MOST_TEXT:
        raise RuleError(f"where {key} has a text of more than {_MOST_TEXT} characters")
    return Condition(parse_path(key), value)


def _expression(start: str, steps: Sequence[Step], data: str | None) -> str:
    """As makedumpfile has it: one word, which begins with a symbol, or with what a list is of."""
    type_name = next((step.type_name for step in reversed(steps) if step.type_name is not None), None)
    begin = start if type_name is None else type_name.removeprefix("struct ").replace(" ", "")
    return begin + ("" if data is None else f"{'' if data.startswith('[') else '.'}{data}")


def _check_keys(table: Mapping[str, object], known: Sequence[str]) -> None:
    for key in table:
        if key not in known:
            near = nearest(key, known)
            hint = "" if near is None else f" (did you mean {near}?)"
            raise RuleError(f"{_shown(key)} is no key of it{hint}; there are {', '.join(known)}")


def _text(table: Mapping[str, object], key: str) -> str | None:
    value = table.get(key)
    if value is None:
        return None
    if not isinstance(value, str) or not value.strip() or not value.isprintable():
        raise RuleError(f"{key} is {_shown(value)}: allowed is a text of one line, in quotes")
    return value


def _path(table: Mapping[str, object], key: str) -> Path:
    text = _text(table, key)
    return () if text is None else parse_path(text)


def _number_or_path(table: Mapping[str, object], key: str) -> int | Path | None:
    value = table.get(key)
    if isinstance(value, int) and not isinstance(value, bool):
        if not 0 < value <= MOST_ERASED_BYTES:
            raise RuleError(f"{key} is {_shown(value)}: allowed is a number from 1 to {MOST_ERASED_BYTES}")
        return value
    if value is None:
        return None
    if not isinstance(value, str):
        raise RuleError(f"{key} is {_shown(value)}: allowed is a whole number or a path")
    return _path(table, key)


def _flag(table: Mapping[str, object], key: str) -> bool:
    value = table.get(key, False)
    if not isinstance(value, bool):
        raise RuleError(f"{key} is {_shown(value)}: allowed is true or false")
    return value


def _shown(value: object) -> str:
    text = f'"{value}"' if isinstance(value, str) else str(value)
    return in_a_line(text if len(text) <= _MOST_SHOWN else f"{text[:_MOST_SHOWN]}...")

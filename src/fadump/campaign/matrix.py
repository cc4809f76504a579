"""A campaign's TOML file: which factors have which values, and which of their combinations are run.

    strength = 2
    timeout = 600

    [factors]
    machine = ["embedded"]
    platform = ["pseries", "powernv"]
    fault = ["", "every"]

    [always]
    verify = true

    [[exclude]]
    platform = "powernv"
    memory = "2G"

docs/campaign.md says what each of them is.
"""

import hashlib
import itertools
import json
import math
import random
import tomllib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from fadump.abi.platform import Platform
from fadump.compare.configuration import full_set
from fadump.covering import Covering
from fadump.errors import UsageError
from fadump.given import check_file, reading
from fadump.printable import in_a_line, is_utf8, quoted
from fadump.run.faults import every_fault, platforms_of
from fadump.spelling import AMONG_FEW, nearest

Value = tuple[str, ...]
"""What an option is given: nothing, one text, or one for each time that it is given. "true" is an option alone."""
MOST_CASES = 100_000
MOST_BYTES = 1 << 20
CONFIGURATION = "configuration"
"""Not an option of a run, but the number of one of :func:`fadump.compare.configuration.full_set`, of the same seed."""
_ALL = "all"
_EVERY = "every"
_DEFAULT_TIMEOUT = 900.0
_MOST_SECONDS = 1e6
_MOST_BITS = 64
_LONG_NUMBER = f"a number in it has more than {_MOST_BITS} bits"
_KEYS = ("name", "strength", "seed", "timeout", "factors", "always", "exclude")
_OFF: Value = ()


@dataclass(frozen=True, slots=True)
class Case:
    """One combination: ``number`` counts from 1, ``values`` has each factor's value."""

    number: int
    values: Mapping[str, Value]

    @property
    def key(self) -> str:
        """A short name for these values, whatever else the campaign has."""
        return hashlib.sha256(json.dumps(self.values, sort_keys=True).encode()).hexdigest()[:12]

    @property
    def title(self) -> str:
        """The values that it has, for people."""
        return title_of(self.values)


@dataclass(frozen=True, slots=True)
class Matrix:
    """A campaign as its file has it. ``strength`` None: every combination; ``always`` is the same in each run.

    ``excluded`` are combinations that are left out: of some factors, the values of which none may stand with the
    others'.
    """

    name: str
    factors: Mapping[str, Sequence[Value]]
    always: Mapping[str, Value]
    excluded: Sequence[Mapping[str, Sequence[Value]]]
    strength: int | None
    seed: str
    timeout_seconds: float

    def cases(self) -> list[Case]:
        """The combinations to run, the same ones for the same seed.

        :raises UsageError: there are none, or too many.
        """
        rows = self._every_row() if self.strength is None else self._covering_rows(self.strength)
        cases = [Case(number, dict(zip(self.factors, row, strict=True))) for number, row in enumerate(rows, 1)]
        if not cases:
            raise UsageError("nothing is left to run: what is excluded leaves no combination of the factors' values")
        return cases

    def _every_row(self) -> Iterator[tuple[Value, ...]]:
        count = math.prod(map(len, self.factors.values()))
        if count > MOST_CASES:
            raise UsageError(
                f"the factors have {count:,} combinations, more than {MOST_CASES:,}: give strength = 2, so that "
                "every pair of values is run, or fewer values"
            )
        rows = itertools.product(*self.factors.values())
        return (row for row in rows if self._is_possible(dict(zip(self.factors, row, strict=True))))

    def _covering_rows(self, strength: int) -> Iterable[tuple[Value, ...]]:
        source = random.Random(self.seed)  # noqa: S311 - not a secret
        covering = Covering(self.factors, self._is_possible, source, min(strength, len(self.factors)))
        return cast("Iterable[tuple[Value, ...]]", covering.covering_rows())

    def _is_possible(self, values: Mapping[str, object]) -> bool:
        """Whether nothing excludes these values of some factors; a fault goes with its own platform only."""
        known = {**self.always, **cast("Mapping[str, Value]", values)}
        if "fault" in known and ("platform" in known or "platform" not in self.factors):
            platform = Platform((known.get("platform") or (Platform.PSERIES,))[0])
            if not all(platform in platforms_of(fault) for fault in known["fault"]):
                return False
        return not any(
            all(name in known and known[name] in some for name, some in rule.items()) for rule in self.excluded
        )


def title_of(values: Mapping[str, Value]) -> str:
    """Values for people, in a line; those that are not given are left out."""
    told = [f"{name}={'+'.join(value)}" for name, value in values.items() if value != _OFF]
    return " ".join(told) or "nothing"


def read_matrix(path: Path, options: Iterable[str], seed: str | None = None) -> Matrix:
    """Read a campaign's file; ``options`` are the names of the options of a run, which can be factors.

    ``seed`` takes the place of the file's.

    :raises SetupError: the file can't be read.
    :raises UsageError: something in it is wrong.
    """
    check_file("the campaign", path)
    with reading("the campaign", path):
        content = path.read_bytes() if path.stat().st_size <= MOST_BYTES else None
    if content is None:
        raise UsageError(f"{path} has {path.stat().st_size:,} bytes, more than the {MOST_BYTES:,} that are read")
    try:
        read = tomllib.loads(content.decode())
    except (UnicodeDecodeError, tomllib.TOMLDecodeError, RecursionError) as error:
        raise UsageError(f"{path} is not TOML: {error or 'it is nested too deeply'}") from error
    except ValueError as error:  # a number of so many digits that Python doesn't convert it
        raise UsageError(f"{path} is not TOML: {_LONG_NUMBER}") from error
    try:
        _check_leaves(read)
        return _Reader(sorted(options), seed).matrix(read, in_a_line(path.stem))
    except UsageError as error:
        raise UsageError(f"{path}: {error}") from error


class _Reader:
    def __init__(self, options: Sequence[str], seed: str | None) -> None:
        self._options = options
        self._seed = seed

    def matrix(self, read: Mapping[str, object], name: str) -> Matrix:
        for key in read:
            _check_known(key, _KEYS, "")
        seed = _text(read, "seed", "0") if self._seed is None else self._seed
        if not is_utf8(seed):
            raise UsageError(f"seed {quoted(seed)} isn't UTF-8: write another text")
        always = {key: self._value(key, value) for key, value in self._table(read, "always").items()}
        platforms = self._platforms(read, always)
        factors = {
            key: self._values(key, values, platforms, seed) for key, values in self._table(read, "factors").items()
        }
        if not factors:
            raise UsageError("there are no factors: write [factors], and below it as memory = ['2G', '4G']")
        if both := sorted(set(factors) & set(always)):
            raise UsageError(f"{both[0]} stands in [factors] and in [always]: leave one out")
        return Matrix(
            name=_name(read, name),
            factors=factors,
            always=always,
            excluded=tuple(self._exclusions(read, factors)),
            strength=_strength(read),
            seed=seed,
            timeout_seconds=_timeout(read),
        )

    def _table(self, read: Mapping[str, object], name: str) -> Mapping[str, object]:
        table = read.get(name, {})
        if not isinstance(table, dict):
            raise UsageError(f"{name} is no table: write [{name}], and what is in it below")
        for key in table:
            _check_known(key, self._options, f" in [{name}]")
        return table

    def _platforms(self, read: Mapping[str, object], always: Mapping[str, Value]) -> Sequence[Platform]:
        """Those that the campaign runs on, which say what faults there are."""
        given = self._table(read, "factors").get("platform", list(always.get("platform", (Platform.PSERIES.value,))))
        return [platform for platform in Platform if platform.value in (given if isinstance(given, list) else [given])]

    def _values(self, name: str, values: object, platforms: Sequence[Platform], seed: str) -> Sequence[Value]:
        if not isinstance(values, list):
            raise UsageError(f"{name} in [factors] is no list: write {name} = [{json.dumps(values, default=str)}]")
        found: list[Value] = []
        for value in values:
            if name == "fault" and value == _EVERY:
                found += [(fault,) for platform in platforms for fault in every_fault(platform)]
            elif name == CONFIGURATION and value == _EVERY:
                found += [(str(number),) for number, _configuration in enumerate(full_set(seed), 1)]
            else:
                found.append(self._value(name, value))
        if not found:
            raise UsageError(f"{name} in [factors] has no values: write at least one, or leave it out")
        return list(dict.fromkeys(found))

    def _value(self, name: str, value: object) -> Value:
        if isinstance(value, list):
            value = tuple(text for part in value for text in self._value(name, part))
        elif value is True:
            value = ("true",)
        elif value is False or value == "":
            value = _OFF
        elif isinstance(value, str | int | float):
            value = (str(value),)
        else:
            raise UsageError(f"{name} can't be {value}: write a text, a number, true or false")
        if name == "fault":
            _check_faults(value)
        if name == "platform":
            _check_platforms(value)
        return value

    def _exclusions(
        self, read: Mapping[str, object], factors: Mapping[str, Sequence[Value]]
    ) -> Iterator[Mapping[str, Sequence[Value]]]:
        rules = read.get("exclude", [])
        if not isinstance(rules, list) or not all(isinstance(rule, dict) and rule for rule in rules):
            raise UsageError("exclude is no list of tables: write [[exclude]] before each, and values of factors below")
        for rule in rules:
            made = {}
            for name, given in rule.items():
                _check_known(name, list(factors), " in [[exclude]] that is a factor")
                made[name] = [self._value(name, value) for value in (given if isinstance(given, list) else [given])]
                for value in made[name]:
                    if value not in factors[name]:
                        raise UsageError(f"[[exclude]] has {title_of({name: value})}, which is no value of that factor")
            yield made


def _check_known(word: str, known: Sequence[str], where: str) -> None:
    if word not in known:
        near = nearest(word, known, AMONG_FEW)
        raise UsageError(f"there is no {word}{where}{f'; did you mean {near}?' if near else ''}")


def _check_faults(value: Value) -> None:
    for fault in value:
        if not platforms_of(fault):
            names = [name for platform in Platform for name in every_fault(platform)]
            near = nearest(fault, names)
            more = f"; did you mean {near}?" if near else ""
            raise UsageError(f"{fault} is not a fault: 'fadump run --fault list' has them all{more}")


def _check_platforms(value: Value) -> None:
    known = [platform.value for platform in Platform]
    for platform in value:
        if platform not in known:
            raise UsageError(f"platform can't be {platform}: write {' or '.join(known)}")


def _check_leaves(read: object) -> None:
    """TOML's numbers have 64 bits, and no word of a command can have a NUL."""
    left = [read]
    while left:
        value = left.pop()
        if isinstance(value, dict):
            left += [*value, *value.values()]
        elif isinstance(value, list):
            left += value
        elif isinstance(value, int) and value.bit_length() > _MOST_BITS:
            raise UsageError(_LONG_NUMBER)
        elif isinstance(value, str) and "\0" in value:
            raise UsageError(f"a text in it has a NUL character, which no option can have: {quoted(value)}")


def _name(read: Mapping[str, object], file_name: str) -> str:
    name = _text(read, "name", file_name)
    if not name:
        raise UsageError("name is empty: write what reports are to call it, or leave it out")
    return name


def _text(read: Mapping[str, object], name: str, default: str) -> str:
    value = read.get(name, default)
    if not isinstance(value, str | int) or isinstance(value, bool):
        raise UsageError(f"{name} can't be {value}: write a text")
    return str(value)


def _strength(read: Mapping[str, object]) -> int | None:
    value = read.get("strength", _ALL)
    if value == _ALL:
        return None
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise UsageError(
            f"strength can't be {value}: write how many factors' values are run in every combination, as 2"
        )
    return value


def _timeout(read: Mapping[str, object]) -> float:
    value = read.get("timeout", _DEFAULT_TIMEOUT)
    if not isinstance(value, int | float) or isinstance(value, bool) or not 0 < value <= _MOST_SECONDS:
        raise UsageError(f"timeout can't be {value}: write how many seconds a run may take, as 600")
    return float(value)

"""The service's configuration: /etc/fadump.toml as types, each setting with its default and what is allowed.

Whatever is wrong with a file is said at once, a sentence each. ``data/fadump.toml`` is the commented default.
"""

import os
import stat
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Annotated, TypeVar

from fadump.capture.options import Format
from fadump.capture.packers import Compression
from fadump.errors import SetupError, UsageError, reason
from fadump.linux.pages.page_class import DumpLevel
from fadump.service.lines import Problems, lines_of
from fadump.service.settings import (
    COMMAND,
    SIZE,
    Kind,
    choice,
    either,
    keys,
    matching,
    number,
    read_settings,
    several,
    shown,
    word,
)
from fadump.service.targets.contract import TargetSettings
from fadump.service.targets.directory import DirectorySettings
from fadump.service.targets.kinds import KINDS, settings_of

T = TypeVar("T")

_TYPE = "type"
_TARGET = "target"
_MOST_LEVEL = 31
_MOST_SECONDS = 86400
_MOST_BYTES = 1 << 20
_WORDS = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+(?:\.[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+)*"
"""Either half of an address; RFC 5322's dot-atom, for which a mail's header needs no quotes."""


class ConfigError(UsageError):
    """A configuration that can't be used. ``problems`` has a sentence for each thing that is wrong."""

    def __init__(self, path: Path, problems: list[str]) -> None:
        self.path = path
        self.problems = tuple(problems)
        super().__init__("; ".join(f"{path}: {problem}" for problem in problems))


class OnFailure(StrEnum):
    """What is done when no target has taken the dump."""

    KEEP = "keep"
    """Go on booting. The firmware keeps the dump, and the next boot tries again."""
    SHELL = "shell"
    """Ask for root's password on the console, and go on when that shell has ended."""
    REBOOT = "reboot"
    """Reboot. Linux tells the firmware to drop the dump on its way down."""
    POWEROFF = "poweroff"
    """Switch off. The dump is gone then."""


class Priority(StrEnum):
    """How much of the system the capture may take from others."""

    IDLE = "idle"
    """Processor time and disks only as nobody else wants them."""
    NORMAL = "normal"


def _levels() -> Kind:
    level = number(0, _MOST_LEVEL, f"a level from 0 to {_MOST_LEVEL}")
    one = Kind(level.allowed, lambda value: (DumpLevel(level.read(value)),))
    more = Kind("a list of those", lambda value: tuple(map(DumpLevel, several(level, least=1).read(value))))
    return either(one, more)


_SECONDS = number(1, _MOST_SECONDS, f"seconds from 1 to {_MOST_SECONDS}")


@dataclass(frozen=True, slots=True)
class SaveSettings:
    """How a dump is saved: see ``fadump save``. ``threads`` None: as many as there are CPUs and memory for."""

    level: Annotated[tuple[DumpLevel, ...], _levels()] = (DumpLevel(_MOST_LEVEL),)
    compress: Annotated[Compression, choice(Compression)] = Compression.ZSTD
    format: Annotated[Format, choice(Format)] = Format.KDUMP
    threads: Annotated[int | None, either(word("auto"), number(1, 1024))] = None
    priority: Annotated[Priority, choice(Priority)] = Priority.IDLE


@dataclass(frozen=True, slots=True)
class KeepSettings:
    """How many dumps stay, and how many bytes; 0: any number."""

    dumps: Annotated[int, number(0, 1_000_000)] = 0
    bytes: Annotated[int, SIZE] = 0


@dataclass(frozen=True, slots=True)
class HookSettings:
    """Programs that are run before the dump is saved and at the end, each for so many seconds at most."""

    before: Annotated[tuple[str, ...], COMMAND] = ()
    after: Annotated[tuple[str, ...], COMMAND] = ()
    timeout: Annotated[int, _SECONDS] = 60


@dataclass(frozen=True, slots=True)
class NotifySettings:
    """Who is told of the end, each within so many seconds; nothing: nobody."""

    command: Annotated[tuple[str, ...], COMMAND] = ()
    mail: Annotated[str, matching(rf"|{_WORDS}(@{_WORDS})?", 'an address, or "" for none')] = ""
    webhook: Annotated[str, matching(r"|https?://\S+", 'an address that begins with http:// or https://, or ""')] = ""
    timeout: Annotated[int, _SECONDS] = 30


@dataclass(frozen=True, slots=True)
class Config:
    """All settings; the defaults are those of an empty file."""

    on_failure: Annotated[OnFailure, choice(OnFailure)] = OnFailure.KEEP
    save: SaveSettings = field(default_factory=SaveSettings)
    targets: tuple[TargetSettings, ...] = field(default_factory=lambda: (DirectorySettings(),))
    keep: KeepSettings = field(default_factory=KeepSettings)
    hooks: HookSettings = field(default_factory=HookSettings)
    notify: NotifySettings = field(default_factory=NotifySettings)


_TABLES = ("save", "keep", "hooks", "notify")


def read_config(path: Path, *, may_be_missing: bool = False) -> Config:
    """Read a configuration; with ``may_be_missing``, a file that isn't there stands for the defaults.

    :raises ConfigError: with all that is wrong.
    :raises SetupError: it can't be read.
    """
    try:
        raw = _read(path)
    except OSError as error:
        if may_be_missing and isinstance(error, FileNotFoundError) and not path.is_symlink():
            return Config()
        raise SetupError(f"{path} can't be read: {reason(error)}") from error
    if len(raw) > _MOST_BYTES:
        raise SetupError(f"{path} has more than {_MOST_BYTES:,} bytes, which is no configuration")
    return parse_config(raw, path)


def _read(path: Path) -> bytes:
    """A file's bytes, one too many if there are more than are read. A pipe isn't waited for.

    :raises SetupError: it is something else than a file.
    """
    fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        mode = os.fstat(fd).st_mode
        if not stat.S_ISREG(mode):
            raise SetupError(f"{path} is {'a directory' if stat.S_ISDIR(mode) else 'no file'}: put a file there")
        return os.read(fd, _MOST_BYTES + 1)
    finally:
        os.close(fd)


def parse_config(raw: bytes, path: Path) -> Config:
    """A configuration from a file's bytes; ``path`` names the file in errors.

    :raises ConfigError: with all that is wrong.
    """
    try:
        text = raw.decode()
        table = tomllib.loads(text)
    except UnicodeDecodeError as error:
        raise ConfigError(path, [f"its bytes from {error.start} on are not UTF-8, as TOML has to be"]) from error
    except (ValueError, RecursionError) as error:  # a number of thousands of digits is no TOMLDecodeError
        raise ConfigError(path, [f"it is not TOML: {error}"]) from error
    problems = Problems(lines_of(text))
    own = read_settings(Config, table, "", problems, others=[*_TABLES, _TARGET])
    save = _table(SaveSettings, table, "save", problems)
    keep = _table(KeepSettings, table, "keep", problems)
    hooks = _table(HookSettings, table, "hooks", problems)
    notify = _table(NotifySettings, table, "notify", problems)
    targets = _targets(table[_TARGET], problems) if _TARGET in table else Config().targets
    if own is None or save is None or keep is None or hooks is None or notify is None or problems.sentences:
        raise ConfigError(path, problems.sentences)
    return Config(own.on_failure, save, targets, keep, hooks, notify)


def _table(settings: type[T], file: Mapping[str, object], name: str, problems: Problems) -> T | None:
    table = file.get(name, {})
    if isinstance(table, Mapping):
        return read_settings(settings, table, f"{name}.", problems)
    problems.add("", name, f"{name} is {shown(table)}: allowed is a table [{name}] with {', '.join(keys(settings))}")
    return None


def _targets(tables: object, problems: Problems) -> tuple[TargetSettings, ...]:
    if not isinstance(tables, list) or not tables or not all(isinstance(table, Mapping) for table in tables):
        sentence = f"{_TARGET} is {shown(tables)}: allowed are tables [[{_TARGET}]], each with a type"
        problems.add("", _TARGET, sentence)
        return ()
    read = [_target(table, f"{_TARGET} {number}: ", problems) for number, table in enumerate(tables, start=1)]
    return tuple(target for target in read if target is not None)


def _target(table: Mapping[str, object], where: str, problems: Problems) -> TargetSettings | None:
    types = " or ".join(f'"{name}"' for name in KINDS)
    name = table.get(_TYPE)
    if name is None:
        problems.add(where, _TYPE, f"{where}{_TYPE} is missing: {types}")
    elif not isinstance(name, str) or name not in KINDS:
        problems.add(where, _TYPE, f"{where}{_TYPE} is {shown(name)}: allowed is {types}")
    else:
        rest = {key: value for key, value in table.items() if key != _TYPE}
        return read_settings(settings_of(name), rest, where, problems)
    return None

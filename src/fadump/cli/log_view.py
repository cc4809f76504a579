"""Which messages of a log are shown, and how: the options of util-linux's dmesg(1), with the meanings it gives them."""

import argparse
import os
import re
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from fadump.linux.log.record import LogRecord
from fadump.printable import printable

LEVELS = ("emerg", "alert", "crit", "err", "warn", "notice", "info", "debug")
"""syslog(3)'s, by number."""
FACILITIES = (
    *("kern", "user", "mail", "daemon", "auth", "syslog", "lpr", "news", "uucp", "cron", "authpriv", "ftp"),
    *("res0", "res1", "res2", "res3", "local0", "local1", "local2", "local3", "local4", "local5", "local6", "local7"),
)
"""syslog(3)'s, by number."""
_SECOND_NS = 1_000_000_000
_SUBSYSTEM = re.compile(r"[^\n]*?:[ \t]")
_SEGFAULT = re.compile(r"segfault at")
_RESET = "\x1b[0m"
_TIME, _NAME = "\x1b[32m", "\x1b[33m"
_BY_LEVEL = {0: "\x1b[7m\x1b[31m", 1: "\x1b[7m\x1b[31m", 2: "\x1b[1m\x1b[31m", 3: "\x1b[31m", 4: "\x1b[1m"}
_OF_SEGFAULT = "\x1b[2m\x1b[31m"


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which messages are wanted: of these levels and facilities, all if empty, and from a time since boot on."""

    levels: Sequence[int] = ()
    facilities: Sequence[int] = ()
    since_ns: int | None = None

    def __contains__(self, record: LogRecord) -> bool:
        """Whether a message is wanted; one without a time is of no time."""
        if self.levels and record.level not in self.levels:
            return False
        if self.facilities and record.facility not in self.facilities:
            return False
        return self.since_ns is None or (record.timestamp_ns is not None and record.timestamp_ns >= self.since_ns)


@dataclass(frozen=True, slots=True)
class Style:
    """How messages are shown. ``boot_time`` in seconds since 1970, UTC: times are local ones by it, else since boot."""

    boot_time: int | None = None
    coloured: bool = False

    def lines(self, record: LogRecord) -> Iterator[str]:
        """A message's lines, each with the time."""
        if not self.coloured and self.boot_time is None:
            yield from record.lines()
            return
        stamp = self._stamp(record)
        prefix = f"{_TIME}{stamp}{_RESET}" if self.coloured and stamp else stamp
        if record.text is None:
            yield f"{prefix}(the dump doesn't have this message's text)"
            return
        for line in record.text.split("\n"):
            shown = printable(line)
            yield prefix + (_coloured(shown, record.level) if self.coloured else shown)

    def _stamp(self, record: LogRecord) -> str:
        if record.timestamp_ns is None or self.boot_time is None:
            return record.stamp
        try:
            return f"[{time.ctime(self.boot_time + record.timestamp_ns // _SECOND_NS)}] "
        except (OverflowError, ValueError, OSError):  # the record says anything
            return record.stamp


def _coloured(line: str, level: int) -> str:
    name = _SUBSYSTEM.match(line)
    named = "" if name is None else name[0]
    rest = line[len(named) :]
    colour = _OF_SEGFAULT if _SEGFAULT.search(rest) else _BY_LEVEL.get(level, "")
    shown = f"{colour}{rest}{_RESET}" if colour and rest else rest
    return f"{_NAME}{named}{_RESET}{shown}" if named else shown


def wants_colour(when: str) -> bool:
    """Whether stdout gets colours: with "auto" on a terminal that has them, unless NO_COLOR is set."""
    if when != "auto":
        return when == "always"
    return sys.stdout.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def levels(text: str) -> list[int]:
    """A list of levels by name or number, for argparse.

    :raises argparse.ArgumentTypeError: there is none of such a name.
    """
    return _numbers(text, LEVELS, "level")


def facilities(text: str) -> list[int]:
    """A list of facilities by name or number, for argparse.

    :raises argparse.ArgumentTypeError: there is none of such a name.
    """
    return _numbers(text, FACILITIES, "facility")


def _numbers(text: str, names: Sequence[str], what: str) -> list[int]:
    return list(_each_number(text.split(","), names, what))


def _each_number(words: Iterable[str], names: Sequence[str], what: str) -> Iterator[int]:
    by_name = {name: number for number, name in enumerate(names)}
    by_name |= {str(number): number for number in range(len(names))}
    for word in words:
        if word not in by_name:
            raise argparse.ArgumentTypeError(f"there is no {what} '{word}': write {', '.join(names)}")
        yield by_name[word]

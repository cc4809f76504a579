"""A machine's console, in its log and where somebody looks at it."""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fadump.errors import FadumpError, MachineError, SetupError, note_console, note_phase
from fadump.machine.contract import ConsoleLog
from fadump.signals import EndedBySignal, OutOfTime

CONSOLE_LOG = "console.log"
"""Its name in a directory of a command's files."""
_PANIC = re.compile(rb"Kernel panic - not syncing: ([^\r\n]*)\r?\n")

_BANNER = re.compile(rb"^(\[ *\d+\.\d+\](\[ *[TC]\d+\])? )?Linux version ", re.MULTILINE)
"""Of start_kernel() (init/main.c), after which the console is set up. prom_init() speaks before that, by firmware."""


class _Both:
    """What goes to two."""

    def __init__(self, log: ConsoleLog, screen: ConsoleLog) -> None:
        self._log = log
        self._screen = screen

    def write(self, data: bytes, /) -> int:
        self._log.write(data)
        return self._screen.write(data)

    def flush(self) -> None:
        self._log.flush()


def shown(log: ConsoleLog, screen: ConsoleLog | None) -> ConsoleLog:
    """The log of a console which is shown on a screen as well, if there is one."""
    return log if screen is None else _Both(log, screen)


@contextmanager
def telling_log(log: Path) -> Iterator[None]:
    """An error or a signal from within says where the console is, if anything of it has come into its log since."""
    before = _inode(log)
    try:
        yield
    except (FadumpError, OSError, EndedBySignal) as error:
        if _inode(log) not in (None, before):
            note_console(error, log)
        raise


@contextmanager
def unless_silent(log: Path) -> Iterator[None]:
    """A machine that is given up before its Linux has a console has not been tried.

    :raises SetupError: in place of an error or the end of its time.
    """
    before = _inode(log)
    try:
        yield
    except (MachineError, OutOfTime) as error:
        if _inode(log) not in (None, before) and _BANNER.search(log.read_bytes()):
            raise
        silent = SetupError(f"Linux has not come to its console, so it could not be tried: {error}")
        if error.phase is not None:
            note_phase(silent, error.phase, error.firmware)
        raise silent from error


class Panics:
    """What kernels say of their panics in a console's log, as it grows."""

    def __init__(self, log: Path) -> None:
        self._log = log
        self._read_bytes = 0

    def new(self) -> str | None:
        """The last panic since the one before, in the kernel's words; None: it has said nothing of one."""
        try:
            with self._log.open("rb") as log:
                if log.seek(0, os.SEEK_END) < self._read_bytes:  # the next cycle's
                    self._read_bytes = 0
                log.seek(self._read_bytes)
                found = list(_PANIC.finditer(log.read()))
        except OSError:
            return None
        if not found:
            return None
        self._read_bytes += found[-1].end()
        return found[-1][1].decode(errors="replace").strip()


def _inode(log: Path) -> int | None:
    """What tells a log from an earlier one; None: there is nothing in it."""
    try:
        found = log.stat()
    except OSError:
        return None
    return found.st_ino if found.st_size else None

"""The one way to show work that takes long: a moving line on a terminal, plain lines now and then elsewhere.

One line moves at a time: while a step within another is shown, the other's line is away. What is printed meanwhile is
printed :func:`beside` the line. Where none can move nothing is silent for long either, as what is waited for is said.
A command that tells a story has :mod:`fadump.look`.

    with Progress.step("Building Linux 6.12", total=1600, unit="files") as step:
        for _ in work:
            step.advance()

Everything goes to stderr; stdout belongs to a command's result.
"""

import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from contextvars import ContextVar
from enum import Enum
from typing import TYPE_CHECKING, TextIO

from fadump.errors import STDERR, naming
from fadump.reminder import Reminder

if TYPE_CHECKING:
    from fadump.moving_line import MovingLine

PLAIN_INTERVAL_SECONDS = 10.0
"""How often a step reports its progress where there is no terminal, in seconds."""
SILENCE_SECONDS = 2.0
"""How long nothing may be said there before what is waited for is said."""

_HIDDEN = ContextVar("_HIDDEN", default=False)
_EXPENDABLE = ContextVar("_EXPENDABLE", default=False)
_SHOWN: ContextVar["MovingLine | Reminder | None"] = ContextVar("_SHOWN", default=None)
_DONE_IN = "done in"
_NO_CURSOR = ("dumb", "unknown")
"""Terminals on which nothing can be drawn anew, by their TERM."""
_BINARY_UNITS = ("bytes", "KiB", "MiB", "GiB", "TiB")


class Tone(Enum):
    """What a line on a terminal begins with: a mark, the same in ASCII, and rich's style for both.

    The colours are the terminal's own red and green, which its owner can read on their background.
    """

    DONE = ("✓", "+", "green")
    BAD = ("✗", "x", "bold red")
    """The style is the text's, too."""
    NOTE = ("·", "-", "")


class Step:
    """How far one piece of work is: ``done`` of ``total`` (None: not known), counted in ``unit``."""

    def __init__(
        self,
        label: str,
        total: float | None = None,
        unit: str = "steps",
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.clock = clock
        self.changed: Callable[[], None] | None = None
        """Called after every change, to display it."""
        self.begin(label, total, unit)

    def begin(self, label: str, total: float | None = None, unit: str = "steps") -> None:
        """Begin with another piece of work, which takes this one's place."""
        self.label = label
        self.total = total
        self.unit = unit
        self._started = self.clock()
        self.update(0)

    @property
    def elapsed_seconds(self) -> float:
        """Seconds since the step began."""
        return self.clock() - self._started

    def advance(self, amount: float = 1) -> None:
        """Count ``amount`` more units as done."""
        self.update(self.done + amount)

    def update(self, done: float, *, total: float | None = None) -> None:
        """Set how many units are done by now; ``total`` may become known late, or be corrected."""
        self.done = done
        if total is not None:
            self.total = total
        if self.changed is not None:
            self.changed()

    def status(self) -> str:
        """Amount, rate and remaining time, as far as known; else the time it has taken."""
        elapsed = self.elapsed_seconds
        if not self.done or elapsed <= 0:
            return duration(elapsed)
        rate = self.done / elapsed
        if self.unit == "bytes":
            amount = binary_size(self.done) + (f" of {binary_size(self.total)}" if self.total else "")
            told = [amount, f"{binary_size(rate)}/s"]
        else:
            amount = f"{self.done:.0f}" + (f" of {self.total:.0f}" if self.total else "")
            told = [f"{amount} {self.unit}", f"{rate:.1f}/s"]
        if self.total and self.done < self.total:
            told.append(f"about {duration((self.total - self.done) / rate)} left")
        return ", ".join(told)


class Progress:
    """Shows steps, one at a time."""

    @staticmethod
    @contextmanager
    def step(
        label: str,
        total: float | None = None,
        unit: str = "steps",
        *,
        stream: TextIO | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> Iterator[Step]:
        """Show ``label`` while the block runs; the unit "bytes" is shown as KiB, MiB and so on.

        The last line says how long it took, or that it was not finished if the block raises.
        ``stream`` is stderr and ``clock`` (seconds) the monotonic clock unless a test says otherwise.
        """
        step = Step(label, total, unit, clock)
        if _HIDDEN.get():
            yield step
            return
        outcome = "not finished after"
        with beside():
            out = sys.stderr if stream is None else stream
            try:
                with moving(step, out) if is_terminal(out) else _in_lines(step, out):
                    yield step
                outcome = _DONE_IN
            finally:
                _say(_last_line(step, outcome, out), out)


def is_terminal(out: TextIO) -> bool:
    """Whether a line can move there."""
    return out.isatty() and os.environ.get("TERM") not in _NO_CURSOR


@contextmanager
def moving(step: Step, out: TextIO | None = None) -> Iterator[None]:
    """Show a line for ``step`` while the block runs, on ``out`` or stderr: one that moves, and leaves nothing, if that
    is a terminal; else as :func:`reminding`."""
    out = sys.stderr if out is None else out
    if not is_terminal(out):
        with reminding(step, out):
            yield
        return
    if _HIDDEN.get():
        yield
        return
    from fadump.moving_line import MovingLine  # noqa: PLC0415 - rich is slow to start, and only a terminal needs it

    line = MovingLine(lambda: step.label, step.total, step.status, out)
    step.changed = lambda: line.update(step.done, step.total)
    with _shown(line):
        yield


@contextmanager
def reminding(step: Step, out: TextIO | None = None, first_seconds: float = SILENCE_SECONDS) -> Iterator[None]:
    """Tell of ``step`` in lines on ``out`` or stderr while the block runs: once nothing has been said for
    ``first_seconds``, and every PLAIN_INTERVAL_SECONDS after that. What is printed :func:`beside` it is something said.
    """
    out = sys.stderr if out is None else out
    if _HIDDEN.get():
        yield
        return

    def say() -> None:
        with suppress(OSError):  # that nobody reads it is found when there is more to say
            _say(f"{step.label}: {step.status()}", out)

    reminder = Reminder(say, first_seconds, PLAIN_INTERVAL_SECONDS, step.clock)
    step.changed = reminder.look
    with _shown(reminder):
        yield


@contextmanager
def _shown(line: "MovingLine | Reminder") -> Iterator[None]:
    token = _SHOWN.set(line)
    try:
        with line.shown():
            yield
    finally:
        _SHOWN.reset(token)


@contextmanager
def beside() -> Iterator[None]:
    """Print in the block without regard to a line that is shown: it is taken away, and shown again afterwards."""
    line = _SHOWN.get()
    token = _SHOWN.set(None)
    try:
        with nullcontext() if line is None else line.paused():
            yield
    finally:
        _SHOWN.reset(token)


@contextmanager
def hidden() -> Iterator[None]:
    """No step that begins in the block is shown."""
    token = _HIDDEN.set(True)
    try:
        yield
    finally:
        _HIDDEN.reset(token)


@contextmanager
def expendable() -> Iterator[None]:
    """In the block a line that can't be written, as to a full disk, is left out, and the work goes on."""
    token = _EXPENDABLE.set(True)
    try:
        yield
    finally:
        _EXPENDABLE.reset(token)


def duration(seconds: float) -> str:
    """Format seconds for people: "0.3 s", "42 s", "8 min 5 s", "1 h 2 min"."""
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def binary_size(size_bytes: float) -> str:
    """Format a number of bytes for people: "512 bytes", "1.5 GiB"."""
    size = float(size_bytes)
    for unit in _BINARY_UNITS[:-1]:
        if size < 1024:
            return f"{size:.0f} {unit}" if unit == "bytes" else f"{size:.1f} {unit}"
        size /= 1024
    return f"{size:.1f} {_BINARY_UNITS[-1]}"


@contextmanager
def _in_lines(step: Step, out: TextIO) -> Iterator[None]:
    _say(f"{step.label} ...", out)
    with reminding(step, out, PLAIN_INTERVAL_SECONDS):
        yield


def _last_line(step: Step, outcome: str, out: TextIO) -> str:
    took = duration(step.elapsed_seconds)
    if not is_terminal(out):
        return f"{step.label}: {outcome} {took}"
    from fadump.moving_line import line_that_stays  # noqa: PLC0415 - as above

    if outcome == _DONE_IN:
        return line_that_stays(Tone.DONE.value, " ", step.label, took, out)
    return line_that_stays(Tone.BAD.value, " ", step.label, f"{outcome} {took}", out)


def _say(line: str, out: TextIO) -> None:
    with suppress(OSError) if _EXPENDABLE.get() else naming(STDERR):
        print(line, file=out, flush=True)

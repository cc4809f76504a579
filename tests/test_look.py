"""The story of a command, as a terminal, a pipe and a log have it."""

import io
import re
import sys
import threading
from contextlib import suppress
from pathlib import Path

import pytest

from fadump.look import Look
from fadump.progress import Tone, beside


class Terminal(io.StringIO):
    def isatty(self):
        return True


class LinesWritten(io.StringIO):
    """A log that can be waited for."""

    def __init__(self):
        super().__init__()
        self._flushed = threading.Event()

    def flush(self):
        self._flushed.set()

    def wait(self):
        """Wait for the first line."""
        assert self._flushed.wait(60)


@pytest.fixture
def terminal(monkeypatch):
    """Without colours."""
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("NO_COLOR", "1")
    return Terminal()


def plain(terminal):
    return re.sub(r"\x1b\[[\d;]*m", "", terminal.getvalue()).splitlines()


def tell(look):
    look.reached("power on", 0.0)
    look.reached("the kernel has registered", 21.4)
    look.reached("crash", 25.0, Tone.BAD)
    look.more("panic: why\x1b[2J")


def test_elsewhere_a_line_has_the_seconds_and_the_text():
    out = io.StringIO()
    tell(Look(out, like=out))
    assert out.getvalue().splitlines() == [
        "    0.00 s  power on",
        "   21.40 s  the kernel has registered",
        "   25.00 s  crash",
        "            panic: why\\x1b[2J",
    ]


def test_on_a_terminal_it_has_a_mark_and_how_long_it_took(terminal):
    tell(Look(terminal, like=terminal))
    assert plain(terminal) == [
        "✓   0.00 s  power on",
        f"{'✓  21.40 s  the kernel has registered':75}21 s",
        f"{'✗  25.00 s  crash':74}3.6 s",
        "            panic: why\\x1b[2J",
    ]


def test_a_prefix_has_its_place_in_the_line(terminal):
    look = Look(terminal, like=terminal, prefix="fadump: ")
    look.reached("word " * 30, 30.0)
    lines = terminal.getvalue().splitlines()
    assert len(lines) > 1
    assert all(line.startswith("fadump: ") and len(line) < 80 for line in lines)


def test_what_is_waited_for_moves_on_stderr_and_leaves_nothing(terminal, monkeypatch):
    monkeypatch.setattr(sys, "stderr", terminal)
    look = Look(io.StringIO())
    with look.shown("the machine is made ready"):
        while terminal.getvalue().count("the machine is made ready") < 3:
            pass
        step = look.ahead("saving", 4 << 20, "bytes")
        step.update(1 << 20)
        while "1.0 MiB of 4.0 MiB" not in terminal.getvalue():
            pass
        look.ahead("releasing")
        while "releasing" not in terminal.getvalue():
            pass
    assert terminal.getvalue().endswith("\r\x1b[1A\x1b[2K")
    assert terminal.getvalue().splitlines()[-1].count("MiB") == 0


def test_where_stderr_is_no_terminal_nothing_moves(monkeypatch):
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    with Look(io.StringIO()).shown("waiting"):
        pass
    assert sys.stderr.getvalue() == ""


def test_there_it_is_said_what_is_waited_for_once_that_takes_long(monkeypatch):
    """A clock that only this test turns; the story says nothing itself meanwhile."""
    written = LinesWritten()
    monkeypatch.setattr(sys, "stderr", written)
    now = 0.0
    look = Look(io.StringIO(), clock=lambda: now)
    with look.shown("the machine is made ready"):
        now = 2.0
        written.wait()
        look.reached("power on", 0.0)
        step = look.ahead("saving", 4 << 20, "bytes")
        now = 4.0
        step.update(1 << 20)
        now = 14.0
        step.update(2 << 20)
    assert written.getvalue().splitlines() == [
        "the machine is made ready: 2.0 s",
        "saving: 1.0 MiB of 4.0 MiB, 512.0 KiB/s, about 6.0 s left",
        "saving: 2.0 MiB of 4.0 MiB, 170.7 KiB/s, about 12 s left",
    ]


def test_among_the_words_of_others_no_line_moves_and_theirs_end_a_silence(terminal, monkeypatch):
    monkeypatch.setattr(sys, "stderr", terminal)
    now = 0.0
    look = Look(io.StringIO(), clock=lambda: now)
    with look.shown("the machine is made ready", among_others=True):
        step = look.ahead("the kernel boots")
        now = 1.9
        with beside():
            print("Linux version 6.12", file=terminal)
        now = 3.8
        step.update(0)
        now = 3.9
        step.update(0)
    assert terminal.getvalue() == "Linux version 6.12\nthe kernel boots: 3.9 s\n"


def test_whoever_has_gone_from_stderr_ends_no_story(monkeypatch):
    with Path("/dev/full").open("w") as full:
        monkeypatch.setattr(sys, "stderr", full)
        now = 0.0
        look = Look(io.StringIO(), clock=lambda: now)
        with look.shown("the machine is made ready"):
            step = look.ahead("saving", 4 << 20, "bytes")
            now = 2.0
            step.update(1)
        monkeypatch.undo()
        with suppress(OSError):
            full.close()


def test_each_cycle_has_times_of_its_own(terminal):
    look = Look(terminal, like=terminal)
    look.reached("production", 90.0)
    look.begin()
    look.reached("power on", 0.0)
    look.reached("registered", 2.0)
    assert terminal.getvalue().splitlines()[-1].endswith(" 2.0 s")

"""What is ours on a terminal that shows a guest's console, too."""

import io
import subprocess
import sys

import pexpect
import pytest

from fadump.cli.seat import console_beside
from fadump.look import Look

SAYS = """
import sys, tty
from fadump.cli.output import Output
from fadump.cli.seat import TerminalSeat
terminal = TerminalSeat(Output())
if sys.stdin.isatty():
    tty.setraw(0)
terminal.seat.screen.write(b"guest# ")
terminal.seat.say("one\\ntwo")
terminal.seat.screen.write(b"ls\\r\\n")
terminal.say("three")
"""


def test_it_begins_on_a_line_of_its_own_and_ends_at_a_lines_start():
    with pexpect.spawn(sys.executable, ["-c", SAYS], timeout=60) as child:
        child.expect(pexpect.EOF)
        assert child.before == b"guest# \r\nfadump: one\r\nfadump: two\r\nls\r\nfadump: three\r\n"


STATUS = b"\x1bM\r\x1b[K[ ***] (1 of 2) Job\r\n"
"""What systemd writes over its line before (status_vprintf()): up, to the start, erased from there."""


@pytest.mark.parametrize(
    ("guest", "shown"),
    [
        ([STATUS], b"\r\n" + STATUS),
        ([STATUS[:1], STATUS[1:]], b"\r\n" + STATUS),
        ([b"\x1b[32mOK\r\n"], b"\x1b[32mOK\r\n"),
        ([b"ls\r\n" + STATUS], b"ls\r\n" + STATUS),
        ([b"ls\r\n", STATUS], b"ls\r\n" + STATUS),
    ],
)
def test_a_guest_that_writes_over_its_last_line_leaves_ours_alone(guest, shown):
    script = (
        SAYS.split("terminal.seat.screen", maxsplit=1)[0]
        + f"""
terminal.seat.screen.write({STATUS!r})
terminal.say("one")
for data in {guest!r}:
    terminal.seat.screen.write(data)
"""
    )
    with pexpect.spawn(sys.executable, ["-c", script], timeout=60) as child:
        child.expect(pexpect.EOF)
        assert child.before == STATUS + b"fadump: one\r\n" + shown


def test_a_pipe_gets_lines_as_they_are():
    done = subprocess.run(
        [sys.executable, "-c", SAYS], stdin=subprocess.DEVNULL, capture_output=True, text=True, check=True
    )
    assert (done.stdout, done.stderr) == ("guest# ls\n", "fadump: one\nfadump: two\nfadump: three\n")


@pytest.mark.parametrize(("beside", "shown"), [("a\n", b"guest# \r\na\r\n"), ("a\nb\n", b"guest# \r\na\r\nb\r\n")])
def test_a_runs_timeline_is_told_so_too(beside, shown):
    script = (
        SAYS.split("terminal.seat.say", maxsplit=1)[0] + f"print({beside!r}, end='', file=terminal.beside(sys.stdout))"
    )
    with pexpect.spawn(sys.executable, ["-c", script], timeout=60) as child:
        child.expect(pexpect.EOF)
        assert child.before == shown


def test_a_console_beside_a_story_ends_its_silence(capfd):
    now = 0.0
    look = Look(io.StringIO(), clock=lambda: now)
    console = console_beside()
    with look.shown("the machine is made ready", among_others=True):
        step = look.ahead("the kernel boots")
        now = 1.9
        console.write(b"Linux version 6.12\n")
        now = 3.8
        step.update(0)
        now = 3.9
        step.update(0)
    assert capfd.readouterr().err == "Linux version 6.12\nthe kernel boots: 3.9 s\n"

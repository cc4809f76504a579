"""The terminal of a machine: what is typed, for whom it is, and that the terminal is left as it was."""

import os
import pty
import select
import termios
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fadump.run.terminal import Key, Screen, Splitter, Terminal


class Typed:
    """A machine that notes what is typed on it. ``pump`` is its loop, as far as files are watched in it."""

    def __init__(self):
        self.keys = b""
        self.calls = 0
        self.watched = {}

    def type(self, keys):
        self.keys += keys

    def call(self):
        self.calls += 1

    def watch(self, fd, readable):
        with select.epoll() as poll:
            poll.register(fd)  # refuses a file on a disk, as an event loop does
        self.watched[fd] = readable

    def unwatch(self, fd):
        self.watched.pop(fd, None)

    def pump(self):
        while ready := select.select(list(self.watched), [], [], 0)[0]:
            for fd in ready:
                self.watched[fd]()


@pytest.mark.parametrize(
    ("typed", "guest", "keys"),
    [
        (b"ls\r", b"ls\r", []),
        (b"\x01c", b"", [Key.STATE]),
        (b"a\x01xb", b"ab", [Key.END]),
        (b"\x01\x01", b"\x01", []),
        (b"\x01\x01c", b"\x01c", []),
        (b"\x01q!", b"!", []),
        (b"\x01n\x01h", b"", [Key.NMI, Key.HELP]),
    ],
)
def test_what_follows_ctrl_a_is_for_the_machine(typed, guest, keys):
    assert Splitter().split(typed) == (guest, keys)


@given(st.binary(), st.integers(0, 100))
def test_a_command_may_come_in_pieces(typed, at):
    whole, pieces = Splitter(), Splitter()
    first, second = pieces.split(typed[:at]), pieces.split(typed[at:])
    assert whole.split(typed) == (first[0] + second[0], first[1] + second[1])


def test_a_terminal_is_raw_while_connected_and_then_as_it_was():
    ours, theirs = pty.openpty()
    try:
        before = termios.tcgetattr(theirs)
        machine = Typed()
        terminal = Terminal(theirs, machine)
        with suppress(KeyError), terminal.connected():
            assert not termios.tcgetattr(theirs)[3] & (termios.ICANON | termios.ECHO | termios.ISIG)
            os.write(ours, b"\x03ls\x01c")
            machine.pump()
            raise KeyError
        assert machine.keys == b"\x03ls"
        assert (machine.calls, terminal.taken(), terminal.taken()) == (1, [Key.STATE], [])
        assert termios.tcgetattr(theirs) == before
        assert not machine.watched
    finally:
        os.close(ours)
        os.close(theirs)


def test_a_pipe_is_typed_to_its_end():
    theirs, ours = os.pipe()
    machine = Typed()
    with os.fdopen(theirs, "rb"), Terminal(theirs, machine).connected():
        os.write(ours, b"echo c >/proc/sysrq-trigger\n")
        os.close(ours)
        machine.pump()
        assert machine.keys == b"echo c >/proc/sysrq-trigger\n"
        assert not machine.watched


def test_a_file_is_typed_at_once(tmp_path):
    (tmp_path / "typed").write_bytes(b"x" * 10_000)
    machine = Typed()
    with (tmp_path / "typed").open("rb") as file, Terminal(file.fileno(), machine).connected():
        assert machine.keys == b"x" * 10_000


def test_a_screen_that_nobody_looks_at_takes_everything():
    theirs, ours = os.pipe()
    screen = Screen(ours)
    assert screen.write(b"login: ") == 7
    assert os.read(theirs, 100) == b"login: "
    os.close(theirs)
    assert screen.write(b"unseen") == 6
    assert screen.is_gone
    os.close(ours)

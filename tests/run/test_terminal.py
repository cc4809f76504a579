"""The terminal of a machine: what is typed, for whom it is, and that the terminal is left as it was."""

import os
import pty
import select
import signal
import termios
import tty
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fadump.firmware.contract import State
from fadump.run.terminal import HELP, EndedError, Key, Screen, Seat, Splitter, Terminal, standing


class Typed:
    """A machine that notes what is typed on it. ``pump`` is its loop, as far as files are watched in it."""

    def __init__(self):
        self.keys = b""
        self.calls = 0
        self.nmis = 0
        self.watched = {}

    def type(self, keys):
        self.keys += keys

    def call(self):
        self.calls += 1

    def inject_nmi(self):
        self.nmis += 1

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


@pytest.fixture
def terminal():
    """Both ends of a terminal: what a person has, what a process has."""
    ours, theirs = pty.openpty()
    yield ours, theirs
    for fd in (ours, theirs):
        with suppress(OSError):
            os.close(fd)


def is_raw(fd):
    return not termios.tcgetattr(fd)[3] & (termios.ICANON | termios.ECHO | termios.ISIG)


@pytest.mark.parametrize("number", [signal.SIGTSTP, signal.SIGSTOP])
def test_a_terminal_is_as_it_was_while_its_process_is_stopped(terminal, number):
    _ours, theirs = terminal
    before = termios.tcgetattr(theirs)
    signals = [signal.getsignal(caught) for caught in (signal.SIGTSTP, signal.SIGCONT)]
    child = os.fork()
    if not child:
        os.setpgid(0, 0)  # an orphaned process group, as this one may be, is not stopped by SIGTSTP
        with Terminal(theirs, Typed()).connected():
            os.kill(os.getpid(), number)
            os.kill(os.getpid(), number)  # it has gone on
            os._exit(0 if is_raw(theirs) else 1)
    for _time in range(2):
        _pid, status = os.waitpid(child, os.WUNTRACED)
        assert os.WIFSTOPPED(status)
        assert termios.tcgetattr(theirs) == before or number is signal.SIGSTOP  # which nobody can see coming
        termios.tcsetattr(theirs, termios.TCSANOW, before)  # as a shell does
        os.kill(child, signal.SIGCONT)
    assert os.waitpid(child, 0)[1] == 0
    assert [signal.getsignal(caught) for caught in (signal.SIGTSTP, signal.SIGCONT)] == signals


def test_a_terminal_that_goes_away_is_a_pipe_that_ends(terminal):
    ours, theirs = terminal
    machine = Typed()
    screen = Screen(theirs)
    with Terminal(theirs, machine).connected():
        os.close(ours)
        machine.pump()
        assert not machine.watched
        assert screen.write(b"unseen") == 6
        assert screen.is_gone


def test_a_screen_that_cannot_be_waited_for_takes_everything(terminal):
    ours, theirs = terminal
    os.set_blocking(theirs, False)
    text = b"x" * 100_000
    reader = os.fork()
    if not reader:
        seen = 0
        while seen < len(text):
            seen += len(os.read(ours, 1 << 16))
        os._exit(0)
    tty.setraw(theirs)
    assert Screen(theirs).write(text) == len(text)
    assert os.waitpid(reader, 0)[1] == 0


def test_an_error_of_a_screens_disk_is_not_hidden():
    with Path("/dev/full").open("wb") as full, pytest.raises(OSError, match="No space left"):
        Screen(full.fileno()).write(b"login: ")


def test_whoever_sits_there_is_told_and_obeyed(terminal):
    ours, theirs = terminal
    termios.tcsetwinsize(theirs, (50, 132))
    machine, said = Typed(), []
    seat = Seat(None, theirs, said.append)
    with seat.taken(machine, lambda: standing(State.REGISTERED)) as called:
        os.write(ours, b"\x01c\x01s\x01n\x01h")
        machine.pump()
        called()
        called()
        assert said == ["a kernel has registered with the firmware", HELP]
        assert machine.keys == b"stty rows 50 cols 132\r"
        assert machine.nmis == 1
        os.write(ours, b"\x01x")
        machine.pump()
        with pytest.raises(EndedError, match="^the machine has been ended by Ctrl-a x$"):
            called()
    assert not machine.watched


def test_a_pipe_has_no_size(tmp_path):
    theirs, ours = os.pipe()
    machine, said = Typed(), []
    with os.fdopen(theirs), Seat(None, theirs, said.append).taken(machine, str) as called:
        os.write(ours, b"\x01s")
        machine.pump()
        called()
    os.close(ours)
    assert (said, machine.keys) == (["this is no terminal, so it has no size"], b"")


def test_the_help_has_every_key():
    assert all(f"Ctrl-a {key.value}  " in HELP for key in Key)


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

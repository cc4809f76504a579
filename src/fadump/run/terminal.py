"""The console of a machine as whoever started it has it: a terminal in raw mode, or a pair of pipes.

As in QEMU, Ctrl-a begins a command to the machine, and twice is Ctrl-a itself. A terminal is as it was again when
the context ends, whatever ended it, and while the process is stopped.
"""

import errno
import os
import select
import signal
import termios
import tty
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from enum import Enum
from types import FrameType
from typing import Protocol, runtime_checkable

from fadump.errors import MachineError
from fadump.firmware.contract import State
from fadump.machine.contract import ConsoleLog

ESCAPE = 0x01
_MOST_BYTES = 0x1000
_LINE_UP = b"\x1bM"
"""Reverse line feed, by which systemd goes back to its line before, to write over it."""
_STANDS = {
    State.IDLE: "no kernel has registered with the firmware",
    State.REGISTERED: "a kernel has registered with the firmware",
    State.TRIGGERED: "the firmware has been told of a crash",
    State.ACTIVE: "the firmware keeps a dump for the kernel",
    State.INVALIDATED: "the kernel has invalidated its dump, and has not registered again",
}


def standing(state: State) -> str:
    """Where the firmware stands, as a sentence."""
    return _STANDS[state]


class Key(Enum):
    """What stands behind Ctrl-a."""

    END = "x"
    STATE = "c"
    NMI = "n"
    SIZE = "s"
    HELP = "h"


HELP = """Ctrl-a x  end the machine, as if its power were cut
Ctrl-a c  say where the firmware stands
Ctrl-a n  interrupt all CPUs with a system reset, which a kernel takes as the order to dump itself
Ctrl-a s  type the command, for a shell in the guest, that tells it the size of this terminal
Ctrl-a h  these keys
Ctrl-a Ctrl-a  send Ctrl-a to the guest"""


@runtime_checkable
class Keyboard(Protocol):
    """A machine that can be typed on: see :class:`fadump.machine.qemu.machine.QemuMachine`."""

    def type(self, keys: bytes) -> None: ...
    def call(self) -> None: ...
    def watch(self, fd: int, readable: Callable[[], object]) -> None: ...
    def unwatch(self, fd: int) -> None: ...
    def inject_nmi(self) -> None: ...


class Splitter:
    """Tells what is for the guest from what is for the machine; a command may come in two pieces."""

    def __init__(self) -> None:
        self._escaped = False

    def split(self, typed: bytes) -> tuple[bytes, list[Key]]:
        """The guest's bytes and the machine's commands of what was typed. What is no command is nobody's."""
        guest, keys = bytearray(), []
        for byte in typed:
            if not self._escaped and byte == ESCAPE:
                self._escaped = True
                continue
            if not self._escaped or byte == ESCAPE:
                guest.append(byte)
            elif chr(byte) in _KEYS:
                keys.append(_KEYS[chr(byte)])
            self._escaped = False
        return bytes(guest), keys


_KEYS = {key.value: key for key in Key}


class Screen:
    """Where the guest's console is written; when nobody reads it any more, the console goes on unseen."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self.is_gone = False
        self.at_line_start = True
        """Whether the cursor stands at the start of a line, as far as the guest has moved it."""
        self.is_below_ours = False
        """Whether the line above the cursor is none of the guest's."""

    def write(self, data: bytes, /) -> int:
        """Write all of it, and wait for whoever reads it."""
        rest = memoryview(data)
        if data:
            self.at_line_start = data.endswith(b"\n")
            if self.is_below_ours and (data.startswith(_LINE_UP) or data == _LINE_UP[:1]):
                rest = memoryview(b"\r\n" + data)  # it goes up to this line instead of ours
            self.is_below_ours = False
        while rest and not self.is_gone:
            try:
                rest = rest[os.write(self._fd, rest) :]
            except BlockingIOError:  # somebody who shares the file with us has made it so
                select.select([], [self._fd], [])
            except OSError as error:
                if not _is_gone(error):
                    raise
                self.is_gone = True
        return len(data)

    def flush(self) -> None:
        """Nothing is held back."""


class Terminal:
    """A file that what is typed on a machine comes from."""

    def __init__(self, fd: int, machine: Keyboard) -> None:
        self._keys: list[Key] = []
        self._fd = fd
        self._machine = machine
        self._splitter = Splitter()

    @contextmanager
    def connected(self) -> Iterator[None]:
        """Type what comes from standard input while the context lasts."""
        with _raw(self._fd):
            try:
                self._machine.watch(self._fd, self._read)
            except PermissionError:  # a file on a disk, of which all is there
                while self._read():
                    pass
            try:
                yield
            finally:
                self._machine.unwatch(self._fd)

    def taken(self) -> list[Key]:
        """The commands to the machine that were typed since the last call."""
        keys, self._keys = self._keys, []
        return keys

    @property
    def size_command(self) -> str | None:
        """What tells a shell in the guest how large the terminal is; None: there is none that has a size."""
        try:
            size = os.get_terminal_size(self._fd)
        except OSError:
            return None
        return f"stty rows {size.lines} cols {size.columns}"

    def _read(self) -> bool:
        try:
            typed = os.read(self._fd, _MOST_BYTES)
        except BlockingIOError:
            return True
        except OSError as error:
            if not _is_gone(error):
                raise
            typed = b""
        if not typed:  # the end of a pipe would be readable for ever
            self._machine.unwatch(self._fd)
            return False
        guest, keys = self._splitter.split(typed)
        if guest:
            self._machine.type(guest)
        if keys:
            self._keys += keys
            self._machine.call()
        return True


class EndedError(MachineError):
    """Whoever sits at the machine has ended it."""

    def __init__(self) -> None:
        super().__init__("the machine has been ended by Ctrl-a x")


@dataclass(frozen=True, slots=True)
class Seat:
    """Where somebody sits at a machine: its console is on ``screen``, what they type comes from the file descriptor
    ``keyboard``, and ``say`` answers Ctrl-a."""

    screen: ConsoleLog
    keyboard: int
    say: Callable[[str], None]

    @contextmanager
    def taken(self, machine: Keyboard, where: Callable[[], str]) -> Iterator[Callable[[], None]]:
        """Somebody sits there while the context lasts. What it gives is to be called at each of the machine's
        :class:`~fadump.machine.contract.Called`, and does what they want of it; ``where`` says where the firmware
        stands.

        It raises :class:`EndedError` if they end the machine.
        """
        terminal = Terminal(self.keyboard, machine)
        with terminal.connected():
            yield lambda: self._serve(terminal, machine, where)

    def _serve(self, terminal: Terminal, machine: Keyboard, where: Callable[[], str]) -> None:
        for key in terminal.taken():
            match key:
                case Key.END:
                    raise EndedError
                case Key.STATE:
                    self.say(where())
                case Key.NMI:
                    machine.inject_nmi()
                case Key.SIZE if terminal.size_command is not None:
                    machine.type(f"{terminal.size_command}\r".encode())
                case Key.SIZE:
                    self.say("this is no terminal, so it has no size")
                case Key.HELP:
                    self.say(HELP)


@contextmanager
def _raw(fd: int) -> Iterator[None]:
    """A terminal is raw while the context lasts, but not while a signal has stopped this process."""
    if not os.isatty(fd):
        yield
        return
    before = termios.tcgetattr(fd)

    def stop(number: int, _frame: FrameType | None) -> None:
        _restore(fd, before)
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)
        signal.signal(number, stop)  # it goes on

    def go_on(_number: int, _frame: FrameType | None) -> None:
        tty.setraw(fd, termios.TCSANOW)

    handlers = {signal.SIGTSTP: stop, signal.SIGCONT: go_on}
    others = {number: signal.getsignal(number) for number in handlers}
    try:
        for number, handler in handlers.items():
            signal.signal(number, handler)
        tty.setraw(fd, termios.TCSANOW)
        yield
    finally:
        for number, other in others.items():
            signal.signal(number, other)
        _restore(fd, before)


def _restore(fd: int, before: list[int | list[bytes | int]]) -> None:
    with suppress(termios.error):  # the terminal is gone
        termios.tcsetattr(fd, termios.TCSANOW, before)


def _is_gone(error: OSError) -> bool:
    """Whether nobody is at the other end of a pipe or a terminal any more."""
    return error.errno in (errno.EPIPE, errno.EIO)

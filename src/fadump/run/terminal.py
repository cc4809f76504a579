"""The console of a machine as whoever started it has it: a terminal in raw mode, or a pair of pipes.

As in QEMU, Ctrl-a begins a command to the machine, and twice is Ctrl-a itself. A terminal is as it was again when
the context ends, whatever ended it.
"""

import io
import os
import termios
import tty
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import Enum
from typing import BinaryIO, Protocol, cast

ESCAPE = 0x01
_MOST_BYTES = 0x1000


class Key(Enum):
    """What stands behind Ctrl-a."""

    END = "x"
    STATE = "c"
    NMI = "n"
    HELP = "h"


HELP = """Ctrl-a x  end the machine, as if its power were cut
Ctrl-a c  say where the firmware stands
Ctrl-a n  interrupt all CPUs with a system reset, which a kernel takes as the order to dump itself
Ctrl-a h  these keys
Ctrl-a Ctrl-a  send Ctrl-a to the guest"""


class Keyboard(Protocol):
    """A machine that can be typed on: see :class:`fadump.machine.qemu.machine.QemuMachine`."""

    def type(self, keys: bytes) -> None: ...
    def call(self) -> None: ...
    def watch(self, fd: int, readable: Callable[[], object]) -> None: ...
    def unwatch(self, fd: int) -> None: ...


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


class Screen(io.RawIOBase):
    """Where the guest's console is written; when nobody reads it any more, the console goes on unseen."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self.is_gone = False

    def writable(self) -> bool:
        return True

    def write(self, data: bytes) -> int:  # type: ignore[override]  # bytes is all that is written
        rest = memoryview(data)
        while rest and not self.is_gone:
            try:
                rest = rest[os.write(self._fd, rest) :]
            except BrokenPipeError:
                self.is_gone = True
        return len(data)


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

    def _read(self) -> bool:
        typed = os.read(self._fd, _MOST_BYTES)
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


@contextmanager
def _raw(fd: int) -> Iterator[None]:
    if not os.isatty(fd):
        yield
        return
    before = termios.tcgetattr(fd)
    tty.setraw(fd)
    try:
        yield
    finally:
        termios.tcsetattr(fd, termios.TCSADRAIN, before)


def screen(fd: int) -> BinaryIO:
    """A file that the guest's console goes to."""
    return cast("BinaryIO", Screen(fd))

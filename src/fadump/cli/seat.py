"""Where whoever types a command sits at the machine that it starts: their terminal."""

import os
import sys

from fadump.cli.output import Output, Stream
from fadump.errors import UsageError
from fadump.look import Look
from fadump.machine.contract import ConsoleLog
from fadump.printable import printable
from fadump.progress import beside
from fadump.run.terminal import Screen, Seat

_STDIN, _STDOUT, _STDERR = range(3)


def check_interactive(output: Output) -> None:
    """Refuse a shell for nobody.

    :raises UsageError: stdout is a program's, or stdin is no terminal.
    """
    if output.as_json:
        raise UsageError("--interactive is for people, and --json for programs: give one of them")
    if not os.isatty(_STDIN):
        raise UsageError("--interactive needs a terminal as standard input")


def console_beside() -> ConsoleLog:
    """A machine's console on stderr, where it is told what is waited for, too."""
    return _ConsoleBeside(Screen(_STDERR))


class _ConsoleBeside:
    def __init__(self, screen: Screen) -> None:
        self._screen = screen

    def write(self, data: bytes, /) -> int:
        with beside():
            return self._screen.write(data)

    def flush(self) -> None:
        self._screen.flush()


class TerminalSeat:
    """The console is on stdout, or on stderr with ``--json``, and what is typed on stdin.

    On a terminal, which is raw, what is ours begins on a line of its own, and a line's end goes to its start.
    """

    def __init__(self, output: Output) -> None:
        self._screen = Screen(_STDERR if output.as_json else _STDOUT)

    @property
    def seat(self) -> Seat:
        """The same as a machine has it."""
        return Seat(self._screen, _STDIN, self.say)

    def say(self, text: str) -> None:
        """Tell whoever sits there, on stderr."""
        for line in text.splitlines():
            print(printable(f"fadump: {line}"), file=self._answers, flush=True)

    def look(self, output: Output) -> Look:
        """How a story is told on the same terminal."""
        return Look(self.beside(output.live), like=output.file)

    def look_among_console(self) -> Look:
        """How it is told on stderr, among what comes on the console."""
        return Look(self._answers, like=sys.stderr, prefix="fadump: ")

    @property
    def _answers(self) -> Stream:
        return self.beside(sys.stderr) if os.isatty(_STDIN) and os.isatty(_STDERR) else sys.stderr

    def beside(self, stream: Stream) -> Stream:
        """A stream to the same terminal."""
        return _Beside(stream, self._screen)


class _Beside:
    """A stream to a terminal that is raw and shows a screen, too."""

    def __init__(self, stream: Stream, screen: Screen) -> None:
        self._stream = stream
        self._screen = screen

    def write(self, text: str, /) -> int:
        new_line = "" if self._screen.at_line_start else "\r\n"
        self._screen.at_line_start = self._screen.is_below_ours = True
        self._stream.write(new_line + text.replace("\n", "\r\n"))
        return len(text)

    def flush(self) -> None:
        self._stream.flush()

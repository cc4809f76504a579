"""Where whoever types a command sits at the machine that it starts: their terminal."""

import os
import sys

from fadump.cli.output import Output, Stream
from fadump.errors import UsageError
from fadump.printable import printable
from fadump.run.terminal import Seat, screen

_STDIN, _STDOUT, _STDERR = range(3)


def seat(output: Output) -> Seat:
    """The console on stdout, or on stderr with ``--json``; what is typed on stdin."""
    return Seat(screen(_STDERR if output.as_json else _STDOUT), _STDIN, say)


def check_interactive(output: Output) -> None:
    """Refuse a shell for nobody.

    :raises UsageError: stdout is a program's, or stdin is no terminal.
    """
    if output.as_json:
        raise UsageError("--interactive is for people, and --json for programs: give one of them")
    if not os.isatty(_STDIN):
        raise UsageError("--interactive needs a terminal as standard input")


def say(text: str) -> None:
    """On stderr; the terminal is raw, and goes down a line only."""
    end = "\r\n" if os.isatty(_STDIN) and os.isatty(_STDERR) else "\n"
    for line in text.splitlines():
        print(printable(f"fadump: {line}"), end=end, file=sys.stderr, flush=True)


class RawStream:
    """A stream on a terminal that is raw."""

    def __init__(self, stream: Stream) -> None:
        self._stream = stream

    def write(self, text: str, /) -> int:
        self._stream.write(text.replace("\n", "\r\n"))
        return len(text)

    def flush(self) -> None:
        self._stream.flush()

"""What a command has to say, and the one place that says it.

Without ``--json`` text goes to stdout. With it stdout has exactly one JSON object, whatever happens, and text goes to
stderr. Sentences that begin with ``fadump:`` always go to stderr.
"""

import io
import json
import os
import re
import shutil
import sys
import textwrap
from collections.abc import Mapping
from contextlib import nullcontext, suppress
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Protocol, TextIO

from fadump.errors import STDERR, STDOUT, naming
from fadump.look import Look
from fadump.printable import printable
from fadump.progress import beside, is_terminal

_COLUMN = re.compile(r"(^| ) +(?=\S)")
_LEAST_COLUMNS = 20


class ExitCode(IntEnum):
    """How a command ends, but for 128+n: ended by signal n."""

    DONE = 0
    FAILED = 1
    """It was tried, and it failed."""
    USAGE = 2
    """Wrong usage, said before anything is started."""
    NOT_TRIED = 125
    """It could not be tried; ``git bisect run`` skips a commit of which a script says so."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a command has come to: one JSON object for programs, and text for people."""

    json: Mapping[str, object] = field(default_factory=dict)
    """Without its ``result`` where that is no more than "done"."""
    text: str = ""
    """On stdout; on stderr with ``--json``."""
    listing: str = ""
    """The content of the object, for people: on stdout, and nowhere with ``--json``."""
    exit_code: int = ExitCode.DONE
    error: str | None = None
    """Where the exit code is 1, what is wrong, in one sentence: for the object, as people are told by the text."""


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a command has come to nothing.

    ``phase`` is the milestone that it was on the way to, None for a command without milestones; ``firmware`` is the
    firmware's own reason, where there is one.
    """

    sentence: str
    exit_code: int
    phase: str | None = None
    firmware: str | None = None
    command: str = "fadump"
    console: str | None = None
    """The log of a machine's console, where there is one."""
    vmcore: str | None = None
    """The dump that was saved all the same, where there is one."""
    is_told: bool = True
    """Whether it is told to people, too."""
    result: str = "failed"
    """The object's."""


def answer_object(answer: Answer) -> dict[str, object]:
    """The object that ``--json`` prints of an answer."""
    failed = {} if answer.error is None else {"phase": None, "error": answer.error}
    return {"result": "done"} | failed | {**answer.json}


def failure_object(failure: Failure) -> dict[str, object]:
    """The object that ``--json`` prints of a failure."""
    told: dict[str, object] = {"result": failure.result, "error": failure.sentence, "phase": failure.phase}
    if failure.console is not None:
        told["console"] = failure.console
    if failure.vmcore is not None:
        told["vmcore"] = failure.vmcore
    if failure.firmware is not None:
        told["firmware"] = failure.firmware
    return told


def console_text(log: object) -> str:
    """What people are told of the log of a machine's console."""
    return f"the console is in {log}"


class Stream(Protocol):
    """What text for people is printed to."""

    def write(self, text: str, /) -> int:
        """As a text file's."""

    def flush(self) -> None:
        """As a text file's."""


class _Named:
    """A standard stream, whose errors say which one it is: the system doesn't know."""

    def __init__(self, stream: Stream, name: str) -> None:
        self._stream = stream
        self._name = name

    def write(self, text: str, /) -> int:
        with naming(self._name):
            return self._stream.write(text)

    def flush(self) -> None:
        with naming(self._name):
            self._stream.flush()


class _Nowhere:
    """For text that nobody wants."""

    def write(self, text: str, /) -> int:
        return len(text)

    def flush(self) -> None:
        """Nothing is kept."""


class Output:
    """Where a command's words go, as ``--json``, ``-q`` and ``-v`` say."""

    def __init__(self, *, as_json: bool = False, quiet: bool = False, verbose: bool = False) -> None:
        self.as_json = as_json
        self.verbose = verbose
        self.quiet = quiet
        self._object_printed = False

    @property
    def stream(self) -> Stream:
        """For text that people read."""
        return _stderr() if self.as_json else _stdout()

    @property
    def live(self) -> Stream:
        """For what tells people how far the work is: nowhere with ``-q``."""
        return _Nowhere() if self.quiet else self.stream

    @property
    def file(self) -> TextIO:
        """What is behind :attr:`stream`."""
        return sys.stderr if self.as_json else sys.stdout

    def look(self) -> Look:
        """How a command tells its story to people: not at all with ``-q``."""
        return Look(self.live, like=self.file)

    def wrapped(self, line: str) -> str:
        """A line as wide as the terminal is, its rest below its last column; elsewhere as it stands."""
        if not is_terminal(self.file):
            return line
        width = shutil.get_terminal_size().columns - 1
        if len(line) <= width:
            return line
        indent = max((match.end() for match in _COLUMN.finditer(line)), default=0)
        room = max(width, indent + _LEAST_COLUMNS)
        return textwrap.fill(line, room, subsequent_indent=" " * indent, break_long_words=False, break_on_hyphens=False)

    def aside(self, text: str) -> None:
        """Text for people where stdout is another's."""
        if text:
            print(printable(text), file=_stderr())

    def remark(self, sentence: str) -> None:
        """Something that is wrong, though the command goes on."""
        with beside():
            print(printable(f"fadump: {sentence}"), file=_stderr())

    def show(self, answer: Answer) -> None:
        """Print an answer. Only the first one's object is printed, whether or not its text can be.

        :raises OSError: nothing can be written to stdout.
        """
        text = answer.text if self.as_json else answer.text + answer.listing
        if text:
            with suppress(OSError) if self.as_json else nullcontext():
                print(text, file=self.stream, flush=True)
        if answer.json:
            self._print_object(answer_object(answer))
        _stdout().flush()

    def fail(self, failure: Failure) -> None:
        """Print why a command has failed, as far as anything can be printed: what has failed may be stdout itself."""
        if failure.is_told:
            with suppress(OSError):  # whoever read it is gone
                print(printable(f"{failure.command}: {failure.sentence}"), file=sys.stderr)
                if failure.vmcore is not None:
                    print(printable(f"fadump: the dump is saved, in {failure.vmcore}"), file=sys.stderr)
                if failure.console is not None:
                    print(printable(f"fadump: {console_text(failure.console)}"), file=sys.stderr)
        try:
            self._print_object(failure_object(failure))
            sys.stdout.flush()
        except OSError:
            forget_stdout()

    def _print_object(self, mapping: Mapping[str, object]) -> None:
        if self.as_json and not self._object_printed:
            self._object_printed = True
            print(json.dumps(mapping), file=_stdout(), flush=True)


def _stdout() -> Stream:
    return _Named(sys.stdout, STDOUT)


def _stderr() -> Stream:
    return _Named(sys.stderr, STDERR)


def forget_stdout() -> None:
    """What is still to be written to it must not fail once more when Python ends."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def open_standard_files() -> None:
    """Let no file of ours take the place of one that is closed. To a closed stdout nothing can be written.

    What a terminal has no letter for, such as one of the crashed kernel's log, is shown as an escape.
    """
    for fd, flags in enumerate((os.O_RDONLY, os.O_RDONLY, os.O_WRONLY)):
        try:
            os.fstat(fd)
        except OSError:
            os.set_inheritable(os.open(os.devnull, flags), True)  # gets the lowest number that is free
    sys.stdout = sys.stdout or os.fdopen(1, "w", closefd=False)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")
    sys.stderr = sys.stderr or os.fdopen(2, "w", buffering=1, closefd=False)

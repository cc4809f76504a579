"""The console of a system that nobody sits at: kept in a file, and watched for what says where the system stands."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import BinaryIO

READY = r"\blogin: ?$|[#$] ?$"
"""How a console looks on which a system waits for its user: a login prompt, or a shell's."""
_ROOT_PROMPT = re.compile(r"# ?$")
_CONTROL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)|\r")
_OUT_OF_MEMORY = re.compile(r"Out of memory|oom-kill|invoked oom-killer")
_PANIC = re.compile(r"Kernel panic - not syncing")
_TAIL_CHARACTERS = 1 << 16
_LINES = 12
_MOST_LINES_KEPT = 50


def _nobody() -> None:
    """Nobody wants to know."""


@dataclass(frozen=True, slots=True)
class Alarm:
    """Console lines that tell of trouble: the kernel killed processes for want of memory, or panicked."""

    out_of_memory: tuple[str, ...]
    panics: tuple[str, ...]


class WatchedConsole:
    """What the machine writes its console to: a file, as far as that goes.

    ``changed`` is called whenever the answer to :attr:`is_ready` changes, and for each line of trouble.
    """

    def __init__(self, log: BinaryIO, ready: str = READY, changed: Callable[[], None] = _nobody) -> None:
        self.changed = changed
        self._log = log
        self._ready = re.compile(ready)
        self._tail = ""
        self._was_ready = False
        self._out_of_memory: list[str] = []
        self._panics: list[str] = []

    def write(self, data: bytes) -> int:
        """Take what the guest has written."""
        self._log.write(data)
        *lines, rest = (self._tail.rpartition("\n")[2] + data.decode(errors="replace")).split("\n")
        for line in map(_plain, lines):
            self._notice(line)
        self._tail = (self._tail + data.decode(errors="replace"))[-_TAIL_CHARACTERS:]
        self._update(bool(self._ready.search(_plain(rest))))
        return len(data)

    def flush(self) -> None:
        """Let the log have all of it."""
        self._log.flush()

    @property
    def is_ready(self) -> bool:
        """Whether the system waits for its user."""
        return self._was_ready

    @property
    def has_root_prompt(self) -> bool:
        """Whether a shell of root's waits for a command."""
        return _ROOT_PROMPT.search(_plain(self._tail.rpartition("\n")[2])) is not None

    @property
    def last_lines(self) -> list[str]:
        """The last lines that say anything."""
        lines = (_plain(line).strip() for line in self._tail.split("\n"))
        return [line for line in lines if line][-_LINES:]

    def take_alarm(self) -> Alarm:
        """The lines of trouble since the last call."""
        alarm = Alarm(tuple(self._out_of_memory), tuple(self._panics))
        self._out_of_memory, self._panics = [], []
        return alarm

    def forget(self) -> None:
        """The machine has been reset: what stands on its console is another boot's."""
        self._tail += "\n"
        self._update(ready=False)

    def _notice(self, line: str) -> None:
        for pattern, found in ((_OUT_OF_MEMORY, self._out_of_memory), (_PANIC, self._panics)):
            if pattern.search(line) and len(found) < _MOST_LINES_KEPT:
                found.append(line.strip())
                self.changed()

    def _update(self, ready: bool) -> None:
        if ready != self._was_ready:
            self._was_ready = ready
            self.changed()


def _plain(text: str) -> str:
    return _CONTROL.sub("", text)

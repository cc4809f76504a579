"""The console of a system that nobody sits at: kept in a file, and watched for what says where the system stands."""

import re
from collections.abc import Callable
from dataclasses import dataclass

from fadump.machine.contract import ConsoleLog

READY = r"\blogin: ?$|[#$] ?$"
"""How a console looks on which a system waits for its user: a login prompt, or a shell's."""
_ROOT_PROMPT = re.compile(r"# ?$")
_CONTROL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)|\x1b[ -/]*[0-Z\\^-~]|\r")
_OUT_OF_MEMORY = re.compile(r"Out of memory|oom-kill|invoked oom-killer")
_PANIC = re.compile(r"Kernel panic - not syncing")
_HANGS = re.compile(r"end Kernel panic")
_NO_BOOT_LOADER = re.compile(r"^E34\d\d: ")
"""What SLOF says of a disk that it can't start (slof/fs/start-up.fs)."""
_RESERVED = re.compile(r"fadump: Reserved (\d{1,9})MB of memory at ")
_FOR_KDUMP = re.compile(r"Reserving (\d{1,9})MB of memory at \S+ for crashkernel")
_NOT_ENABLED = re.compile(
    r"fadump: Can't enable .*|fadump: Failed to find memory chunk.*|Too many holes in boot memory.*"
)
"""Why Linux reserves memory for kdump instead (arch/powerpc/kernel/fadump.c, fadump_reserve_mem)."""
_AVAILABLE = re.compile(r"Memory: (\d{1,15})K/\d+K available")
_MISSED_CONSOLE = re.compile(r"Timed out waiting for device (\S*(?:hvc|tty)\w*)")
"""What systemd says when a serial console comes too late for its login prompt."""
_TAIL_CHARACTERS = 1 << 16
_MOST_CHARACTERS = 200
"""Of a line that is quoted."""
_LINES = 12
_MOST_LINES_KEPT = 50


def _nobody() -> None:
    """Nobody wants to know."""


@dataclass(frozen=True, slots=True)
class Alarm:
    """Console lines that tell of trouble: the kernel killed processes for want of memory, or panicked; or boot firmware
    found nothing to start."""

    out_of_memory: tuple[str, ...]
    panics: tuple[str, ...]
    no_boot_loader: tuple[str, ...]


class WatchedConsole:
    """What the machine writes its console to: a file, as far as that goes.

    ``changed`` is called whenever the answer to :attr:`is_ready` changes, and for each line of trouble.
    """

    def __init__(self, log: ConsoleLog, ready: str = READY, changed: Callable[[], None] = _nobody) -> None:
        self.changed = changed
        self._log = log
        self._ready = re.compile(ready)
        self._tail = ""
        self._was_ready = False
        self.available_bytes: int | None = None
        """What the kernel that booted last had of memory to begin with; None if its console doesn't say."""
        self.boots = 0
        """How many kernels have said that."""
        self.hangs = False
        """Whether the kernel that booted last has panicked, and neither reboots nor starts another."""
        self.reserved_bytes: int | None = None
        """What a kernel has said that it reserves for a dump, in whole MiB."""
        self.kdump_bytes: int | None = None
        """What the kernel that booted last has said that it reserves for kdump instead, in whole MiB."""
        self.not_enabled: str | None = None
        """Why it says that it has not enabled FADump."""
        self.missed_console: str | None = None
        """The serial console, as systemd calls it, that it has waited for in vain; None: it has not."""
        self._trouble: dict[re.Pattern[str], list[str]] = {_OUT_OF_MEMORY: [], _PANIC: [], _NO_BOOT_LOADER: []}

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
        lines = (_quoted(_plain(line)) for line in self._tail.split("\n"))
        return [line for line in lines if line][-_LINES:]

    def take_alarm(self) -> Alarm:
        """The lines of trouble since the last call."""
        taken = (tuple(self._trouble[pattern]) for pattern in (_OUT_OF_MEMORY, _PANIC, _NO_BOOT_LOADER))
        alarm = Alarm(*taken)
        for lines in self._trouble.values():
            lines.clear()
        return alarm

    def forget(self) -> None:
        """The machine has been reset: what stands on its console is another boot's."""
        self._tail += "\n"
        self.available_bytes = self.missed_console = self.kdump_bytes = self.not_enabled = None
        self.hangs = False
        self._update(ready=False)

    def _notice(self, line: str) -> None:
        if available := _AVAILABLE.search(line):
            self.available_bytes = int(available[1]) << 10
            self.boots += 1
        if reserved := _RESERVED.search(line):
            self.reserved_bytes = int(reserved[1]) << 20
        if for_kdump := _FOR_KDUMP.search(line):
            self.kdump_bytes = int(for_kdump[1]) << 20
        if not_enabled := _NOT_ENABLED.search(line):
            self.not_enabled = _quoted(not_enabled[0])
        self.hangs = self.hangs or _HANGS.search(line) is not None
        if missed := _MISSED_CONSOLE.search(line):
            self.missed_console = _quoted(missed[1])
        for pattern, found in self._trouble.items():
            if pattern is _NO_BOOT_LOADER and self.available_bytes is not None:
                continue  # a kernel runs already
            if pattern.search(line) and len(found) < _MOST_LINES_KEPT:
                found.append(_quoted(line))
                self.changed()

    def _update(self, ready: bool) -> None:
        if ready != self._was_ready:
            self._was_ready = ready
            self.changed()


def _quoted(line: str) -> str:
    line = line.strip()
    return line if len(line) <= _MOST_CHARACTERS else f"{line[:_MOST_CHARACTERS]}…"


def _plain(text: str) -> str:
    return _CONTROL.sub("", text)

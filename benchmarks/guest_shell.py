"""A system in a machine that our firmware serves, at whose root prompt a benchmark types, and its console by the clock.

What is typed is found in the text that comes back by a word that the shell has to work out, so no echo is taken for it.
"""

import math
import re
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from fadump.errors import MachineError
from fadump.firmware.pseries import PseriesFirmware
from fadump.machine.qemu.machine import QemuMachine
from fadump.observer import Seen, Unwatched
from fadump.session import Session
from fadump.systems.console import WatchedConsole
from fadump.systems.disks import open_drives
from fadump.systems.vm import VmOptions, machine_config

MOST_SECONDS = 1800.0
STAYS_SECONDS = 15.0
"""So long does a prompt stay that is production's: a system that reboots once more loses it."""
CRASH = "echo c >/proc/sysrq-trigger"
_PROMPT = r"root@[\w-]+:~# ?$"
_LOOK_SECONDS = 1.0
_CONTROL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)|\r")


class TimedLines:
    """Keeps a console's lines, and when each was complete."""

    def __init__(self, log: Path | None) -> None:
        """``log`` has the text, too."""
        self._log = None if log is None else log.open("wb")
        self._lines: list[tuple[float, str]] = []
        self._rest = ""

    def write(self, data: bytes) -> int:
        """Take what the guest has written."""
        if self._log is not None:
            self._log.write(data)
        *lines, self._rest = (self._rest + data.decode(errors="replace")).split("\n")
        self._lines += [(time.monotonic(), _CONTROL.sub("", line)) for line in lines]
        return len(data)

    def flush(self) -> None:
        """Let the log have all of it."""
        if self._log is not None:
            self._log.flush()

    def close(self) -> None:
        """Close the log."""
        if self._log is not None:
            self._log.close()

    def since(self, at: float) -> list[tuple[float, str]]:
        """The lines that were complete after ``at``, with the time of each."""
        return [(when, line) for when, line in self._lines if when > at]

    def first(self, pattern: re.Pattern[str], at: float) -> float | None:
        """How many seconds after ``at`` the first line like this was there; None: there is none."""
        return next((when - at for when, line in self.since(at) if pattern.search(line)), None)


class GuestShell:
    """A root prompt that stays where it is: not one that a boot shows on its way."""

    def __init__(self, machine: QemuMachine, session: Session, console: WatchedConsole, lines: TimedLines) -> None:
        self.lines = lines
        self._machine = machine
        self._session = session
        self._console = console

    def wait_for_prompt(self, stays_seconds: float = 0.0) -> float:
        """Serve the machine until the prompt is there and stays; the time when it came.

        :raises MachineError: it doesn't come.
        """
        deadline = time.monotonic() + MOST_SECONDS
        since = math.inf
        while (now := time.monotonic()) < deadline:
            since = min(since, now) if self._console.is_ready else math.inf
            if now - since >= stays_seconds:
                return since
            self._serve()
        raise MachineError(f"no prompt: {self._console.last_lines}")

    def run(self, command: str) -> list[str]:
        """Give the shell a command, and return the lines that it prints.

        :raises MachineError: it comes to no end.
        """
        at = time.monotonic()
        self._machine.type(f"{command}; echo end-of-$((40+2))\n".encode())
        while self.lines.first(re.compile("end-of-42"), at) is None:
            if time.monotonic() - at > MOST_SECONDS:
                raise MachineError(f"{command} has no end: {self._console.last_lines}")
            self._serve()
        self.wait_for_prompt()
        return [line for _when, line in self.lines.since(at) if "end-of-" not in line]

    def crash(self) -> float:
        """Have it crash; the time of that."""
        at = time.monotonic()
        self._machine.type(f"{CRASH}\n".encode())
        return at

    def first_seen(self, seen: Seen, at: float) -> float | None:
        """How many seconds after ``at`` the firmware has seen this for the first time; None: it hasn't."""
        record = self._session.record
        times = (record.power_on + seconds - at for kind, seconds in record.seen if kind is seen)
        return next((seconds for seconds in times if seconds > 0), None)

    def _serve(self) -> None:
        self._machine.call_after(_LOOK_SECONDS)
        self._session.serve()


@contextmanager
def guest_shell(vm: VmOptions, log: Path | None = None) -> Iterator[GuestShell]:
    """Start a machine, whose disks stay as they are, and wait for its prompt."""
    with (
        closing(TimedLines(log)) as lines,
        open_drives(vm.disks, snapshot=True) as drives,
        QemuMachine(machine_config(vm, drives), None, console := WatchedConsole(lines, _PROMPT)) as machine,
    ):
        console.changed = machine.call
        shell = GuestShell(
            machine, Session(machine, PseriesFirmware(), Unwatched(), silence_seconds=math.inf), console, lines
        )
        shell.wait_for_prompt()
        yield shell

"""What is gathered of a command while it runs, for those who weren't there."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from fadump.firmware.contract import FirmwareCall, Outcome, PreservedDump, Trigger
from fadump.machine.channel import Report
from fadump.machine.contract import Handover
from fadump.observer import Milestone, Observer, Seen
from fadump.run.run import RunObserver

_MOST_TREES = 16


@dataclass(frozen=True, slots=True)
class Step:
    """A milestone that was reached in a cycle, counted from 1, so many seconds after the machine's power-on."""

    cycle: int
    milestone: Milestone
    at_seconds: float


@dataclass(slots=True)
class Record:
    """A command that has begun: ``words`` is how it was typed, and ``variant`` tells its cases from those of others of
    its ``name``, as "qemu.powernv".

    ``started_at`` is by the clock on the wall, ``started`` and ``powered_on`` are by the monotonic one, in seconds;
    ``powered_on`` is None until there is a machine. ``out`` is where the command leaves its files.
    """

    name: str
    words: Sequence[str]
    out: Path
    variant: str = ""
    started_at: datetime = field(default_factory=lambda: datetime.now(UTC))
    started: float = field(default_factory=time.monotonic)
    powered_on: float | None = None
    cycle: int = 1
    cycles: int = 1
    steps: list[Step] = field(default_factory=list)
    trees: dict[int, bytes] = field(default_factory=dict)
    """The device trees that kernels were entered with, by their boots, which count from 1: of the first 16."""
    before: frozenset[int] = field(init=False)
    """The inodes of files in ``out`` that an earlier command has left there."""

    def __post_init__(self) -> None:
        paths = self.out.iterdir() if self.out.is_dir() else ()
        self.before = frozenset(path.lstat().st_ino for path in paths)

    def has_left(self, path: Path) -> bool:
        """Whether a file is this command's."""
        return path.is_file() and path.stat().st_ino not in self.before

    def note(self, milestone: Milestone, at_seconds: float) -> None:
        """Take a milestone that has just been reached."""
        if self.powered_on is None:
            self.powered_on = time.monotonic() - at_seconds
        self.steps.append(Step(self.cycle, milestone, at_seconds))

    def note_tree(self, handover: Handover) -> None:
        """Take the device tree of a boot."""
        if len(self.trees) < _MOST_TREES:
            self.trees[handover.boot] = handover.tree.encode()


@dataclass(frozen=True, slots=True)
class Ending:
    """How a command has ended: its JSON object, its exit code, and how many seconds it has taken.

    ``console`` is the log of the machine's console, None if there is nothing in it.
    """

    told: Mapping[str, object]
    exit_code: int
    seconds: float
    console: Path | None

    @property
    def error(self) -> str | None:
        """What is wrong, in one sentence and, behind that, last lines of the console."""
        error = self.told.get("error")
        return None if error is None else str(error)

    @property
    def phase(self) -> str | None:
        """The milestone that the machine was on the way to."""
        phase = self.told.get("phase")
        return None if phase is None else str(phase)


class Noting:
    """An observer that notes milestones, and passes everything on."""

    def __init__(self, observer: Observer, record: Record) -> None:
        self._observer = observer
        self._record = record

    def milestone(self, milestone: Milestone, at_seconds: float) -> None:
        self._record.note(milestone, at_seconds)
        self._observer.milestone(milestone, at_seconds)

    def handed_over(self, handover: Handover) -> None:
        self._record.note_tree(handover)
        self._observer.handed_over(handover)

    def firmware_call(self, call: FirmwareCall, outcome: Outcome, at_seconds: float) -> None:
        self._observer.firmware_call(call, outcome, at_seconds)

    def seen(self, seen: Seen, at_seconds: float) -> None:
        self._observer.seen(seen, at_seconds)

    def terminated(self, trigger: Trigger, at_seconds: float) -> None:
        self._observer.terminated(trigger, at_seconds)

    def preserved(self, dump: PreservedDump, at_seconds: float) -> None:
        self._observer.preserved(dump, at_seconds)

    def report(self, report: Report) -> None:
        self._observer.report(report)


class NotingRun(Noting):
    """The same of a run, with its cycles."""

    def __init__(self, observer: RunObserver, record: Record) -> None:
        super().__init__(observer, record)
        self._of_run = observer

    def remark(self, sentence: str) -> None:
        self._of_run.remark(sentence)

    def cycle_begins(self, number: int, count: int) -> None:
        self._record.cycle, self._record.cycles = number, count
        self._of_run.cycle_begins(number, count)

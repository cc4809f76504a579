"""What is seen of a machine while :mod:`fadump.session` serves it: in which words, who is told, and what is kept."""

from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import islice
from typing import Protocol

from fadump.abi.registers import CpuRegisters
from fadump.firmware.contract import FirmwareCall, Outcome, PreservedDump, Trigger
from fadump.machine.channel import Report
from fadump.machine.contract import Handover, Machine

_MOST_SEEN = 256


class Milestone(StrEnum):
    """The events of a timeline, in their order."""

    POWER_ON = "power_on"
    REGISTERED = "registered"
    CRASH = "crash"
    PRESERVED = "preserved"
    CAPTURE_BOOT = "capture_boot"
    VMCORE_READY = "vmcore_ready"
    SAVED = "saved"
    RELEASED = "released"
    PRODUCTION = "production"


def milestone_after(reached: Milestone | None) -> Milestone:
    """The milestone that a machine is on the way to: the first one after None, the last one after itself."""
    order = list(Milestone)
    return order[0] if reached is None else order[min(order.index(reached) + 1, len(order) - 1)]


class Seen(StrEnum):
    """What the firmware sees of a guest, whoever its user space is."""

    REGISTERED = "registered"
    UNREGISTERED = "unregistered"
    CRASHED = "crashed"
    PRESERVED = "preserved"
    RESET = "reset"
    """A reset that is not a dump: whatever was registered is gone."""
    CAPTURE_BOOT = "capture_boot"
    """A kernel has been entered that is told of the dump."""
    INVALIDATED = "invalidated"


class CrashBy(StrEnum):
    """What makes the machine dump."""

    SYSRQ = "sysrq"
    """The guest crashes its own kernel, which calls the firmware."""
    NMI = "nmi"
    """A system reset interrupt from outside: the kernel takes it and calls the firmware."""
    PLATFORM = "platform"
    """The platform ends the guest wherever it is; the kernel has no part in it."""
    OPAL = "opal"
    """On powernv, OPAL fails, and ends itself and so the machine; the kernel has no part in it."""


class Observer(Protocol):
    """Who watches a cycle. Nothing that an observer does changes it."""

    def milestone(self, milestone: Milestone, at_seconds: float) -> None:
        """A point of the timeline has been reached, so many seconds after power-on."""

    def handed_over(self, handover: Handover) -> None:
        """A kernel is about to be entered with this device tree, as the firmware has completed it."""

    def firmware_call(self, call: FirmwareCall, outcome: Outcome, at_seconds: float) -> None:
        """The firmware has decided about a call."""

    def seen(self, seen: Seen, at_seconds: float) -> None:
        """The firmware has seen something of the guest."""

    def terminated(self, trigger: Trigger, at_seconds: float) -> None:
        """The platform has ended the guest, which made no call."""

    def preserved(self, dump: PreservedDump, at_seconds: float) -> None:
        """The firmware has copied what the kernel had registered."""

    def report(self, report: Report) -> None:
        """The guest has said something."""


class Unwatched:
    """An observer that looks away."""

    def milestone(self, milestone: Milestone, at_seconds: float) -> None: ...
    def handed_over(self, handover: Handover) -> None: ...
    def firmware_call(self, call: FirmwareCall, outcome: Outcome, at_seconds: float) -> None: ...
    def seen(self, seen: Seen, at_seconds: float) -> None: ...
    def terminated(self, trigger: Trigger, at_seconds: float) -> None: ...
    def preserved(self, dump: PreservedDump, at_seconds: float) -> None: ...
    def report(self, report: Report) -> None: ...


class Inspector(Protocol):
    """Who looks at the machine at its crash, before the firmware touches anything, and at what comes of it."""

    def crashed(self, machine: Machine, cpus: Sequence[CpuRegisters], crashing_cpu: int | None) -> None:
        """The machine stands still."""

    def released(self, machine: Machine, dump: PreservedDump) -> None:
        """The machine stands still, and its capture kernel has just said that it doesn't need the dump any more."""


@dataclass(slots=True)
class Record:
    """What has been seen of a machine since it was powered on, at ``power_on`` by the session's clock.

    Entries of ``timeline`` and ``seen`` are (what, seconds after power-on). A guest may have things seen for ever:
    ``seen`` has the last 256, ``counts`` says how often each was seen. ``resets`` counts from the crash on: 1 in
    production, if all went well. ``events`` is how many the machine has had, which a power cut counts.
    """

    power_on: float
    timeline: list[tuple[Milestone, float]] = field(default_factory=list)
    seen: deque[tuple[Seen, float]] = field(default_factory=lambda: deque(maxlen=_MOST_SEEN))
    counts: Counter[Seen] = field(default_factory=Counter)
    trigger: Trigger | None = None
    """What made the machine dump, the last time."""
    cpus: int | None = None
    """How many the dump of the last crash is to have: on pseries those that were online."""
    dump: PreservedDump | None = None
    resets: int = 0
    events: int = 0
    seen_in_all: int = 0

    def note(self, seen: Seen, at_seconds: float) -> None:
        """Take what the firmware has just seen."""
        self.seen.append((seen, at_seconds))
        self.counts[seen] += 1
        self.seen_in_all += 1

    def since(self, number: int) -> list[tuple[Seen, float]]:
        """What was seen after the first ``number`` things, as far back as it is kept."""
        new = min(self.seen_in_all - number, len(self.seen))
        return [*islice(reversed(self.seen), new)][::-1]

"""Serving a machine: the one loop between a machine's events, a firmware's answers and what the guest is asked.

Every step of docs/architecture.md comes through here. :mod:`fadump.cycle` tells one story with it, a crash from
power-on to production; others can be told. It knows neither QEMU nor a model: whatever keeps the contract of
:mod:`fadump.machine.contract` runs here.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol

from fadump.abi.registers import CpuRegisters
from fadump.errors import MachineError
from fadump.firmware.contract import (
    Answer,
    CallName,
    Firmware,
    FirmwareCall,
    Outcome,
    PassThrough,
    PreservedDump,
    State,
    Trigger,
    TriggerKind,
    Watched,
)
from fadump.machine.contract import (
    Crash,
    Event,
    GuestReport,
    GuestReset,
    Handover,
    Machine,
    Request,
    Stopped,
)

SILENCE_SECONDS = 300.0
MOST_EQUAL_CALLS = 100_000
"""How often a guest may make a call that is refused; Linux asks 60,000 times in a minute if told to wait for 1 ms."""


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


class CrashBy(StrEnum):
    """What makes the machine dump."""

    SYSRQ = "sysrq"
    """The guest crashes its own kernel, which calls the firmware."""
    NMI = "nmi"
    """A system reset interrupt from outside: the kernel takes it and calls the firmware."""
    PLATFORM = "platform"
    """The platform ends the guest wherever it is; the kernel has no part in it."""


class Observer(Protocol):
    """Who watches a cycle. Nothing that an observer does changes it."""

    def milestone(self, milestone: Milestone, at_seconds: float) -> None:
        """A point of the timeline has been reached, so many seconds after power-on."""

    def firmware_call(self, call: FirmwareCall, outcome: Outcome, at_seconds: float) -> None:
        """The firmware has decided about a call."""

    def terminated(self, trigger: Trigger, at_seconds: float) -> None:
        """The platform has ended the guest, which made no call."""

    def preserved(self, dump: PreservedDump, at_seconds: float) -> None:
        """The firmware has copied what the kernel had registered."""

    def report(self, report: GuestReport) -> None:
        """The guest has said something."""


class Unwatched:
    """An observer that looks away."""

    def milestone(self, milestone: Milestone, at_seconds: float) -> None:
        """See :class:`Observer`."""

    def firmware_call(self, call: FirmwareCall, outcome: Outcome, at_seconds: float) -> None:
        """See :class:`Observer`."""

    def terminated(self, trigger: Trigger, at_seconds: float) -> None:
        """See :class:`Observer`."""

    def preserved(self, dump: PreservedDump, at_seconds: float) -> None:
        """See :class:`Observer`."""

    def report(self, report: GuestReport) -> None:
        """See :class:`Observer`."""


class Inspector(Protocol):
    """Who looks at the machine at its crash, before the firmware touches anything."""

    def crashed(self, machine: Machine, cpus: Sequence[CpuRegisters], crashing_cpu: int | None) -> None:
        """The machine stands still."""


@dataclass(slots=True)
class CycleResult:
    """What one cycle came to. Sizes are bytes; timeline entries are (milestone, seconds after power-on).

    ``reboots`` counts resets from the crash to production: 1, if all went well. ``power_on`` is the clock's
    reading then. ``events`` is how many the machine has had, which a power cut counts.
    """

    timeline: list[tuple[Milestone, float]] = field(default_factory=list)
    kernel_release: str = ""
    cpus: int = 0
    boot_memory_bytes: int = 0
    reserved_bytes: int = 0
    vmcore_bytes: int = 0
    memory_released: int = 0
    reboots: int = 0
    dump: PreservedDump | None = None
    power_on: float = 0.0
    events: int = 0


class RebootedError(MachineError):
    """The guest has booted instead of doing what it was asked; ``hello`` is what it says then."""

    def __init__(self, step: str, hello: GuestReport) -> None:
        self.hello = hello
        super().__init__(f"the guest has booted again instead of reporting {step!r}")


class RefusedError(MachineError):
    """The guest could not do what it was asked."""


class Session:
    """A machine served by a firmware: ask the guest for a step, and everything on the way to it is seen to.

    ``result`` gathers what is found out on the way.
    """

    def __init__(
        self,
        machine: Machine,
        firmware: Firmware,
        observer: Observer,
        inspector: Inspector | None = None,
        silence_seconds: float = SILENCE_SECONDS,
        clock: Callable[[], float] = time.monotonic,
        power_cut_at: int = 0,
    ) -> None:
        self.result = CycleResult()
        self.state_at_reset: State | None = None
        """Where the firmware stood when the guest was last reset other than for a dump."""
        self.power_is_cut = False
        """Set when the power is cut."""
        self.crash_answered = ""
        """How the firmware has answered a crashing guest, instead of taking its dump."""
        self._machine = machine
        self._firmware = firmware
        self._observer = observer
        self._inspector = inspector
        self._silence_seconds = silence_seconds
        self._clock = clock
        self.result.power_on = clock()
        self._enabled = True
        self._power_cut_at = power_cut_at
        self._asked_the_same: tuple[FirmwareCall | None, int] = (None, 0)

    def reached(self, milestone: Milestone) -> None:
        """Note a point of the timeline, and tell the observer."""
        at_seconds = self._now()
        self.result.timeline.append((milestone, at_seconds))
        self._observer.milestone(milestone, at_seconds)

    def ask(self, request: Request, step: str) -> GuestReport:
        """Ask the guest and wait for the step that it reports.

        :raises RefusedError: the guest says that it can't.
        :raises RebootedError: it has booted instead.
        :raises MachineError: the machine has stopped, or says nothing for ``silence_seconds``.
        """
        self._machine.ask(request)
        return self.expect(step)

    def crash(self, by: CrashBy, cpu: int = 0) -> None:
        """Let the machine crash. What then happens, dump, reset and all, is on the way to the next ``hello``."""
        match by:
            case CrashBy.SYSRQ:
                self.ask(Crash(cpu), "crashing")
            case CrashBy.NMI:
                self._machine.inject_nmi()
            case CrashBy.PLATFORM:
                self._machine.halt()
                trigger = Trigger(TriggerKind.PLATFORM, "", None)
                self._observer.terminated(trigger, self._now())
                self._take_dump(trigger)

    def expect(self, step: str) -> GuestReport:
        """Serve the machine until the guest reports this step.

        :raises MachineError: as :meth:`ask`.
        """
        while True:
            match self._next_event():
                case Handover() as handover:
                    self._hand_over(handover)
                case FirmwareCall() as call:
                    self._serve(call)
                case GuestReset():
                    self.result.reboots += self.result.dump is not None
                    self.state_at_reset = self._firmware.state
                    self._firmware.on_reset()
                case Stopped(reason=reason, console=console):
                    last_lines = "".join(f"\n  | {line}" for line in console)
                    raise MachineError(f"while waiting for the guest to report {step!r}: {reason}{last_lines}")
                case GuestReport() as report:
                    self._asked_the_same = (None, 0)
                    self._observer.report(report)
                    if report.step == "hello":
                        self._enabled = report.fields.get("fadump_enabled") == "1"
                    if report.step == step:
                        return report
                    self._check_expected(report, step)

    def _next_event(self) -> Event:
        event = self._machine.next_event(self._silence_seconds)
        self.result.events += 1
        if self.result.events != self._power_cut_at or isinstance(event, Stopped):
            return event
        self.power_is_cut = True
        self._machine.press_reset()
        return self._machine.next_event(self._silence_seconds)

    def _hand_over(self, handover: Handover) -> None:
        self._firmware.describe(handover.tree)
        if self.result.dump is None and self._firmware.preserved is not None:  # told by another firmware, in the tree
            self._note_dump(self._firmware.preserved)
        if self._firmware.state is State.ACTIVE and self.result.dump is not None:
            self.reached(Milestone.CAPTURE_BOOT)
        self._machine.enter(handover, self._firmware.tokens)

    def _serve(self, call: FirmwareCall) -> None:
        was_active = self._firmware.state is State.ACTIVE
        outcome = self._firmware.call(call, self._machine.memory)
        self._observer.firmware_call(call, outcome, self._now())
        match outcome:
            case Answer() | PassThrough():
                self._check_patience(call, outcome)
                if was_active and self._firmware.state is not State.ACTIVE:
                    self._machine.forget_kept()
                self._machine.answer(call, outcome)
            case Trigger():
                self._take_dump(outcome)
            case Watched(trigger=trigger):
                self._look_at_crash(trigger)
                self._machine.answer(call, PassThrough())

    def _check_patience(self, call: FirmwareCall, outcome: Answer | PassThrough) -> None:
        """A guest may ask a busy firmware for ever; Linux 6.1 does.

        :raises MachineError: it has asked often enough.
        """
        before, times = self._asked_the_same
        self._asked_the_same = (call, times + 1 if call == before else 1)
        if not isinstance(outcome, Answer):
            return
        name = self._firmware.name_of(call)
        said = f"the firmware has answered {name or 'a call'} with status {int(outcome.status)}"
        if name is CallName.TERMINATE:
            self.crash_answered = said
        if outcome.status and times >= MOST_EQUAL_CALLS:
            raise MachineError(f"the guest asks for ever: {said} {times} times")

    def _take_dump(self, trigger: Trigger) -> None:
        cpus = self._look_at_crash(trigger)
        # With a dump active the capture kernel has crashed: then this is the first dump once more.
        dump = self._firmware.preserve(trigger, self._machine.memory, cpus)
        self._note_dump(dump)
        self._machine.reset(dump.keep)

    def _look_at_crash(self, trigger: Trigger) -> Sequence[CpuRegisters]:
        self.reached(Milestone.CRASH)
        cpus = self._machine.cpus()
        if self._inspector is not None and self._firmware.preserved is None:
            self._inspector.crashed(self._machine, cpus, trigger.crashing_cpu)
        return cpus

    def _note_dump(self, dump: PreservedDump) -> None:
        self.result.dump = dump
        self.result.boot_memory_bytes = dump.boot_memory.size_bytes
        self.result.reboots += 1
        self.reached(Milestone.PRESERVED)
        self._observer.preserved(dump, self._now())

    def _check_expected(self, report: GuestReport, step: str) -> None:
        match report.step:
            case "failed":
                why = "" if self._enabled else "FADump is not enabled (fadump=off, or no room for its memory): "
                raise RefusedError(
                    f"{why}the guest could not {report.fields.get('step')}: {report.fields.get('reason')}"
                )
            case "hello":
                raise RebootedError(step, report)

    def _now(self) -> float:
        return self._clock() - self.result.power_on

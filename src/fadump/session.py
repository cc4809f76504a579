"""Serving a machine: the one loop between a machine's events, a firmware's answers and what the guest is asked.

Every step of docs/architecture.md comes through here. :mod:`fadump.cycle` tells one story with it, a crash from
power-on to production; others can be told, also of a guest that can't be asked for anything: what the firmware sees of
it (:class:`Seen`) is enough. It knows neither QEMU nor a model: whatever keeps the contract of
:mod:`fadump.machine.contract` runs here.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TypeVar

from fadump.abi.registers import CpuRegisters
from fadump.errors import FadumpError, MachineError, note_phase
from fadump.firmware.contract import (
    Answer,
    CallName,
    Firmware,
    FirmwareCall,
    PassThrough,
    PreservedDump,
    State,
    Trigger,
    TriggerKind,
    Watched,
)
from fadump.machine.channel import Crash, Crashing, Failed, Hello, Report, Request
from fadump.machine.contract import (
    BootStart,
    Called,
    Event,
    FirmwareEnd,
    GuestReset,
    Handover,
    KdumpStart,
    Kexec,
    LetGo,
    Machine,
    StopAt,
    Stopped,
)
from fadump.machine.hotplug import Hotplug
from fadump.observer import CrashBy, Inspector, Milestone, Observer, Record, Seen, milestone_after
from fadump.patience import MOST_EQUAL_CALLS, MOST_RESETS, Patience
from fadump.signals import EndedBySignal

SILENCE_SECONDS = 300.0

_R = TypeVar("_R", bound=Report)


class RebootedError(MachineError):
    """The guest has booted instead of doing what it was asked; ``hello`` is what it says then."""

    def __init__(self, awaited: str, hello: Hello) -> None:
        self.hello = hello
        super().__init__(f"the guest has booted again instead of reporting {awaited!r}")


class PoweredOffError(MachineError):
    """The guest has switched its machine off."""


class RefusedError(MachineError):
    """The guest could not do what it was asked."""


class Session:
    """A machine served by a firmware: ask the guest for a step, and everything on the way to it is seen to.

    ``record`` gathers what is seen on the way. Errors that leave a session say which milestone it was on the way to,
    and the firmware's reason if it has refused its last call.
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
        called: Callable[[], None] | None = None,
    ) -> None:
        """``called`` is called when somebody on the host wants something; what it raises ends the step."""
        self.record = Record(power_on=clock())
        self.state_at_reset: State | None = None
        """Where the firmware stood when the guest was last reset other than for a dump."""
        self.power_is_cut = False
        """Set when the power is cut."""
        self.crash_answered = ""
        """How the firmware has answered a crashing guest, instead of taking its dump."""
        self.refusal = ""
        """Why the firmware has refused its last call, in words; empty if it hasn't."""
        self._machine = machine
        self._firmware = firmware
        self._observer = observer
        self._inspector = inspector
        self._clock = clock
        self._enabled = True
        self._power_cut_at = power_cut_at
        self._called = called
        self._patience = Patience(silence_seconds, clock)
        self._crash_looked_at: Trigger | None = None  # by somebody's debugger, before the dump is taken
        self._ending: Trigger | None = None  # until the machine's own firmware has ended itself
        self._waited_for = 0  # of what has been seen; only wait_for() moves it

    @property
    def phase(self) -> Milestone:
        """The milestone that the machine is on the way to."""
        return milestone_after(self.record.timeline[-1][0] if self.record.timeline else None)

    @property
    def firmware_state(self) -> State:
        """Where the firmware stands."""
        return self._firmware.state

    @property
    def kexec(self) -> Kexec | None:
        """For a guest that dumps by kexec; None: no guest of this machine can."""
        return self._machine.kexec

    @property
    def hotplug(self) -> Hotplug | None:
        """For memory and CPUs that change; None: this machine's can't."""
        return self._machine.hotplug

    @property
    def seconds(self) -> float:
        """The time since power-on."""
        return self._clock() - self.record.power_on

    def reached(self, milestone: Milestone) -> None:
        """Note a point of the timeline, and tell the observer."""
        at_seconds = self.seconds
        self.record.timeline.append((milestone, at_seconds))
        self._observer.milestone(milestone, at_seconds)

    def ask(self, request: Request, answer: type[_R]) -> _R:
        """Ask the guest and wait for its report of this type.

        :raises RefusedError: the guest says that it can't.
        :raises RebootedError: it has booted instead.
        :raises MachineError: the machine has stopped, or says nothing for ``silence_seconds``; or there is nobody in
            its guest to ask.
        """
        with self.telling_where():
            if self._machine.guest is None:
                raise MachineError("this machine's guest has no guest channel, so it can't be asked for anything")
            self._machine.guest.ask(request)
        return self.expect(answer)

    def crash(self, by: CrashBy, cpu: int = 0) -> None:
        """Let the machine crash. What then happens, dump, reset and all, is on the way to the next ``hello``."""
        match by:
            case CrashBy.SYSRQ:
                self.ask(Crash(cpu), Crashing)
            case CrashBy.NMI:
                with self.telling_where():
                    self._machine.inject_nmi()
                    self._patience.interrupted(self._firmware.nmi_limit_ms)
            case CrashBy.PLATFORM:
                with self.telling_where():
                    self._terminate()
            case CrashBy.OPAL:
                with self.telling_where():
                    self._machine.crash_firmware()

    def _terminate(self) -> None:
        """The platform ends the guest wherever it is, and takes its dump."""
        self._machine.halt()
        trigger = Trigger(TriggerKind.PLATFORM, "", None)
        self._observer.terminated(trigger, self.seconds)
        self._take_dump(trigger)

    def expect(self, answer: type[_R]) -> _R:
        """Serve the machine until the guest reports this.

        :raises MachineError: as :meth:`ask`.
        """
        awaited = answer.word
        resets_before = self.record.counts[Seen.RESET]
        with self.telling_where():
            while True:
                report = self._serve_event(f"the guest to report {awaited!r}")
                if isinstance(report, answer):
                    return report
                if self.record.counts[Seen.RESET] - resets_before == MOST_RESETS:
                    raise MachineError(
                        f"while waiting for the guest to report {awaited!r}: it has reset itself {MOST_RESETS} times, "
                        "as a kernel does that panics at each boot; see its console"
                    )
                match report:
                    case Failed():
                        raise RefusedError(self._refused(report))
                    case Hello():
                        raise RebootedError(awaited, report)

    def wait_for(self, *awaited: Seen) -> Seen:
        """Serve the machine until the firmware has seen one of these; the guest need not be one of ours.

        Whatever has been seen since the last wait counts, also during other steps: after a ``crash()``,
        ``wait_for(Seen.PRESERVED)`` may return at once. The same wait once more is for the next time.

        :raises MachineError: the machine has stopped, or nothing happens for ``silence_seconds``.
        """
        names = " or ".join(repr(seen.value) for seen in awaited)
        with self.telling_where():
            while True:
                unread = self.record.since(self._waited_for)
                for left, (seen, _at) in zip(reversed(range(len(unread))), unread, strict=True):
                    self._waited_for = self.record.seen_in_all - left
                    if seen in awaited:
                        return seen
                self._serve_event(f"the firmware to see {names}")

    def serve(self) -> None:
        """Serve the machine's next event, whatever it is.

        :raises PoweredOffError: the guest has switched the machine off.
        :raises MachineError: the machine has stopped, or nothing happens for ``silence_seconds``.
        """
        with self.telling_where():
            self._serve_event("the guest")

    @contextmanager
    def telling_where(self) -> Iterator[None]:
        """An error or a signal from within says what the machine was on the way to, and the firmware's reason."""
        try:
            yield
        except (FadumpError, OSError, EndedBySignal) as error:
            note_phase(error, self.phase, self.refusal or None)
            raise

    def _refused(self, failed: Failed) -> str:
        why = "" if self._enabled else "FADump is not enabled (fadump=off, or no room for its memory): "
        sentence = f"{why}the guest could not {failed.step}: {failed.reason or 'it gives no reason'}"
        return f"{sentence}; the firmware's reason: {self.refusal}" if self.refusal else sentence

    def _serve_event(self, awaited: str) -> Report | None:
        """Serve one event; the guest's report, if it is one."""
        if self._patience.is_over() and self._firmware.state is State.REGISTERED:
            self._terminate()
            return None
        match self._next_event():
            case Stopped(silent=True) if self._patience.is_limited:
                return None
            case Stopped() as stopped:
                last_lines = "".join(f"\n  | {line}" for line in stopped.console)
                error = PoweredOffError if stopped.powered_off else MachineError
                raise error(f"while waiting for {awaited}: {stopped.reason}{last_lines}")
            case Report() as report:
                self._hear(report)
                return report
            case event:
                self._serve_machine(event)
        return None

    def _serve_machine(self, event: Event) -> None:
        match event:
            case BootStart() as start:
                self._firmware.describe(start.tree)
                self._machine.start_boot(start)
            case Handover() as handover:
                self._hand_over(handover)
            case FirmwareCall() as call:
                self._serve(call)
            case Called() if self._called is not None:
                self._called()
            case LetGo() if self._crash_looked_at is not None:
                self._preserve(self._crash_looked_at)
            case KdumpStart():
                self._start_kdump()
            case FirmwareEnd() as end:
                self._end(end)
            case GuestReset():
                self._crash_looked_at = self._ending = None
                self._patience.reported()
                self.record.resets += self.record.dump is not None
                self.state_at_reset = self._firmware.state
                self._firmware.on_reset()
                self._see(Seen.RESET)

    def _hear(self, report: Report) -> None:
        self._patience.heard()
        if isinstance(report, Hello):
            self._enabled = report.enabled is True
        self._observer.report(report)

    def _next_event(self) -> Event:
        event = self._machine.next_event(self._patience.silence_seconds)
        self.record.events += 1
        if self.record.events != self._power_cut_at or isinstance(event, Stopped):
            return event
        self.power_is_cut = True
        self._machine.press_reset()
        return self._machine.next_event(self._patience.silence_seconds)

    def _hand_over(self, handover: Handover) -> None:
        self._firmware.describe(handover.tree)
        if self.record.dump is None and self._firmware.preserved is not None:  # told by another firmware, in the tree
            self._note_dump(self._firmware.preserved)
        if self._firmware.state is State.ACTIVE and self.record.dump is not None:
            self.reached(Milestone.CAPTURE_BOOT)
            self._see(Seen.CAPTURE_BOOT)
        self._observer.handed_over(handover)
        self._machine.stand_still(StopAt.HANDOVER)
        self._machine.enter(handover, self._firmware.tokens)

    def _serve(self, call: FirmwareCall) -> None:
        before = self._firmware.state
        outcome = self._firmware.call(call, self._machine.memory)
        if isinstance(outcome, Trigger) or self._firmware.name_of(call) is CallName.TERMINATE:
            self._patience.reported()
        self._observer.firmware_call(call, outcome, self.seconds)
        match outcome:
            case Answer() | PassThrough():
                self._check_patience(call, outcome)
                if before is State.ACTIVE and self._firmware.state is not State.ACTIVE:
                    if self._inspector is not None and self.record.dump is not None:
                        self._inspector.released(self._machine, self.record.dump)
                    self._machine.forget_kept()
                self._see_change(before)
                self._machine.answer(call, outcome)
            case Trigger():
                if self._machine.end(call):
                    self._ending = outcome
                else:
                    self._take_dump(outcome)
            case Watched(trigger=trigger):
                self._look_at_crash(trigger)
                self._machine.answer(call, PassThrough())

    def _see_change(self, before: State) -> None:
        """What a call has changed of the firmware's state."""
        match before, self._firmware.state:
            case (State.ACTIVE, after) if after is not State.ACTIVE:
                self._see(Seen.INVALIDATED)
            case (before, State.REGISTERED) if before is not State.REGISTERED:
                self._see(Seen.REGISTERED)
                self._machine.stand_still(StopAt.REGISTERED)
            case (State.REGISTERED, after) if after is not State.REGISTERED:
                self._see(Seen.UNREGISTERED)

    def _check_patience(self, call: FirmwareCall, outcome: Answer | PassThrough) -> None:
        """A guest may ask a busy firmware for ever; Linux 6.1 does.

        :raises MachineError: it has asked often enough.
        """
        times = self._patience.asked(call)
        if not isinstance(outcome, Answer):
            return
        self.refusal = outcome.reason if outcome.status else ""
        name = self._firmware.name_of(call)
        said = f"the firmware has answered {name or 'a call'} with status {int(outcome.status)}"
        if name is CallName.TERMINATE:
            self.crash_answered = said
        if outcome.status and times >= MOST_EQUAL_CALLS:
            raise MachineError(f"the guest asks for ever: {said} {times} times")

    def _end(self, end: FirmwareEnd) -> None:
        """The machine's own firmware has ended itself: for the call that waits for it, or unasked."""
        trigger, self._ending = self._ending, None
        if trigger is None:
            trigger = Trigger(TriggerKind.OPAL, "", end.cpu_id)
            self._observer.terminated(trigger, self.seconds)
        self._take_dump(trigger)

    def _take_dump(self, trigger: Trigger) -> None:
        if self._machine.stand_still(StopAt.CRASH):
            self._crash_looked_at = trigger
        else:
            self._preserve(trigger)

    def _preserve(self, trigger: Trigger) -> None:
        self._crash_looked_at = None
        cpus = self._look_at_crash(trigger)
        # With a dump active the capture kernel has crashed: then this is the first dump once more.
        is_first = self._firmware.preserved is None
        dump = self._firmware.preserve(trigger, self._machine.memory, cpus)
        self._note_dump(dump)
        self._machine.reset(dump.keep, dump.hash_tables if is_first else ())

    def _look_at_crash(self, trigger: Trigger) -> Sequence[CpuRegisters]:
        self.record.trigger = trigger
        self.reached(Milestone.CRASH)
        self._see(Seen.CRASHED)
        cpus = self._machine.cpus()
        self.record.cpus = len(cpus)
        if self._inspector is not None and self._firmware.preserved is None:
            self._inspector.crashed(self._machine, cpus, trigger.crashing_cpu)
        return cpus

    def _start_kdump(self) -> None:
        """All CPUs have left the crashed kernel, whose memory is what kdump will show."""
        self.reached(Milestone.CRASH)
        if self._inspector is not None:
            self._inspector.crashed(self._machine, (), None)
        self.reached(Milestone.CAPTURE_BOOT)
        if self.kexec is not None:
            self.kexec.start_kdump()

    def _note_dump(self, dump: PreservedDump) -> None:
        self.record.dump = dump
        self.record.resets += 1
        self.reached(Milestone.PRESERVED)
        self._see(Seen.PRESERVED)
        self._observer.preserved(dump, self.seconds)

    def _see(self, seen: Seen) -> None:
        at_seconds = self.seconds
        self.record.note(seen, at_seconds)
        self._observer.seen(seen, at_seconds)

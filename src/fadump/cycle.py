"""One crash, from power-on to production again. Read :func:`run_cycle` first; docs/architecture.md follows it.

The machine runs a kernel, the firmware serves its calls, and this module is the order of events between them.
:class:`Session` is the one loop that serves a machine; other stories than a cycle's can be told with it.
It knows neither QEMU nor a model: whatever keeps the contract of :mod:`fadump.machine.core` runs here.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol

from fadump.abi.registers import CpuRegisters
from fadump.errors import MachineError
from fadump.firmware.core import (
    Answer,
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
from fadump.machine.core import (
    Crash,
    GuestReport,
    GuestReset,
    Handover,
    Machine,
    Register,
    Release,
    Request,
    Reregister,
    Save,
    SaveOpalCore,
    Stopped,
)

SILENCE_SECONDS = 300.0


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


class Inspector(Protocol):
    """Who looks at the machine at its crash, before the firmware touches anything."""

    def crashed(self, machine: Machine, cpus: Sequence[CpuRegisters], crashing_cpu: int | None) -> None:
        """The machine stands still."""


@dataclass(frozen=True, slots=True)
class CycleRequest:
    """``crash_cpu`` is a logical CPU number, for ``SYSRQ``; ``silence_seconds`` is how long nothing may happen."""

    crash_by: CrashBy = CrashBy.SYSRQ
    crash_cpu: int = 0
    silence_seconds: float = SILENCE_SECONDS


@dataclass(slots=True)
class CycleResult:
    """What one cycle came to. Sizes are bytes; timeline entries are (milestone, seconds after power-on).

    ``reboots`` counts resets from the crash to production: 1, if all went well. ``power_on`` is the clock's
    reading then.
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


def run_cycle(
    machine: Machine,
    firmware: Firmware,
    request: CycleRequest,
    observer: Observer,
    inspector: Inspector | None = None,
    before: CycleResult | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> CycleResult:
    """Boot, register, crash, preserve, boot again, save, release and register again, without a second reset.

    ``before`` is the cycle that left this machine in production: then it is not powered on again, and the
    timeline goes on from there.

    :raises MachineError: the machine stopped or did something else; the sentence says what and when.
    """
    cycle = _Cycle(machine, firmware, request, observer, inspector, clock)

    if before is None:
        cycle.reached(Milestone.POWER_ON)
        cycle.check_first_boot(cycle.expect("hello"))
        cycle.note_registered(cycle.ask(Register(), "registered"))
        cycle.reached(Milestone.REGISTERED)
    else:
        cycle.go_on_from(before)

    cycle.crash(request.crash_by, request.crash_cpu)
    hello = cycle.expect("hello")  # on the way: the firmware's call, preserve, reset, handover
    cycle.check_capture_boot(hello)

    if hello.fields.get("opalcore", "absent") != "absent":
        cycle.ask(SaveOpalCore(), "saved_opalcore")
    cycle.note_vmcore(cycle.ask(Save(), "saving"))
    cycle.reached(Milestone.VMCORE_READY)
    cycle.check_saved(cycle.expect("saved"))
    cycle.reached(Milestone.SAVED)

    cycle.note_released(cycle.ask(Release(), "released"))
    cycle.reached(Milestone.RELEASED)

    cycle.ask(Reregister(), "registered")
    cycle.check_production()
    cycle.reached(Milestone.PRODUCTION)
    return cycle.result


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
    ) -> None:
        self.result = CycleResult()
        self.state_at_reset: State | None = None
        """Where the firmware stood when the guest was last reset other than for a dump."""
        self._machine = machine
        self._firmware = firmware
        self._observer = observer
        self._inspector = inspector
        self._silence_seconds = silence_seconds
        self._clock = clock
        self.result.power_on = clock()
        self._enabled = True

    def reached(self, milestone: Milestone) -> None:
        at_seconds = self._now()
        self.result.timeline.append((milestone, at_seconds))
        self._observer.milestone(milestone, at_seconds)

    def ask(self, request: Request, step: str) -> GuestReport:
        """Ask the guest and wait for the step that it reports."""
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
        """Serve the machine until the guest reports this step."""
        while True:
            match self._machine.next_event(self._silence_seconds):
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
                    self._observer.report(report)
                    if report.step == step:
                        return report
                    self._check_expected(report, step)

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
                if was_active and self._firmware.state is not State.ACTIVE:
                    self._machine.forget_kept()
                self._machine.answer(call, outcome)
            case Trigger():
                self._take_dump(outcome)
            case Watched(trigger=trigger):
                self._look_at_crash(trigger)
                self._machine.answer(call, PassThrough())

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
                raise MachineError(
                    f"{why}the guest could not {report.fields.get('step')}: {report.fields.get('reason')}"
                )
            case "hello":
                raise MachineError(f"the guest has booted again instead of reporting {step!r}")

    def _now(self) -> float:
        return self._clock() - self.result.power_on


class _Cycle(Session):
    """What a cycle learns and checks at the steps of its story."""

    def __init__(
        self,
        machine: Machine,
        firmware: Firmware,
        request: CycleRequest,
        observer: Observer,
        inspector: Inspector | None,
        clock: Callable[[], float],
    ) -> None:
        super().__init__(machine, firmware, observer, inspector, request.silence_seconds, clock)
        self._request = request

    def go_on_from(self, before: CycleResult) -> None:
        """Take over what an earlier cycle of the same machine has found out."""
        self.result.kernel_release = before.kernel_release
        self.result.cpus = before.cpus
        self.result.reserved_bytes = before.reserved_bytes
        self.result.power_on = before.power_on
        self.result.timeline = [before.timeline[0], (Milestone.REGISTERED, before.timeline[-1][1])]

    def note_registered(self, registered: GuestReport) -> None:
        self.result.reserved_bytes = registered.number("mem_reserved")

    def note_vmcore(self, saving: GuestReport) -> None:
        self.result.vmcore_bytes = saving.number("bytes")

    def note_released(self, released: GuestReport) -> None:
        self.result.memory_released = released.number("bytes")

    def check_first_boot(self, hello: GuestReport) -> None:
        """A kernel that can't be dumped is told apart before anything crashes."""
        self.result.kernel_release = hello.fields.get("release", "")
        self.result.cpus = hello.number("cpus")
        if hello.fields.get("fadump_enabled") == "absent":
            raise MachineError(
                f"Linux {self.result.kernel_release} has no FADump: it needs a kernel built with CONFIG_FA_DUMP=y"
            )
        self._enabled = hello.fields.get("fadump_enabled") == "1"
        if self._request.crash_cpu >= self.result.cpus:
            raise MachineError(f"there is no CPU {self._request.crash_cpu} to crash on: Linux has {self.result.cpus}")

    def check_capture_boot(self, hello: GuestReport) -> None:
        if hello.fields.get("mode") == "capture":
            return
        if self.state_at_reset in (State.IDLE, State.INVALIDATED):
            raise MachineError(
                "the guest crashed without a registration, so there is no dump; Linux has rebooted itself"
            )
        raise MachineError("the guest has booted again after the crash without a dump")

    def check_saved(self, saved: GuestReport) -> None:
        if saved.number("bytes") != self.result.vmcore_bytes:
            raise MachineError(
                f"the guest saved {saved.fields['bytes']} bytes of a /proc/vmcore of {self.result.vmcore_bytes}"
            )

    def check_production(self) -> None:
        if self._firmware.state is not State.REGISTERED:
            raise MachineError(f"the guest says registered, the firmware is {self._firmware.state.name.lower()}")

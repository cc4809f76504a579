"""One crash, from power-on to production again. Read :func:`run_cycle` first; docs/architecture.md follows it.

The machine runs a kernel, the firmware serves its calls, and this module is the order of events between them.
:mod:`fadump.session` is the loop that serves a machine; other stories than a cycle's can be told with it.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from fadump.errors import MachineError
from fadump.firmware.contract import Firmware, State
from fadump.machine.contract import GuestReport, Machine, Register, Release, Request, Reregister, Save, SaveOpalCore
from fadump.session import (
    SILENCE_SECONDS,
    CrashBy,
    CycleResult,
    Inspector,
    Milestone,
    Observer,
    RebootedError,
    RefusedError,
    Session,
)

__all__ = [
    "CrashBy",
    "CycleFaults",
    "CycleRequest",
    "CycleResult",
    "Inspector",
    "Milestone",
    "Observer",
    "Session",
    "run_cycle",
]


@dataclass(frozen=True, slots=True)
class CycleFaults:
    """What is made to go wrong in a cycle other than by the firmware or the QEMU machine.

    At the machine's event ``power_cut_at``, counted from 1, the power is cut instead: 0 means never.
    """

    power_cut_at: int = 0
    second_crash: bool = False
    """The capture kernel crashes too, before the dump is saved."""
    release_twice: bool = False
    """The dump is released once more, when it is gone."""


@dataclass(frozen=True, slots=True)
class CycleRequest:
    """``crash_cpu`` is a logical CPU number, for ``SYSRQ``; ``silence_seconds`` is how long nothing may happen."""

    crash_by: CrashBy = CrashBy.SYSRQ
    crash_cpu: int = 0
    silence_seconds: float = SILENCE_SECONDS
    faults: CycleFaults = field(default_factory=CycleFaults)


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
    boot: GuestReport | None = None
    if before is None:
        cycle.reached(Milestone.POWER_ON)
        boot = cycle.expect("hello")
    else:
        cycle.go_on_from(before)
    while True:
        cycle.power_is_cut = False
        try:
            _live_on(cycle, request, boot)
        except RebootedError as rebooted:
            if not cycle.power_is_cut:
                raise
            boot = rebooted.hello
        else:
            return cycle.result


def _live_on(cycle: "_Cycle", request: CycleRequest, boot: GuestReport | None) -> None:
    """From ``boot``, which may be that of a capture kernel, to production; None is a kernel in production."""
    if boot is None or not is_capture(boot):
        if boot is not None:
            cycle.check_first_boot(boot)
            cycle.note_registered(cycle.ask(Register(), "registered"))
            cycle.reached(Milestone.REGISTERED)
        cycle.crash(request.crash_by, request.crash_cpu)
        boot = cycle.expect("hello")  # on the way: the firmware's call, preserve, reset, handover
        cycle.check_capture_boot(boot)
    if request.faults.second_crash:
        boot = cycle.crash_again(request)

    if boot.fields.get("opalcore", "absent") != "absent":
        cycle.ask(SaveOpalCore(), "saved_opalcore")
    cycle.note_vmcore(cycle.ask(Save(), "saving"))
    cycle.reached(Milestone.VMCORE_READY)
    cycle.check_saved(cycle.expect("saved"))
    cycle.reached(Milestone.SAVED)

    cycle.note_released(cycle.ask(Release(), "released"))
    cycle.reached(Milestone.RELEASED)
    if request.faults.release_twice:
        cycle.ask_in_vain(Release(), "released")

    cycle.ask(Reregister(), "registered")
    cycle.check_production()
    cycle.reached(Milestone.PRODUCTION)


def is_capture(hello: GuestReport) -> bool:
    """Whether a boot has found a dump."""
    return hello.fields.get("mode") == "capture"


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
        cut_at = request.faults.power_cut_at
        super().__init__(machine, firmware, observer, inspector, request.silence_seconds, clock, cut_at)
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
        if self._request.crash_cpu >= self.result.cpus:
            raise MachineError(f"there is no CPU {self._request.crash_cpu} to crash on: Linux has {self.result.cpus}")

    def crash_again(self, request: CycleRequest) -> GuestReport:
        """Let the capture kernel crash; returns the boot after that, which has to find the first dump again."""
        self.crash(request.crash_by, request.crash_cpu)
        hello = self.expect("hello")
        if not is_capture(hello):
            raise MachineError("the capture kernel has crashed, and Linux has given the dump up before it rebooted")
        return hello

    def ask_in_vain(self, request: Request, step: str) -> None:
        """Ask for what can't be."""
        try:
            self.ask(request, step)
        except RefusedError:
            return
        raise MachineError(f"the guest has {step} what it had {step} already")

    def check_capture_boot(self, hello: GuestReport) -> None:
        if is_capture(hello):
            return
        if self.power_is_cut:
            raise RebootedError("crashing", hello)
        if self.crash_answered:
            raise MachineError(f"the guest has booted again after the crash without a dump: {self.crash_answered}")
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

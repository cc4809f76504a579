"""One crash, from power-on to production again. Read :func:`run_cycle` first; docs/architecture.md follows it.

The machine runs a kernel, the firmware serves its calls, and this module is the order of events between them.
:mod:`fadump.session` is the loop that serves a machine; other stories than a cycle's can be told with it.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from fadump.errors import MachineError
from fadump.firmware.contract import Firmware, PreservedDump, State, Trigger
from fadump.machine.channel import (
    BootMode,
    Hello,
    KdumpLoaded,
    Register,
    Registered,
    Release,
    Released,
    Reregister,
    RunScript,
    Save,
    Saved,
    SavedOpalCore,
    SaveOpalCore,
    Saving,
    ScriptRan,
    Shell,
    ShellLeft,
)
from fadump.machine.contract import Kexec, Machine
from fadump.machine.hotplug import Change
from fadump.observer import CrashBy, Inspector, Milestone, Observer
from fadump.printable import printable
from fadump.session import SILENCE_SECONDS, RebootedError, RefusedError, Session


@dataclass(frozen=True, slots=True)
class CycleFaults:
    """What else happens on the way, while machine and firmware do as they should.

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
    changes: Sequence[Change] = ()
    """What comes and goes of the machine before its first crash."""
    shells: bool = False
    """Whether somebody gets a shell in the first kernel, before its crash, and in the capture kernel, before the dump
    is saved; ``silence_seconds`` is theirs, too."""
    crash_script: str = ""
    """What crashes the guest, run in it, in place of ``crash_by``."""
    capture_script: str = ""
    """Run in the capture kernel once the dump is saved; it may release the dump itself."""
    faults: CycleFaults = field(default_factory=CycleFaults)


@dataclass(frozen=True, slots=True)
class CycleResult:
    """What one cycle came to. Sizes are bytes; timeline entries are (milestone, seconds after power-on).

    ``reserved_bytes`` is None where the kernel doesn't say. ``memory_released`` is 0 where the capture script has
    released it. ``reboots`` counts resets from the crash to production: 1, if all went well. ``power_on`` is the
    clock's reading then. ``events`` is how many the machine has had.

    Where Linux has fallen back to kdump, ``kdump`` says so, ``dump`` is None, and the cycle has ended with the dump
    that kdump has saved.
    """

    timeline: Sequence[tuple[Milestone, float]]
    kernel_release: str
    cpus: int
    dump: PreservedDump | None
    reserved_bytes: int | None
    vmcore_bytes: int
    memory_released: int
    reboots: int
    power_on: float
    events: int
    kdump: KdumpLoaded | None = None
    trigger: Trigger | None = None
    """What made the machine dump."""
    changes: Sequence[Change] = ()
    """What has come and gone before."""
    captured: bytes = b""
    """What the capture script has printed, its first 64 KiB."""

    @property
    def boot_memory_bytes(self) -> int | None:
        """How much boot memory the firmware has copied aside; None: it had no part in the dump."""
        return None if self.dump is None else self.dump.boot_memory.size_bytes


@dataclass(frozen=True, slots=True)
class Booted:
    """A machine that is registered and has not crashed yet. Fields are those of :class:`CycleResult`."""

    timeline: Sequence[tuple[Milestone, float]]
    kernel_release: str
    cpus: int
    reserved_bytes: int | None
    power_on: float


def boot(machine: Machine, firmware: Firmware, observer: Observer) -> Booted:
    """Power a machine on, up to its registration: the beginning of a cycle, which :func:`run_cycle` goes on from.

    :raises MachineError: as :func:`run_cycle`; also if Linux has fallen back to kdump.
    """
    session = Session(machine, firmware, observer)
    with session.telling_where():
        return _Cycle(session, CycleRequest()).to_registration()


def run_script(
    machine: Machine, firmware: Firmware, script: str, observer: Observer, before: "CycleResult | Booted"
) -> bytes:
    """Run a shell script in the guest of a machine in production; the first 64 KiB of what it prints.

    :raises MachineError: it has failed, with its output; or the machine has stopped, or booted instead.
    """
    session = Session(machine, firmware, observer)
    cycle = _Cycle(session, CycleRequest())
    cycle.go_on_from(before)
    with session.telling_where():
        return cycle.run_script("script", script)


def run_cycle(
    machine: Machine,
    firmware: Firmware,
    request: CycleRequest,
    observer: Observer,
    inspector: Inspector | None = None,
    before: CycleResult | Booted | None = None,
    clock: Callable[[], float] = time.monotonic,
    called: Callable[[], None] | None = None,
) -> CycleResult:
    """Boot, register, crash, preserve, boot again, save, release and register again, without a second reset.

    ``before`` is the cycle or the boot that left this machine in production: then it is not powered on again, and the
    timeline goes on from there. ``called`` is called when somebody on the host wants something.

    :raises MachineError: the machine stopped or did something else; the sentence says what and when.
    """
    cut_at = request.faults.power_cut_at
    session = Session(machine, firmware, observer, inspector, request.silence_seconds, clock, cut_at, called)
    cycle = _Cycle(session, request)
    with session.telling_where():
        boot: Hello | None = None
        if before is None:
            boot = cycle.power_on()
        else:
            cycle.go_on_from(before)
        while True:
            session.power_is_cut = False
            try:
                return cycle.to_production(boot)
            except RebootedError as rebooted:
                if not session.power_is_cut:
                    raise
                boot = rebooted.hello


class _Cycle:
    """The steps of the story, and what is learned at them."""

    def __init__(self, session: Session, request: CycleRequest) -> None:
        self._session = session
        self._request = request
        self._kernel_release = ""
        self._cpus = 0
        self._reserved_bytes: int | None = None
        self._captured = b""
        self._changes = request.changes
        self._changed: list[Change] = []

    def power_on(self) -> Hello:
        self._session.reached(Milestone.POWER_ON)
        return self._session.expect(Hello)

    def go_on_from(self, before: CycleResult | Booted) -> None:
        """Take over what an earlier cycle of the same machine has found out; what it has changed stays so."""
        self._changes = ()
        self._kernel_release = before.kernel_release
        self._cpus = before.cpus
        self._reserved_bytes = before.reserved_bytes
        record = self._session.record
        record.power_on = before.power_on
        record.timeline = [before.timeline[0], (Milestone.REGISTERED, before.timeline[-1][1])]

    def to_registration(self) -> Booted:
        boot = self.power_on()
        if boot.fell_back:
            raise MachineError("Linux has not registered: it has reserved memory for kdump instead")
        self._register(boot)
        record = self._session.record
        return Booted(record.timeline, self._kernel_release, self._cpus, self._reserved_bytes, record.power_on)

    def run_script(self, name: str, script: str) -> bytes:
        ran = self._session.ask(RunScript(script), ScriptRan)
        if ran.status:
            raise MachineError(f"the {name} {_ended(ran)}")
        return ran.output

    def to_production(self, boot: Hello | None) -> CycleResult:
        """From a boot, which may be that of a capture kernel; None is a kernel in production."""
        if boot is not None and boot.fell_back and (kexec := self._session.kexec) is not None:
            return self._under_kdump(boot, kexec)
        if boot is None or not boot.is_capture:
            if boot is not None:
                self._register(boot)
            self._change()
            boot = self._left_shell(BootMode.FIRST) or self._crash_into(BootMode.CAPTURE)
            if not boot.is_capture:  # whoever was in the shell has rebooted the guest
                return self.to_production(boot)
        if self._request.faults.second_crash:
            boot = self._crash_again()
        boot = self._look_into(boot)
        dump = self._preserved()
        vmcore_bytes = self._save(boot)
        self._capture()
        released_bytes = self._release()
        self._register_again()
        return self._result(dump, vmcore_bytes, released_bytes)

    def _under_kdump(self, boot: Hello, kexec: Kexec) -> CycleResult:
        """Linux has fallen back to kdump: arm that, and have it save the crash. The way on would be a reboot."""
        self._meet(boot)
        self._change()
        if self._request.crash_by in (CrashBy.PLATFORM, CrashBy.OPAL):
            raise MachineError("Linux has fallen back to kdump, which a crash by the platform does not start")
        with kexec.lent_kernel() as load:
            loaded = self._session.ask(load, KdumpLoaded)
        kexec.stop_at_kdump(loaded.area.start)
        boot = self._left_shell(BootMode.FIRST) or self._crash_into(BootMode.KDUMP)
        if boot.mode is not BootMode.KDUMP:  # whoever was in the shell has rebooted the guest
            return self.to_production(boot)
        vmcore_bytes = self._save(self._look_into(boot))
        return self._result(None, vmcore_bytes, 0, loaded)

    def _meet(self, boot: Hello) -> None:
        """A kernel that can't be dumped as asked is told apart before anything crashes."""
        self._kernel_release = boot.release
        self._cpus = boot.cpus
        if boot.enabled is None:
            raise MachineError(f"Linux {boot.release} has no FADump: it needs a kernel built with CONFIG_FA_DUMP=y")
        if self._request.crash_cpu >= boot.cpus and not self._changes:
            raise MachineError(f"there is no CPU {self._request.crash_cpu} to crash on: Linux has {boot.cpus}")

    def _register(self, boot: Hello) -> None:
        """Linux registers by itself."""
        self._meet(boot)
        self._reserved_bytes = self._session.ask(Register(), Registered).reserved_bytes
        self._session.reached(Milestone.REGISTERED)

    def _change(self) -> None:
        """Let memory and CPUs come and go."""
        changes, self._changes = self._changes, ()
        for change in changes:
            if (hotplug := self._session.hotplug) is None:
                raise MachineError(f"this machine can't {change}")
            for task in hotplug.change(change):
                report = self._session.ask(task.request, task.answer)
                if isinstance(report, ScriptRan) and report.status:
                    said = printable(report.output.decode(errors="replace").strip())
                    raise MachineError(f"Linux has not come to the end of this: {change}: {said}")
            self._changed.append(change)

    def _crash_into(self, mode: BootMode) -> Hello:
        """Returns the boot that has the dump; on the way to it are the firmware's call, preserve, reset and handover,
        or a kexec."""
        boot = self._crash()
        if boot.mode is not mode:
            raise self._no_dump(boot)
        return boot

    def _crash(self) -> Hello:
        if not self._request.crash_script:
            self._session.crash(self._request.crash_by, self._request.crash_cpu)
            return self._session.expect(Hello)
        try:
            ran = self._session.ask(RunScript(self._request.crash_script, may_crash=True), ScriptRan)
        except RebootedError as rebooted:
            return rebooted.hello
        raise MachineError(f"Linux has survived the script that was to crash it, which {_ended(ran)}")

    def _left_shell(self, mode: BootMode) -> Hello | None:
        """Let somebody into the guest, if that is asked for; the boot that has come instead of the shell's end."""
        if not self._request.shells:
            return None
        try:
            self._session.ask(Shell(mode), ShellLeft)
        except RebootedError as rebooted:
            return rebooted.hello
        return None

    def _look_into(self, boot: Hello) -> Hello:
        """Let somebody into the capture kernel, if that is asked for; returns the boot that is to save the dump."""
        while (rebooted := self._left_shell(BootMode.CAPTURE)) is not None:
            if rebooted.mode is not boot.mode:
                raise MachineError("the capture kernel was left by a reboot, and the dump is gone")
            boot = rebooted
        return boot

    def _crash_again(self) -> Hello:
        """Let the capture kernel crash; returns the boot after that, which has to find the first dump again."""
        boot = self._crash()
        if not boot.is_capture:
            raise MachineError("the capture kernel has crashed, and Linux has given the dump up before it rebooted")
        return boot

    def _preserved(self) -> PreservedDump:
        """What the capture kernel speaks of."""
        dump = self._session.record.dump
        if dump is None:
            raise MachineError("the guest says that it is a capture kernel, but the firmware has preserved nothing")
        return dump

    def _save(self, boot: Hello) -> int:
        if boot.opal_core_bytes is not None:
            self._session.ask(SaveOpalCore(), SavedOpalCore)
        vmcore_bytes = self._session.ask(Save(), Saving).vmcore_bytes
        self._session.reached(Milestone.VMCORE_READY)
        saved_bytes = self._session.expect(Saved).vmcore_bytes
        if saved_bytes != vmcore_bytes:
            raise MachineError(f"the guest saved {saved_bytes} bytes of a /proc/vmcore of {vmcore_bytes}")
        self._session.reached(Milestone.SAVED)
        return vmcore_bytes

    def _capture(self) -> None:
        if self._request.capture_script:
            self._captured = self.run_script("capture script", self._request.capture_script)

    def _release(self) -> int:
        is_released = self._request.capture_script and self._session.firmware_state is not State.ACTIVE
        released_bytes = 0 if is_released else self._session.ask(Release(), Released).released_bytes
        self._session.reached(Milestone.RELEASED)
        if self._request.faults.release_twice:
            self._release_what_is_gone()
        return released_bytes

    def _release_what_is_gone(self) -> None:
        try:
            self._session.ask(Release(), Released)
        except RefusedError:
            return
        raise MachineError("the guest has released what it had released already")

    def _register_again(self) -> None:
        self._session.ask(Reregister(), Registered)
        state = self._session.firmware_state
        if state is not State.REGISTERED:
            raise MachineError(f"the guest says registered, the firmware is {state.name.lower()}")
        self._session.reached(Milestone.PRODUCTION)

    def _no_dump(self, boot: Hello) -> MachineError:
        if self._session.power_is_cut:
            return RebootedError("crashing", boot)
        if self._session.crash_answered:
            why = self._session.crash_answered
            return MachineError(f"the guest has booted again after the crash without a dump: {why}")
        if boot.fell_back:
            return MachineError("the guest has booted again after the crash: its crash kernel has not come up")
        if self._session.state_at_reset in (State.IDLE, State.INVALIDATED):
            return MachineError(
                "the guest crashed without a registration, so there is no dump; Linux has rebooted itself"
            )
        return MachineError("the guest has booted again after the crash without a dump")

    def _result(
        self, dump: PreservedDump | None, vmcore_bytes: int, released_bytes: int, kdump: KdumpLoaded | None = None
    ) -> CycleResult:
        record = self._session.record
        return CycleResult(
            timeline=record.timeline,
            kernel_release=self._kernel_release,
            cpus=record.cpus or self._cpus,
            dump=dump,
            reserved_bytes=self._reserved_bytes,
            vmcore_bytes=vmcore_bytes,
            memory_released=released_bytes,
            reboots=record.resets,
            power_on=record.power_on,
            events=record.events,
            kdump=kdump,
            trigger=record.trigger,
            changes=self._changed,
            captured=self._captured,
        )


def _ended(ran: ScriptRan) -> str:
    said = printable(ran.output.decode(errors="replace").strip())
    return f"has ended with status {ran.status}: {said or 'it has printed nothing'}"

"""``fadump rehearse``: crash somebody's system unattended, and watch what becomes of it and of its dump.

The story of one rehearsal, from power-on to power-off: production, crash, preserved, capture boot, what user space does
with the dump, production again. Everything is seen from outside: the firmware, resets, the console; and, once the
machine is off, the dump in the system's own file system. The system's disks are as they were afterwards.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType
from typing import Protocol, TypeVar

from fadump.errors import MachineError
from fadump.firmware.contract import PreservedDump, State
from fadump.machine.contract import Machine
from fadump.session import CrashBy, Milestone, PoweredOffError, Seen, Session
from fadump.systems.console import WatchedConsole

_SETTLED_SECONDS = 5.0
_CRASH_COMMAND = b"echo c > /proc/sysrq-trigger\n"


class Service(StrEnum):
    """What user space did in the capture boot."""

    RELEASED = "released"
    """It gave the memory back: no second reboot."""
    REBOOTED = "rebooted"
    NOTHING = "nothing"
    """The dump was still there when the system was in production again."""


class RehearsedMachine(Machine, Protocol):
    """A machine that can be typed on, called after a time, and asked to power off."""

    def type(self, keys: bytes) -> None: ...
    def call(self) -> None: ...
    def call_after(self, seconds: float) -> None: ...
    def clock(self) -> float: ...
    def press_power(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Patience:
    """How many seconds each step of a rehearsal may take; ``scaled`` makes all of them longer or shorter."""

    production: float = 600.0
    registration: float = 60.0
    preserving: float = 120.0
    capture_boot: float = 120.0
    saving: float = 900.0
    idle: float = 180.0
    """Until a system in production has done what it does with its dump."""
    power_off: float = 120.0

    def scaled(self, factor: float) -> "Patience":
        """The same, each step ``factor`` times as long."""
        return Patience(*(getattr(self, name) * factor for name in self.__dataclass_fields__))


@dataclass(frozen=True, slots=True)
class Window:
    """A time without a registration, in seconds after power-on: a crash then would have no dump."""

    start: float
    end: float


@dataclass(slots=True)
class Watched:
    """What was seen of a system. ``service`` is None if it was never seen in production again."""

    windows: list[Window] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    dump: PreservedDump | None = None
    service: Service | None = None


class LostError(MachineError):
    """A system has failed its rehearsal: ``phase`` is the milestone that it was on the way to."""


class NotRegisteredError(LostError):
    """It is in production, and nothing is registered with the firmware."""


_E = TypeVar("_E", bound=LostError)


class Rehearsal:
    """One system on its machine, taken through its crash."""

    def __init__(
        self,
        machine: RehearsedMachine,
        session: Session,
        console: WatchedConsole,
        patience: Patience,
    ) -> None:
        self.watched = Watched()
        """What has been seen so far, also after an error."""
        self._machine = machine
        self._session = session
        self._console = console
        self._patience = patience
        self._clock = machine.clock
        self._known = 0  # of what has been seen
        self._unregistered_at: float | None = None
        console.changed = machine.call

    def run(self, crash_by: CrashBy) -> Watched:
        """From power-on to power-off.

        :raises NotRegisteredError: the system came into production, and no crash would be dumped.
        :raises LostError: the system did something else than save its dump; the sentence says what, and where.
        :raises MachineError: the machine stopped.
        """
        self._session.reached(Milestone.POWER_ON)
        self._to_production()
        self._session.reached(Milestone.REGISTERED)
        self._crash(crash_by)
        self._to_capture_boot()
        self._back_to_production()
        self._power_off()
        return self.watched

    def _to_production(self) -> None:
        if not self._settle(lambda: self._console.is_ready, self._patience.production, Milestone.REGISTERED):
            raise self._lost(
                LostError,
                Milestone.REGISTERED,
                f"the system shows no login prompt within {self._patience.production:.0f} seconds",
            )
        if not self._settle(self._is_in_production, self._patience.registration, Milestone.REGISTERED):
            raise self._lost(
                NotRegisteredError,
                Milestone.REGISTERED,
                "the system is in production and has not registered, so no crash would be dumped: see what its kernel "
                "says of fadump, and what is in /sys/kernel/fadump",
            )

    def _crash(self, crash_by: CrashBy) -> None:
        if crash_by is CrashBy.SYSRQ:
            if not self._console.has_root_prompt:
                raise self._lost(
                    LostError,
                    Milestone.CRASH,
                    "sysrq is typed at a prompt of root's, and the console has none: give --crash-by nmi",
                )
            self._machine.type(_CRASH_COMMAND)
        else:
            self._session.crash(crash_by)
        self._until(
            lambda: self._session.record.dump is not None,
            self._patience.preserving,
            Milestone.PRESERVED,
            "the crash has not reached the firmware",
            lost_by={Seen.RESET: "the system has reset itself, and no dump was taken"},
        )
        self.watched.dump = self._session.record.dump
        self._console.take_alarm()  # the crash's own

    def _to_capture_boot(self) -> None:
        self._until(
            lambda: self._has(Seen.CAPTURE_BOOT),
            self._patience.capture_boot,
            Milestone.CAPTURE_BOOT,
            "no kernel has been entered after the crash",
        )

    def _back_to_production(self) -> None:
        lost_by = {Seen.CRASHED: "the capture kernel has crashed, too"}
        self._until(
            lambda: self._console.is_ready or self._session.firmware_state is State.REGISTERED,
            self._patience.saving,
            Milestone.SAVED,
            "the capture boot has neither saved the dump nor come into production",
            lost_by=lost_by,
        )
        self._settle(
            lambda: self._console.is_ready and self._session.firmware_state is not State.ACTIVE,
            self._patience.idle,
            Milestone.RELEASED,
            lost_by,
        )
        self._settle(lambda: self._console.is_ready, self._patience.production, Milestone.PRODUCTION, lost_by)
        registered = self._settle(self._is_in_production, self._patience.registration, Milestone.PRODUCTION, lost_by)
        if self._session.firmware_state is State.ACTIVE:
            self.watched.service = Service.NOTHING
        else:
            self.watched.service = Service.REBOOTED if self._session.record.resets > 1 else Service.RELEASED
            if not registered:
                self.watched.warnings.append("the system has not registered again: its next crash would not be dumped")
        self._session.reached(Milestone.PRODUCTION)

    def _power_off(self) -> None:
        if self._console.has_root_prompt:
            self._machine.type(b"poweroff\n")
        else:
            self._machine.press_power()
        deadline = self._clock() + self._patience.power_off
        self._machine.call_after(self._patience.power_off)
        try:
            while self._clock() < deadline:
                self._session.serve()
        except PoweredOffError:
            return
        self.watched.warnings.append("the system did not power off when asked to: its power was cut")

    def _until(
        self,
        done: Callable[[], bool],
        seconds: float,
        phase: Milestone,
        otherwise: str,
        lost_by: Mapping[Seen, str] = MappingProxyType({}),
    ) -> None:
        """Serve the machine until something is so; ``lost_by`` are what must not be seen meanwhile, and why."""
        deadline = self._clock() + seconds
        self._machine.call_after(seconds)
        while not done():
            if self._clock() >= deadline:
                raise self._lost(LostError, phase, f"{otherwise} within {seconds:.0f} seconds")
            self._serve(phase, lost_by)

    def _settle(
        self,
        condition: Callable[[], bool],
        seconds: float,
        phase: Milestone,
        lost_by: Mapping[Seen, str] = MappingProxyType({}),
    ) -> bool:
        """Serve the machine until something has been so for a while; False: it wasn't within these seconds."""
        now = self._clock()
        deadline, since = now + seconds, now
        while now < deadline:
            self._machine.call_after(_SETTLED_SECONDS / 2)
            self._serve(phase, lost_by)
            now = self._clock()
            if not condition():
                since = now
            elif now - since >= _SETTLED_SECONDS:
                return True
        return False

    def _serve(self, phase: Milestone, lost_by: Mapping[Seen, str]) -> None:
        try:
            self._session.serve()
        except PoweredOffError:
            raise self._lost(LostError, phase, "the system has powered off") from None
        for seen, at_seconds in self._session.record.seen[self._known :]:
            self._known += 1
            self._note(seen, at_seconds)
            if seen in lost_by:
                raise self._lost(LostError, phase, lost_by[seen])
        alarm = self._console.take_alarm()
        self.watched.warnings += [f"out of memory: {line}" for line in alarm.out_of_memory]
        if alarm.panics and phase is not Milestone.PRESERVED:
            whose = "the kernel" if self.watched.dump is None else "the capture kernel"
            raise self._lost(LostError, phase, f"{whose} has panicked: {alarm.panics[0]}")

    def _note(self, seen: Seen, at_seconds: float) -> None:
        match seen:
            case Seen.RESET | Seen.PRESERVED:
                self._console.forget()
                self._unregistered_at = None
            case Seen.UNREGISTERED:
                self._unregistered_at = at_seconds
            case Seen.REGISTERED if self._unregistered_at is not None:
                self.watched.windows.append(Window(self._unregistered_at, at_seconds))
                self._unregistered_at = None

    def _is_in_production(self) -> bool:
        return self._console.is_ready and self._session.firmware_state is State.REGISTERED

    def _has(self, seen: Seen) -> bool:
        return any(known is seen for known, _at in self._session.record.seen)

    def _lost(self, kind: type[_E], phase: Milestone, sentence: str) -> _E:
        last = "".join(f"\n  | {line}" for line in self._console.last_lines)
        error = kind(f"{sentence}{last}")
        error.phase = phase
        error.firmware = self._session.refusal or None
        return error

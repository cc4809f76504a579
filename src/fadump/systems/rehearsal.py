"""``fadump rehearse``: crash somebody's system unattended, and watch what becomes of it and of its dump.

The story of one rehearsal, from power-on to power-off: production, crash, preserved, capture boot, what user space does
with the dump, production again. Everything is seen from outside: the firmware, resets, the console; and, once the
machine is off, the dump in the system's own file system. The system's disks are as they were afterwards.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from types import MappingProxyType
from typing import Protocol, TypeVar

from fadump.errors import MachineError
from fadump.firmware.contract import PreservedDump, State
from fadump.machine.contract import Machine
from fadump.observer import CrashBy, Milestone, Seen
from fadump.session import PoweredOffError, Session
from fadump.systems.console import WatchedConsole

_SETTLED_SECONDS = 5.0
_LOOK_SECONDS = 1.0
_MOST_QUOTED = 2
_MOST_KEPT = 50
_CRASH_COMMAND = b"echo c > /proc/sysrq-trigger\n"
_CRASHED_AGAIN = {Seen.CRASHED: "the capture kernel has crashed, too: see what it says before that"}


def _nobody() -> None:
    """Nobody wants to know."""


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
    """Until a system in production is registered."""
    preserving: float = 120.0
    capture_boot: float = 300.0
    saving: float = 900.0
    idle: float = 180.0
    """Until a system in production has done what it does with its dump."""
    power_off: float = 120.0

    def scaled(self, factor: float) -> "Patience":
        """The same, each step ``factor`` times as long."""
        return Patience(*(getattr(self, name) * factor for name in self.__dataclass_fields__))


@dataclass(frozen=True, slots=True)
class Window:
    """A time without a registration, in seconds after power-on: a crash then would have no dump.

    ``boot`` counts the system's boots from 1, ``console`` is the last line on its console when the time began.
    """

    start: float
    end: float
    boot: int
    console: str


@dataclass(slots=True)
class Watched:
    """What was seen of a system. ``service`` is None if it was never seen in production again.

    ``reserved_bytes`` is what the kernel had reserved for a dump, ``available_bytes`` what the capture kernel had of
    its boot memory to begin with; None if the console doesn't say. ``captured`` are the console's last lines of the
    capture boot, once that is over. Of ``windows`` and ``out_of_memory`` the first 50 are kept; ``more_windows``, with
    ``more_seconds`` in all, and ``more_out_of_memory`` count the others. ``saving_seconds`` is from the crash until the
    dump was dealt with, by the machine's clock, where that is timed.
    """

    windows: list[Window] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    dump: PreservedDump | None = None
    service: Service | None = None
    reserved_bytes: int | None = None
    available_bytes: int | None = None
    out_of_memory: list[str] = field(default_factory=list)
    captured: list[str] = field(default_factory=list)
    saving_seconds: float | None = None
    more_windows: int = 0
    more_seconds: float = 0.0
    more_out_of_memory: int = 0

    def note_window(self, window: Window) -> None:
        """Keep a time without a registration, or count it."""
        if len(self.windows) < _MOST_KEPT:
            self.windows.append(window)
        else:
            self.more_windows += 1
            self.more_seconds += window.end - window.start

    def note_out_of_memory(self, line: str) -> None:
        """Keep a console's line, or count it."""
        if len(self.out_of_memory) < _MOST_KEPT:
            self.out_of_memory.append(line)
        else:
            self.more_out_of_memory += 1


def told(sentence: str, watched: Watched, console: Sequence[str]) -> str:
    """What has become of a system, what its kernel said of its memory, and the last lines of its console."""
    if watched.out_of_memory:
        sentence += f"; it had run out of memory: {' | '.join(watched.out_of_memory[:_MOST_QUOTED])}"
    return sentence + "".join(f"\n  | {line}" for line in console)


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
        self.look: Callable[[], None] = _nobody
        """Called again and again while a capture kernel runs that has a dump to deal with."""
        self._machine = machine
        self._session = session
        self._console = console
        self._patience = patience
        self._clock = machine.clock
        self._known = 0  # of what has been seen
        self._boot = 1
        self._unregistered: Window | None = None  # which goes on
        self._ready_since: float | None = None
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
        if not self._settle(
            Milestone.REGISTERED,
            "the system shows no login prompt",
            "if it is slow, give --patience 2; if its prompt looks like none, --ready",
        ):
            raise self._lost(
                NotRegisteredError,
                Milestone.REGISTERED,
                "the system is in production and has not registered, so no crash would be dumped: see what its kernel "
                "says of fadump, whether its command line has fadump=on and enough crashkernel=, and what is in "
                "/sys/kernel/fadump",
            )

    def _make_crash(self, crash_by: CrashBy) -> None:
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

    def _crash(self, crash_by: CrashBy) -> None:
        self._make_crash(crash_by)
        self._until(
            lambda: self._session.record.dump is not None,
            self._patience.preserving,
            Milestone.PRESERVED,
            "the crash has not reached the firmware",
            "crash it in another way by --crash-by",
            lost_by={
                Seen.RESET: "the system has reset itself, and no dump was taken: see whether it was still registered"
            },
        )
        self.watched.dump = self._session.record.dump
        self.watched.reserved_bytes = self._console.reserved_bytes
        self._console.take_alarm()  # the crash's own

    def _to_capture_boot(self) -> None:
        self._until(
            lambda: self._has(Seen.CAPTURE_BOOT),
            self._patience.capture_boot,
            Milestone.CAPTURE_BOOT,
            "no kernel has been entered after the crash",
            "see whether its boot loader waits for somebody",
        )

    def _to_saved(self, idle_seconds: float) -> None:
        """Up to a dump that has been dealt with, or a system that has been ready for its user for so long without."""
        self._until(
            lambda: self._is_ready_for(idle_seconds) or self._session.firmware_state is not State.ACTIVE,
            self._patience.saving,
            Milestone.SAVED,
            "the capture boot has neither dealt with the dump nor come into production",
            "see what its dump service waits for; if it is slow, give --patience 2",
            lost_by=_CRASHED_AGAIN,
        )

    def _back_to_production(self) -> None:
        self._to_saved(self._settled_seconds)
        registered = self._settle(
            Milestone.PRODUCTION,
            "the system has dealt with its dump, and has not come back into production",
            "see what it waits for",
            _CRASHED_AGAIN,
        )
        self._keep_lines()
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
        advice: str,
        lost_by: Mapping[Seen, str] = MappingProxyType({}),
    ) -> None:
        """Serve the machine until something is so; ``lost_by`` are what must not be seen meanwhile, and why."""
        deadline = self._clock() + seconds
        while not done():
            if self._clock() >= deadline:
                raise self._late(phase, otherwise, seconds, advice)
            self._machine.call_after(min(seconds, self._settled_seconds, _LOOK_SECONDS) / 2)
            self._serve(phase, lost_by)

    def _settle(
        self,
        phase: Milestone,
        otherwise: str,
        advice: str,
        lost_by: Mapping[Seen, str] = MappingProxyType({}),
    ) -> bool:
        """Serve the machine until its system stays in production, registered; False: it stays there, and isn't.

        :raises LostError: it stays nowhere in time.
        """
        now = since = self._clock()
        deadline = now + self._patience.production
        stands = self._stands
        while now < deadline:
            self._machine.call_after(self._settled_seconds / 2)
            self._serve(phase, lost_by)
            now = self._clock()
            if stands != self._stands:
                stands, since = self._stands, now
            match stands:
                case (True, State.REGISTERED) if now - since >= self._settled_seconds:
                    return True
                case (True, State.ACTIVE) if now - since >= self._patience.idle:
                    return False
                case (True, state) if state is not State.ACTIVE and now - since >= self._patience.registration:
                    return False
        raise self._late(phase, otherwise, self._patience.production, advice)

    @property
    def _settled_seconds(self) -> float:
        """How long a state has to last to be one: a line of a boot that comes in pieces may look like a prompt."""
        return min(_SETTLED_SECONDS, self._patience.registration / 2)

    @property
    def _is_settled(self) -> bool:
        """Whether the system has been ready for its user for a while."""
        return self._is_ready_for(self._settled_seconds)

    def _is_ready_for(self, seconds: float) -> bool:
        return self._ready_since is not None and self._clock() - self._ready_since >= seconds

    @property
    def _stands(self) -> tuple[bool, State]:
        """Whether the system is ready for its user, and where the firmware stands."""
        return self._console.is_ready, self._session.firmware_state

    def _serve(self, phase: Milestone, lost_by: Mapping[Seen, str]) -> None:
        try:
            self._session.serve()
        except PoweredOffError:
            raise self._lost(LostError, phase, "the system has powered off: see why it should have") from None
        if self._session.firmware_state is State.ACTIVE and self._console.available_bytes is not None:
            self.look()
        record = self._session.record
        new, self._known = record.since(self._known), record.seen_in_all
        for seen, at_seconds in new:
            self._note(seen, at_seconds)
            if seen in lost_by:
                raise self._lost(LostError, phase, lost_by[seen])
        if not self._console.is_ready:
            self._ready_since = None
        elif self._ready_since is None:
            self._ready_since = self._clock()
        alarm = self._console.take_alarm()
        for line in alarm.out_of_memory:
            self.watched.note_out_of_memory(line)
        if alarm.panics and phase is not Milestone.PRESERVED:
            whose = "the kernel" if self.watched.dump is None else "the capture kernel"
            raise self._lost(LostError, phase, f"{whose} has panicked: {alarm.panics[0]}")
        if alarm.no_boot_loader:
            raise self._lost(
                LostError,
                phase,
                f"no boot loader can be started from the first --disk ({alarm.no_boot_loader[0]}): give one that has "
                "GRUB in a PReP partition, or a --kernel",
            )

    def _note(self, seen: Seen, at_seconds: float) -> None:
        match seen:
            case Seen.RESET | Seen.PRESERVED:
                self._keep_lines()
                self._console.forget()
                self._boot += 1
                self._unregistered = None
            case Seen.UNREGISTERED:
                last = self._console.last_lines[-1:]
                self._unregistered = Window(at_seconds, at_seconds, self._boot, *(last or [""]))
            case Seen.REGISTERED if self._unregistered is not None:
                self.watched.note_window(replace(self._unregistered, end=at_seconds))
                self._unregistered = None

    def _keep_lines(self) -> None:
        """A boot is over, or as good as that; what the console says of the first capture boot is kept."""
        if self._has(Seen.CAPTURE_BOOT) and not self.watched.captured:
            self.watched.captured = self._console.last_lines
            self.watched.available_bytes = self._console.available_bytes

    def _has(self, seen: Seen) -> bool:
        return self._session.record.counts[seen] > 0

    def _late(self, phase: Milestone, otherwise: str, seconds: float, advice: str) -> LostError:
        if console := self._console.missed_console:
            advice = (
                f"its systemd has waited for {console} in vain, so no prompt comes: rehearse when this host is less "
                "busy, or with systemd.default_device_timeout_sec=300 on the system's command line"
            )
        return self._lost(LostError, phase, f"{otherwise} within {seconds:.0f} seconds: {advice}")

    def _lost(self, kind: type[_E], phase: Milestone, sentence: str) -> _E:
        self._keep_lines()
        error = kind(told(sentence, self.watched, self._console.last_lines))
        error.phase = phase
        error.firmware = self._session.refusal or None
        return error

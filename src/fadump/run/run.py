"""``fadump run``: set a machine up, take it through one cycle, and leave its files.

The crash itself is in :mod:`fadump.cycle`; this is everything around it.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from fadump.cycle import CycleResult, run_cycle
from fadump.errors import NO_ROOM, STDERR, STDOUT, FadumpError, MachineError, note_phase, note_vmcore, reason
from fadump.firmware.contract import Firmware
from fadump.machine.contract import ConsoleLog, Machine
from fadump.observer import Milestone, Observer
from fadump.run.console import CONSOLE_LOG, shown, unless_silent
from fadump.run.faults import NeverStruck, never_struck
from fadump.run.hash_table import HashTableFile
from fadump.run.host import check_host
from fadump.run.inputs import check_inputs
from fadump.run.linux_bugs import FreedByLinux, freed_by_linux
from fadump.run.options import RunOptions, WhichMachine, check_options
from fadump.run.output import OutputDirectory
from fadump.run.parts import Parts, make_parts
from fadump.run.terminal import Keyboard, Seat, standing
from fadump.session import RefusedError
from fadump.signals import EndedBySignal

if TYPE_CHECKING:
    from fadump.capture.save import Saved
    from fadump.proof.verify import Verdict, Verifier


@dataclass(frozen=True, slots=True)
class JudgedCycle:
    """A finished cycle, its dump, and the verdict about it if that was asked for.

    ``saved`` is the result of saving the dump, None: it wasn't. ``freed`` is what Linux has freed too much at the
    release, by bugs of its own.
    """

    cycle: CycleResult
    verdict: "Verdict | None"
    vmcore: Path
    saved: "Saved | None" = None
    freed: Sequence[FreedByLinux] = ()

    @property
    def good(self) -> bool:
        """Whether the dump is there, and nothing in it is known to be wrong."""
        return self.verdict is None or self.verdict.same

    @property
    def result(self) -> str:
        """What it has come to, in a word."""
        if not self.good:
            return "different"
        return "saved" if self.cycle.kdump is None else "not-registered"


@dataclass(frozen=True, slots=True)
class RunResult:
    """The cycles of a run; ``vmlinux`` is the kernel with debug information, if known.

    ``never_struck`` are faults that didn't happen.
    """

    cycles: Sequence[JudgedCycle]
    vmlinux: Path | None
    never_struck: Sequence[NeverStruck] = ()

    @property
    def good(self) -> bool:
        """Whether every cycle is good."""
        return all(judged.good for judged in self.cycles)


class RunObserver(Observer, Protocol):
    """Is told what happens in a run: in its cycles, and around them."""

    def remark(self, sentence: str) -> None:
        """A remark about the run, made before its machine is powered on."""

    def cycle_begins(self, number: int, count: int) -> None:
        """Cycle ``number`` of ``count``, counted from 1, begins."""


def run(
    options: RunOptions, observer: RunObserver, screen: ConsoleLog | None = None, seat: Seat | None = None
) -> RunResult:
    """Run one cycle, or several on the same machine, which is not reset between them. One that Linux has fallen back to
    kdump in is the last.

    ``observer`` is told what happens as it happens; the output directory keeps a record. The console is shown on
    ``screen``, too; at an interactive run somebody has a ``seat`` instead.

    :raises UsageError: the options can't work.
    :raises SetupError: something is missing; the sentence says what. Or real Linux has not come to its console.
    :raises MachineError: a cycle failed.
    """
    is_real = options.machine is WhichMachine.QEMU
    with unless_silent(options.out / CONSOLE_LOG) if is_real else nullcontext():
        return _run_noting_phase(options, observer, screen, seat)


def _run_noting_phase(
    options: RunOptions, observer: RunObserver, screen: ConsoleLog | None, seat: Seat | None
) -> RunResult:
    parts: Parts | None = None
    try:
        check_options(options)
        check_inputs(options)
        check_host(options)
        parts = make_parts(options)
        with parts.output:
            return _run(parts, observer, screen, seat)
    except (FadumpError, OSError, EndedBySignal) as error:
        note_phase(error, Milestone.POWER_ON if parts is None else parts.output.phase)
        raise


def _run(parts: Parts, observer: RunObserver, screen: ConsoleLog | None, seat: Seat | None) -> RunResult:
    if parts.output.earlier is not None:
        observer.remark(f"the files of an earlier run go to {parts.output.earlier}")
    for sentence in parts.remarks:
        observer.remark(sentence)
    cycles = _run_cycles(parts, observer, screen, seat)
    missed = never_struck(parts.faults, parts.firmware, [judged.cycle for judged in cycles])
    return RunResult(cycles, parts.vmlinux, missed)


@contextmanager
def full_disk_reported(output: OutputDirectory) -> Iterator[None]:
    """Replace an error that comes from the output's full disk by one that says so."""
    try:
        yield
    except (RefusedError, OSError) as error:
        if not _lacks_room(error, output):
            raise
        raise _disk_is_full(output.path, error) from error


def _run_cycles(
    parts: Parts, observer: RunObserver, screen: ConsoleLog | None, seat: Seat | None
) -> Sequence[JudgedCycle]:
    done: list[JudgedCycle] = []
    output = parts.output
    try:
        console = shown(output.console_log, screen if seat is None else seat.screen)
        with (
            full_disk_reported(output),
            parts.make_machine(output.vmcore_fd, console) as machine,
            _taken(seat, machine, parts.firmware) as called,
        ):
            for number in range(1, parts.cycles + 1):
                observer.cycle_begins(number, parts.cycles)
                before = done[-1].cycle if done else None
                result, verdict = _run_one(machine, parts, output.watch(observer), before, called)
                if result.kdump is not None:
                    break  # the next boot would fall back, too
                if number < parts.cycles:
                    done.append(_keep(result, verdict, output.next_cycle(result.vmcore_bytes), parts))
    except BaseException as error:
        if (vmcore := output.publish_saved()) is not None:  # keep a saved dump, whatever failed after that
            note_vmcore(error, vmcore)
        raise
    done.append(_keep(result, verdict, output.publish(result.vmcore_bytes), parts))
    return done


@contextmanager
def _taken(seat: Seat | None, machine: Machine, firmware: Firmware) -> Iterator[Callable[[], None] | None]:
    """Whoever has a seat sits at the machine while the context lasts."""
    if seat is None or not isinstance(machine, Keyboard):
        yield None
        return
    with seat.taken(machine, lambda: standing(firmware.state)) as called:
        yield called


def _run_one(
    machine: Machine,
    parts: Parts,
    observer: Observer,
    before: CycleResult | None,
    called: Callable[[], None] | None,
) -> "tuple[CycleResult, Verdict | None]":
    if not parts.verify:
        file = HashTableFile(parts.output, None)
        return run_cycle(machine, parts.firmware, parts.request, observer, file, before, called=called), None
    from fadump.proof.verify import Verifier  # noqa: PLC0415 - slow, and for --verify alone

    with Verifier() as verifier:
        file = HashTableFile(parts.output, verifier)
        result = run_cycle(machine, parts.firmware, parts.request, observer, file, before, called=called)
        return result, _judge(verifier, result, parts.output)


def _judge(verifier: "Verifier", result: CycleResult, output: OutputDirectory) -> "Verdict":
    if result.dump is None:
        return verifier.judge_kdump(output.vmcore_on_disk)
    return verifier.judge(output.vmcore_on_disk, result.dump, output.opalcore)


def _keep(result: CycleResult, verdict: "Verdict | None", vmcore: Path, parts: Parts) -> JudgedCycle:
    saved = None
    if parts.save is not None:
        from fadump.capture.in_place import save_in_place  # noqa: PLC0415 - slow, and for --save-level alone

        saved = save_in_place(vmcore, parts.save, parts.vmlinux)
    freed = freed_by_linux(result.dump, result.reserved_bytes, parts.output.path / CONSOLE_LOG)
    return JudgedCycle(result, verdict, vmcore, saved, freed)


def _lacks_room(error: RefusedError | OSError, output: OutputDirectory) -> bool:
    """Whether an error comes from the output's full disk."""
    if isinstance(error, OSError):
        return error.errno in NO_ROOM and error.filename not in (None, STDOUT, STDERR)
    return output.is_full


def _disk_is_full(directory: Path, error: RefusedError | OSError) -> MachineError:
    why = f"{error.filename}: {reason(error)}" if isinstance(error, OSError) else error
    full = MachineError(f"the disk of {directory} is full: make room there, or name another --out ({why})")
    full.phase, full.firmware = getattr(error, "phase", None), getattr(error, "firmware", None)
    return full

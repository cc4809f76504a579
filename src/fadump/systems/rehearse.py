"""What surrounds a rehearsal: its machine, its files, and the verdict, which rests on the dump on the system's disk."""

import math
import re
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from enum import StrEnum
from pathlib import Path
from typing import BinaryIO, cast

from fadump.abi.platform import Platform
from fadump.errors import FormatError, SetupError, UsageError, reason, unwritable
from fadump.firmware.contract import Firmware
from fadump.machine.contract import ConsoleLog
from fadump.machine.qemu.config import Drive, QemuConfig
from fadump.observer import CrashBy, Milestone, Observer
from fadump.proof.verify import Verdict, Verifier
from fadump.run.console import CONSOLE_LOG, shown
from fadump.run.faults import NeverStruck, never_struck_by
from fadump.run.host import qemu_machine
from fadump.run.output import NamedFile
from fadump.session import Session
from fadump.systems.console import READY, WatchedConsole
from fadump.systems.disks import open_drives
from fadump.systems.evidence import Judged, check_images, judge, take_out
from fadump.systems.fallback import Fallback, FallbackRehearsal
from fadump.systems.guest_ram import ram_directory
from fadump.systems.rehearsal import LostError, NotRegisteredError, Patience, Service, Watched, told
from fadump.systems.size.boot_memory import FirmwareWithBootMemory, TriedBootMemory
from fadump.systems.size.brief_rehearsal import BriefRehearsal, RefusedBootMemoryError
from fadump.systems.size.touched import TouchedMemory
from fadump.systems.vm import VmOptions, check_options, machine_config, make_firmware

DUMP_DIRECTORY = "/var/crash"
_NAME = "fadump-rehearsal"
_MOST_OTHERS = 5


class Outcome(StrEnum):
    """What a rehearsal has come to."""

    SAVED = "saved"
    LOST = "lost"
    DIFFERENT = "different"
    NOT_REGISTERED = "not-registered"
    REFUSED = "refused"
    """Linux takes so little boot memory for kdump, not for FADump."""


@dataclass(frozen=True, slots=True)
class RehearsalOptions:
    """A system, how it is crashed, and where its dump is looked for; ``out`` is a directory that this makes.

    With ``boot_memory`` it is tried with so much, and briefly: see :mod:`.size.brief_rehearsal`.
    """

    vm: VmOptions
    out: Path
    crash_by: CrashBy = CrashBy.NMI
    verify: bool = False
    dump_directory: str = DUMP_DIRECTORY
    ready: str = READY
    patience: Patience = field(default_factory=Patience)
    boot_memory: TriedBootMemory | None = None


@dataclass(frozen=True, slots=True)
class RehearsalResult:
    """``error`` is what went wrong on the way to ``phase``; None of a dump that is saved and good.

    ``fallback`` is what has become of a system that has fallen back to kdump, and of a crash there.
    ``touched_bytes`` is the most boot memory touched in the capture boot; None if it didn't come to its end.
    ``least_available_bytes`` is the least that its kernel had available meanwhile, None if that isn't known.
    ``initrd_bytes`` is what was loaded beside the last kernel, as far as that was looked at.
    """

    outcome: Outcome
    watched: Watched
    timeline: list[tuple[Milestone, float]]
    resets: int
    touched_bytes: int | None = None
    least_available_bytes: int | None = None
    initrd_bytes: int = 0
    judged: Judged | None = None
    error: str | None = None
    phase: Milestone | str | None = None
    fallback: Fallback | None = None
    never_struck: Sequence[NeverStruck] = ()
    """Faults that have not happened."""


def free_directory(name: str = _NAME) -> Path:
    """A name for a rehearsal's files that nothing has yet."""
    number = 1
    while (path := Path(f"{name}-{number}")).exists():
        number += 1
    return path


def check_rehearsal(options: RehearsalOptions) -> None:
    """Refuse what can't be, before anything is started.

    :raises UsageError: with the reason.
    :raises SetupError: a file isn't there, or can't be read.
    """
    check_options(options.vm)
    if not options.vm.disks:
        raise UsageError("give the system's --disk: its dump is looked for there")
    if options.crash_by is CrashBy.OPAL and options.vm.platform is not Platform.POWERNV:
        raise UsageError("--crash-by opal goes with --platform powernv: a pseries guest runs no OPAL")
    if not re.fullmatch("(/+(?!\\.+(/|$))[^/]+)+/*", options.dump_directory):
        raise UsageError(f"--dumps {options.dump_directory} is no absolute path: give one, as {DUMP_DIRECTORY} is")
    try:
        re.compile(options.ready)
    except re.error as error:
        raise UsageError(f"--ready {options.ready!r} is no regular expression: {error}") from None
    if not 0 < options.patience.production < math.inf:
        raise UsageError("--patience must be more than 0: 1 is as usual, 2 waits twice as long for each step")


def rehearse(options: RehearsalOptions, observer: Observer, screen: ConsoleLog | None = None) -> RehearsalResult:
    """Crash the system once, and look at what it has saved.

    :raises UsageError: what is asked for can't be.
    :raises SetupError: something is missing; the system was not crashed.
    :raises MachineError: the machine has stopped.
    """
    check_rehearsal(options)
    if options.out.exists():
        raise _is_there(options.out)
    check_images(options.vm.disks)
    copies = 2 if options.verify else 1
    ram_place = ram_directory(options.vm.memory_bytes, copies * options.vm.memory_bytes, options.out)
    with ExitStack() as ends:
        drives = ends.enter_context(open_drives(options.vm.disks, snapshot=True))
        config = replace(machine_config(options.vm, drives), ram_directory=ram_place)
        log = ends.enter_context(_make_directory(options.out))
        verifier = ends.enter_context(Verifier()) if options.verify else None
        powered_on = time.time()
        result = _watch(options, config, shown(log, screen), observer, verifier)
        if result.fallback is not None:
            return _judged_fallback(options, result, result.fallback, drives, powered_on)
        return result if result.error is not None else _judged(options, result, drives, verifier, powered_on)


def _make_directory(out: Path) -> BinaryIO:
    try:
        out.mkdir(mode=0o700, parents=True)
        console = out / CONSOLE_LOG
        console.touch(mode=0o600)
        return cast("BinaryIO", NamedFile(console, "wb"))
    except FileExistsError:
        raise _is_there(out) from None
    except OSError as error:
        raise unwritable(error)(f"--out {out} can't be made: {reason(error)}") from error


def _is_there(out: Path) -> SetupError:
    return SetupError(f"--out {out} is there already: name one that isn't")


def _watch(
    options: RehearsalOptions,
    config: QemuConfig,
    log: ConsoleLog,
    observer: Observer,
    verifier: Verifier | None,
) -> RehearsalResult:
    console = WatchedConsole(log, options.ready)
    with qemu_machine()(config, None, console) as machine:
        touched = TouchedMemory(observer, machine.memory)
        firmware = _firmware(options)
        session = Session(machine, firmware, touched, verifier, silence_seconds=math.inf)
        story = FallbackRehearsal if options.boot_memory is None else BriefRehearsal
        rehearsal = story(machine, session, console, options.patience)
        rehearsal.look = touched.least_available.look
        outcome = Outcome.SAVED
        error: LostError | None = None
        fallback: Fallback | None = None
        try:
            rehearsal.run(options.crash_by)
        except RefusedBootMemoryError as failed:
            outcome, error = Outcome.REFUSED, failed
        except NotRegisteredError as failed:
            outcome, error = Outcome.NOT_REGISTERED, failed
            fallback = rehearsal.follow_kdump(options.crash_by) if isinstance(rehearsal, FallbackRehearsal) else None
        except LostError as failed:
            outcome, error = Outcome.LOST, failed
        record = session.record
        return RehearsalResult(
            outcome=outcome,
            watched=rehearsal.watched,
            timeline=record.timeline,
            resets=record.resets,
            touched_bytes=touched.touched_bytes,
            least_available_bytes=touched.least_available.least_bytes,
            initrd_bytes=firmware.initrd_bytes if isinstance(firmware, FirmwareWithBootMemory) else 0,
            error=None if error is None else str(error),
            phase=None if error is None else error.phase,
            fallback=fallback,
            never_struck=never_struck_by(firmware),
        )


def _firmware(options: RehearsalOptions) -> Firmware:
    firmware = make_firmware(options.vm)
    return firmware if options.boot_memory is None else FirmwareWithBootMemory(firmware, options.boot_memory)


def _judged(
    options: RehearsalOptions,
    result: RehearsalResult,
    drives: tuple[Drive, ...],
    verifier: Verifier | None,
    powered_on: float,
) -> RehearsalResult:
    """The verdict, by what is on the system's disks."""
    watched = result.watched
    taken = take_out(drives, options.dump_directory, powered_on, options.out)
    if taken.unread and not taken.dumps:
        raise _not_found(taken.unread)
    if not taken.dumps or watched.dump is None:
        did = _DID[watched.service]
        error = f"the system {did}, and there is no new dump in its {options.dump_directory}"
        if taken.others:
            error += f"; what it has written there: {'; '.join(taken.others[:_MOST_OTHERS])}"
        error = told(f"{error}: see what its dump service said, or give --dumps", watched, watched.captured)
        return replace(result, outcome=Outcome.LOST, error=error, phase=Milestone.SAVED)
    try:
        judged = judge(taken.dumps[0], verifier, watched.dump)
    except FormatError as damage:
        error = told(f"the dump {taken.dumps[0].path} can't be read: {damage}", watched, watched.captured)
        return replace(result, outcome=Outcome.LOST, error=error, phase=Milestone.SAVED)
    result = replace(result, judged=judged)
    if judged.damage:
        error = f"the dump {judged.dump.path} is not whole: {judged.damage[0]}; see whether its disk has room"
        error = told(error, watched, watched.captured)
        return replace(result, outcome=Outcome.LOST, error=error, phase=Milestone.SAVED)
    if judged.verdict is not None and not judged.verdict.same:
        error = f"the dump {judged.dump.path} is not the machine at its crash: {_differs(judged.verdict)}"
        return replace(result, outcome=Outcome.DIFFERENT, error=error, phase=Milestone.SAVED)
    return result


def _judged_fallback(
    options: RehearsalOptions,
    result: RehearsalResult,
    fallback: Fallback,
    drives: tuple[Drive, ...],
    powered_on: float,
) -> RehearsalResult:
    """What kdump has saved, in the place of FADump: that one is not registered, whatever has been saved."""
    taken = take_out(drives, options.dump_directory, powered_on, options.out)
    if not taken.dumps:
        if taken.unread:
            raise _not_found(taken.unread)
        return replace(result, error=fallback.sentence(None))
    path = taken.dumps[0].path
    try:
        judged = judge(taken.dumps[0])
    except FormatError as damage:
        return replace(result, error=fallback.sentence(f"it has saved {path}, which can't be read: {damage}"))
    state = f"which is not whole: {judged.damage[0]}" if judged.damage else "which is whole"
    return replace(result, judged=judged, error=fallback.sentence(f"it has saved {path}, {state}"))


def _not_found(unread: Sequence[str]) -> SetupError:
    error = SetupError(f"no new dump was found where it can be looked for, and there may be one: {'; '.join(unread)}")
    error.phase = Milestone.SAVED
    return error


_DID = {
    Service.RELEASED: "has given the dump's memory back",
    Service.REBOOTED: "has rebooted out of its capture boot",
    Service.NOTHING: "has come into production without doing anything about the dump",
    None: "was never seen in production again",
}


def _differs(verdict: Verdict) -> str:
    memory = verdict.memory
    sentences = list(verdict.registers or ())[:1]
    if verdict.hash_table is not None and verdict.hash_table.bytes_different:
        sentences.append(f"{verdict.hash_table.bytes_different:,} bytes of the hash page table differ")
    if memory.bytes_different:
        sentences.insert(0, f"{memory.bytes_different:,} bytes differ, the first at {memory.differences[0].start:#x}")
    return "; ".join(sentences)

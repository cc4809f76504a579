"""Saving a crash in the capture boot: the dump to the first target that takes it, proven there, then its memory back to
the running kernel, which registers again. The boot goes on.

Steps "saved" to "register again" of docs/architecture.md; :func:`capture` is the whole of it. Nothing is released
before the dump has been read back from its target. Whatever ends this before, the firmware still has the dump, and the
next boot begins anew: what an attempt has left says of itself that it is incomplete.
"""

import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from dataclasses import dataclass, replace
from pathlib import Path

from fadump.capture.destination import Destination
from fadump.capture.dmesg import dmesg_name, read_dmesg
from fadump.capture.options import SaveOptions
from fadump.capture.save import save_dump, stream_dump
from fadump.errors import FadumpError, SetupError, reason
from fadump.file_systems import lock_at_once
from fadump.linux.system import CrashedSystem, open_system
from fadump.progress import Progress, Step
from fadump.service.config import Config
from fadump.service.crash import Crash, read_crash
from fadump.service.last_resort import last_resort
from fadump.service.notify import notify
from fadump.service.opal_core import save_opal_core
from fadump.service.programs import run_program
from fadump.service.record import RECORD_NAME, Record
from fadump.service.release import ReleaseError, can_release, register, release, release_opal_core
from fadump.service.resources import lowered, threads
from fadump.service.result import Attempt, Captured, Result
from fadump.service.retention import retain
from fadump.service.root import Root
from fadump.service.targets.contract import VMCORE_NAME, DumpDirectory, Stored, Target, TargetError, Tell
from fadump.service.targets.theirs import TheirDirectory
from fadump.signals import held

_DMESG_NAME = dmesg_name(Path(VMCORE_NAME)).name


def capture(root: Root, config: Config, vmcore: Path | None = None, saved_in: Path | None = None) -> Captured:
    """Save the dump of this boot, or with ``vmcore`` another one, which is not released then.

    ``saved_in`` is where another service has saved it: if it is whole there, that is enough.

    :raises SetupError: another capture is running, or the library that is to pack the dump isn't there.
    """
    source = vmcore or root.vmcore
    if not source.exists():
        return Captured(Result.NOTHING)
    options = _options(root, config)
    options.check_library()
    theirs = [] if saved_in is None else [TheirDirectory(saved_in)]
    targets = [*theirs, *(settings.target(root) for settings in config.targets)]
    with _alone(root) if source == root.vmcore else nullcontext():
        before = _hook("before", config, config.hooks.before, {"FADUMP_VMCORE": str(source)})
        with ExitStack() as opened:
            with lowered(config.save.priority):
                captured, stored = _save(targets, options, source, opened)
            captured = replace(captured, remarks=[*before, *captured.remarks])
            if stored is not None and source == root.vmcore:
                captured = _give_back(root, captured, stored)
            captured = _finish(config, captured, stored)
    if captured.result is Result.FAILED and captured.error is not None and source == root.vmcore:
        failed = last_resort(config.on_failure, captured.error)
        captured = captured if failed is None else replace(captured, errors=[*captured.errors, failed])
    return captured


@contextmanager
def _alone(root: Root) -> Iterator[None]:
    try:
        fd = os.open(root.lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except OSError as error:
        raise SetupError(f"{root.lock} can't be opened: {reason(error)}") from error
    try:
        if not lock_at_once(fd):
            raise SetupError(f"another fadump capture is running, as {root.lock} says: wait until it is done")
        yield
    finally:
        os.close(fd)


@dataclass(frozen=True, slots=True)
class _Taken:
    """A dump that a target has, proven. ``size_bytes`` None: it was there already."""

    stored: Stored
    proof: str
    complete: bool
    size_bytes: int | None
    remarks: tuple[str, ...] = ()


def _save(
    targets: Iterable[Target], options: SaveOptions, source: Path, opened: ExitStack
) -> tuple[Captured, Stored | None]:
    """Save to the first target that takes the dump, which stays open."""
    try:
        with open_system(source) as system:
            crash = read_crash(system)
            attempts: list[Attempt] = []
            for target in targets:
                with ExitStack() as its:
                    its.callback(target.close)
                    try:
                        taken = _take(target, system, crash, options)
                    except (FadumpError, OSError, MemoryError) as error:
                        attempts.append(Attempt(target.name, reason(error) or "there is not enough memory for it"))
                        continue
                    opened.push(its.pop_all())
                    return _saved(crash, target, taken, attempts), taken.stored
    except (FadumpError, OSError) as error:
        return Captured(Result.FAILED, errors=[f"{source} can't be read: {reason(error)}"]), None
    return Captured(Result.FAILED, crash, attempts=attempts), None


def _saved(crash: Crash, target: Target, taken: _Taken, attempts: list[Attempt]) -> Captured:
    return Captured(
        Result.SAVED if taken.complete else Result.INCOMPLETE,
        crash,
        target.name,
        taken.stored.where,
        taken.size_bytes,
        taken.proof,
        already=taken.size_bytes is None,
        attempts=attempts,
        remarks=taken.remarks,
    )


def _take(target: Target, system: CrashedSystem, crash: Crash, options: SaveOptions) -> _Taken:
    """Have a target take the dump, and prove that it has it.

    :raises FadumpError: it hasn't.
    :raises OSError: likewise.
    """
    target.prepare()
    found = target.find(crash)
    if found is not None:
        with suppress(TargetError):  # one that isn't whole is saved anew
            return _Taken(found, _prove(target, complete=True), complete=True, size_bytes=None)
    place = target.open(crash)
    with Progress.step(f"Saving to {target.name}", unit="bytes") as step:
        if isinstance(place, DumpDirectory):
            saved = save_dump(system, Destination.take(place.vmcore, options), options, tell=_shown_by(step))
        else:
            target.add_text(_DMESG_NAME, read_dmesg(system)[0].encode())
            saved = stream_dump(system, place.fd, options, files=place.files, tell=_shown_by(step))
    stored = target.settle()
    proof = _prove(target, complete=saved.complete)
    remarks = list(saved.remarks)
    try:
        target.add_text(RECORD_NAME, Record(crash, proof, saved.complete).encode())
    except (FadumpError, OSError) as error:  # as on a disk that is full by now: the dump is safe
        remarks.append(f"{RECORD_NAME} doesn't say that the dump is proven: {reason(error)}")
    return _Taken(stored, proof, saved.complete, saved.size_bytes, tuple(remarks))


def _prove(target: Target, *, complete: bool) -> str:
    with Progress.step(f"Proving what {target.name} has", unit="bytes") as step:
        return target.prove(_shown_by(step), complete=complete)


def _shown_by(step: Step) -> Tell:
    return lambda done, total: step.update(done, total=total)


def _options(root: Root, config: Config) -> SaveOptions:
    save = config.save
    return SaveOptions(save.level, save.compress, save.format, threads(root, save.threads))


def _give_back(root: Root, captured: Captured, stored: Stored) -> Captured:
    if not can_release(root):
        remark = (
            f"there is no {root.release_mem}, so this is no dump of the firmware's: reboot, to have all memory again"
        )
        return replace(captured, remarks=[*captured.remarks, remark])
    not_saved = save_opal_core(root, stored)
    if not_saved is not None:
        captured = replace(captured, remarks=[*captured.remarks, not_saved])
    try:
        with held():  # a signal must not come in between
            release(root)
            captured = replace(captured, released=True)
            register(root)
            captured = replace(captured, registered=True)
            if not_saved is None and root.release_core.exists():
                release_opal_core(root)
    except ReleaseError as error:
        return replace(captured, errors=[*captured.errors, str(error)])
    return captured


def _finish(config: Config, captured: Captured, stored: Stored | None) -> Captured:
    """Tidy up, and tell whoever wants to know: nothing of this can harm the dump."""
    if stored is not None and stored.directory is not None:
        retained = retain(stored.directory, config.keep)
        captured = replace(captured, removed=retained.removed, remarks=[*captured.remarks, *retained.remarks])
    environment = {**captured.environment, "FADUMP_PATH": str(stored.path or "") if stored else ""}
    after = _hook("after", config, config.hooks.after, environment)
    captured = replace(captured, remarks=[*captured.remarks, *after])
    untold = list(notify(config.notify, captured.as_json(), captured.text(), environment))
    return replace(captured, remarks=[*captured.remarks, *untold])


def _hook(name: str, config: Config, command: tuple[str, ...], environment: Mapping[str, str]) -> list[str]:
    if not command:
        return []
    said = run_program(f"the hook {name}", command, config.hooks.timeout, {**environment, "FADUMP_HOOK": name})
    return [] if said is None else [said]

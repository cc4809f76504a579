"""Saving a crash in the capture boot: the dump to the first target that takes it, proven there, then its memory back to
the running kernel, which registers again. The boot goes on.

Steps "saved" to "register again" of docs/architecture.md; :func:`capture` is the whole of it. Nothing is released
before the dump has been read back from its target. Whatever ends this before, the firmware still has the dump, and the
next boot begins anew: what an attempt has left says of itself that it is incomplete.
"""

import os
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

from fadump.capture.options import SaveOptions
from fadump.errors import SetupError, reason
from fadump.file_systems import lock_at_once
from fadump.service.config import Config
from fadump.service.last_resort import last_resort
from fadump.service.notify import notify
from fadump.service.opal_core import save_opal_core
from fadump.service.programs import run_program
from fadump.service.release import ReleaseError, can_release, register, release, release_opal_core
from fadump.service.resources import lowered, threads
from fadump.service.result import Captured, Result
from fadump.service.retention import retain
from fadump.service.root import Root
from fadump.service.saving import Saved, save_once
from fadump.service.targets.contract import Stored, Target
from fadump.service.targets.theirs import TheirDirectory
from fadump.signals import held


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
    with _alone(root, source):
        before = _hook("before", config, config.hooks.before, {"FADUMP_VMCORE": str(source)})
        with ExitStack() as opened:
            with lowered(config.save.priority):
                saved = save_once(root, targets, options, source, opened)
            captured = replace(saved.captured, remarks=[*before, *saved.captured.remarks])
            if saved.target is not None and saved.stored is not None and source == root.vmcore:
                captured = _give_back(root, captured, saved.target, saved.stored)
            captured = _finish(config, captured, saved)
    if captured.result is Result.FAILED and captured.error is not None and source == root.vmcore:
        failed = last_resort(config.on_failure, captured.error)
        captured = captured if failed is None else replace(captured, errors=[*captured.errors, failed])
    return captured


@contextmanager
def _alone(root: Root, source: Path) -> Iterator[None]:
    """Lock the system's lock, or with another dump that dump itself, so that nobody else captures it meanwhile.

    :raises SetupError: somebody does.
    """
    lock, flags = root.lock, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW
    if source != root.vmcore:
        lock, flags = source, os.O_RDONLY | os.O_NONBLOCK
    try:
        fd = os.open(lock, flags | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise SetupError(f"{lock} can't be opened: {reason(error)}") from error
    try:
        if not lock_at_once(fd):
            raise SetupError(f"another fadump capture is running, as {lock} says: wait until it is done")
        yield
    finally:
        os.close(fd)


def _options(root: Root, config: Config) -> SaveOptions:
    save = config.save
    return SaveOptions(save.level, save.compress, save.format, threads(root, save.threads))


def _give_back(root: Root, captured: Captured, target: Target, stored: Stored) -> Captured:
    if not can_release(root):
        remark = (
            f"there is no {root.release_mem}, so this is no dump of the firmware's: reboot, to have all memory again"
        )
        return replace(captured, remarks=[*captured.remarks, remark])
    not_saved = save_opal_core(root, target, stored)
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


def _finish(config: Config, captured: Captured, saved: Saved) -> Captured:
    """Tidy up, and tell whoever wants to know: nothing of this can harm the dump."""
    shelf = None if saved.target is None else saved.target.shelf()
    if shelf is not None:
        retained = retain(shelf, config.keep)
        captured = replace(
            captured,
            removed=[*captured.removed, *retained.removed],
            remarks=[*captured.remarks, *retained.remarks],
        )
    path = None if saved.stored is None else saved.stored.path
    environment = {**captured.environment, "FADUMP_PATH": str(path or "")}
    after = _hook("after", config, config.hooks.after, environment)
    captured = replace(captured, remarks=[*captured.remarks, *after])
    untold = list(notify(config.notify, captured.as_json(), captured.text(), environment))
    return replace(captured, remarks=[*captured.remarks, *untold])


def _hook(name: str, config: Config, command: tuple[str, ...], environment: Mapping[str, str]) -> list[str]:
    if not command:
        return []
    said = run_program(f"the hook {name}", command, config.hooks.timeout, {**environment, "FADUMP_HOOK": name})
    return [] if said is None else [said]

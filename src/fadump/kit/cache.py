"""The cache: what takes long to make or to fetch, kept outside the project's tree and shared by every run.

    <cache>/                0700, $FADUMP_CACHE, else $XDG_CACHE_HOME/fadump, else ~/.cache/fadump
        locks/NAME          one lock for each thing that must not be made twice at once
        KIND/KEY/           finished entries; they appear by rename, whole or not at all
        KIND/.new-*/        entries in the making, each locked by its maker; without a maker they are removed

Locks are flock(2) locks: they end with the process that holds them, however it ends.
"""

import os
import shutil
import stat
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from fadump.errors import SetupError
from fadump.file_systems import fsync_directory, lock_at_once, wait_for_lock
from fadump.progress import Step, moving


def cache_directory() -> Path:
    """The cache's root; made, readable by its owner only, if it isn't there.

    :raises SetupError: it can't be made.
    """
    if chosen := os.environ.get("FADUMP_CACHE"):
        root = Path(chosen)
    elif base := os.environ.get("XDG_CACHE_HOME"):
        root = Path(base) / "fadump"
    else:
        root = Path.home() / ".cache" / "fadump"
    return private_directory(root.absolute())


def private_directory(path: Path) -> Path:
    """``path``, made with mode 0700 (its parents with the usual one) if it isn't there.

    :raises SetupError: it can't be made.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.mkdir(mode=0o700, exist_ok=True)
    except OSError as error:
        raise SetupError(
            f"the directory {path} can't be made ({error.strerror}): set FADUMP_CACHE to one that can"
        ) from error
    return path


@contextmanager
def lock(name: str, waiting: Callable[[], None] | None = None) -> Iterator[None]:
    """Hold the cache's lock ``name``; if another process has it, call ``waiting`` once and wait.

    :raises SetupError: the lock's file can't be opened.
    """
    path = private_directory(cache_directory() / "locks") / name
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise SetupError(f"the lock {path} can't be opened: {error.strerror}") from error
    try:
        if not lock_at_once(descriptor):
            (waiting or _say_nothing)()
            with moving(Step("waiting for the other")):
                wait_for_lock(descriptor)
        yield
    finally:
        os.close(descriptor)


def say_waiting(what: str) -> Callable[[], None]:
    """For :func:`lock`: tells on stderr that another process is at ``what``."""
    return lambda: print(f"Waiting for another fadump, which is {what}", file=sys.stderr, flush=True)


@contextmanager
def new_entry(path: Path) -> Iterator[Path]:
    """A directory to fill, which becomes ``path`` by rename at the end; on any error it is removed instead.

    An entry that is at ``path`` already is replaced. Before the rename every file is its owner's only, and on the disk;
    what its owner can run stays so.
    """
    with scratch_directory(private_directory(path.parent), ".new-") as scratch:
        yield scratch
        for file in scratch.rglob("*"):
            file.chmod(0o700 if file.is_dir() or file.stat().st_mode & stat.S_IXUSR else 0o600)
            _write_back(file)
        fsync_directory(scratch)
        if path.exists():
            old = Path(tempfile.mkdtemp(prefix=".new-", dir=path.parent))
            path.rename(old)  # an empty directory may be replaced; without a maker, it goes at next use
            shutil.rmtree(old)
        scratch.rename(path)
        fsync_directory(path.parent)


@contextmanager
def new_file(path: Path) -> Iterator[Path]:
    """A file to write, which becomes ``path`` by rename at the end; on any error it is removed instead."""
    with scratch_directory(private_directory(path.parent), ".new-") as scratch:
        file = scratch / path.name
        yield file
        file.chmod(0o600)
        _write_back(file)
        file.replace(path)
        fsync_directory(path.parent)


@contextmanager
def scratch_directory(parent: Path, prefix: str) -> Iterator[Path]:
    """A private directory under ``parent`` for as long as the block runs.

    One that a killed process has left there under the same prefix is removed first.
    """
    _remove_abandoned(parent, prefix)
    scratch, descriptor = _new_locked_directory(parent, prefix)
    try:
        yield scratch
    finally:
        shutil.rmtree(scratch, ignore_errors=True)  # it may have been renamed; what is left now goes at next use
        os.close(descriptor)


def _new_locked_directory(parent: Path, prefix: str) -> tuple[Path, int]:
    while True:
        scratch = Path(tempfile.mkdtemp(prefix=prefix, dir=parent))
        with suppress(FileNotFoundError):
            descriptor = os.open(scratch, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            wait_for_lock(descriptor)
            if scratch.exists():
                return scratch, descriptor
            os.close(descriptor)  # before it was locked it looked abandoned to another process


def _remove_abandoned(parent: Path, prefix: str) -> None:
    for path in parent.glob(f"{prefix}*"):
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        except OSError:  # not a directory, not ours, or gone by now
            continue
        try:
            if os.fstat(descriptor).st_uid == os.geteuid() and lock_at_once(descriptor):
                shutil.rmtree(path, ignore_errors=True)
        finally:
            os.close(descriptor)


def _write_back(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _say_nothing() -> None:
    return

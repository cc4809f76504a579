"""Saving a dump in its own place: what ``fadump run`` does with the dump of a machine that it has just crashed.

Step "saved" of docs/architecture.md. The dump as it was is there until the new one is complete.
"""

from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from fadump.capture.destination import Destination
from fadump.capture.dmesg import dmesg_name
from fadump.capture.files import HOST, Files
from fadump.capture.options import SaveOptions
from fadump.capture.save import Saved, save_dump
from fadump.capture.target import SaveError, incomplete_name
from fadump.errors import DiskError, reason
from fadump.linux.system import open_system
from fadump.progress import Progress
from fadump.vmcore.source import StrPath


def save_in_place(path: Path, options: SaveOptions, vmlinux: StrPath | None = None, *, files: Files = HOST) -> Saved:
    """Put in the place of the dump ``path`` the same one, saved; what an earlier try has left is removed.

    ``vmlinux`` may be the crashed kernel's.

    :raises FadumpError: as :func:`~fadump.capture.save.save_dump`, or not all of the dump can be read; the dump is
        there as it was, and nothing else.
    :raises SaveError: the saved one can't be given its name durably.
    :raises OSError: the dump can't be read, or what an earlier try has left can't be removed.
    """
    new = path.with_name(path.name + ".saved")
    _remove(new, files)
    try:
        saved = _save(path, new, options, vmlinux, files)
    except (SaveError, DiskError) as error:
        _try_to_remove(new, files)
        why = reason(error.__cause__) if isinstance(error.__cause__, Exception) else error
        raise SaveError(f"{path} is whole and stays as it was: it can't be saved in its place: {why}") from error
    if not saved.complete:
        _try_to_remove(new, files)
        raise SaveError(f"{path} stays as it was: not all of it can be read: fadump check says what is wrong")
    _replace(path, new, files, with_log=saved.dmesg is not None)
    return replace(saved, files=(path,), dmesg=None if saved.dmesg is None else dmesg_name(path))


def _save(path: Path, new: Path, options: SaveOptions, vmlinux: StrPath | None, files: Files) -> Saved:
    destination = Destination.take(new, options)
    with open_system(path, vmlinux=vmlinux) as system, Progress.step(f"Saving {path}", unit="bytes") as step:

        def tell(done: int, total: int) -> None:
            step.update(done, total=total)

        return save_dump(system, destination, options, files=files, tell=tell)


def _replace(path: Path, new: Path, files: Files, *, with_log: bool) -> None:
    try:
        if with_log:
            files.rename(dmesg_name(new), dmesg_name(path))
        files.rename(new, path)
        files.fsync_directory(path.parent)
    except OSError as error:
        raise SaveError(
            f"{path} is whole, as it was or saved: {new} can't be given that name durably: {reason(error)}"
        ) from error


def _remove(new: Path, files: Files) -> None:
    for left in (new, incomplete_name(new), dmesg_name(new)):
        with suppress(FileNotFoundError):
            files.unlink(left)


def _try_to_remove(new: Path, files: Files) -> None:
    with suppress(OSError):  # the error to report is the one of saving; the next try removes it
        _remove(new, files)

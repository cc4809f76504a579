"""Saving a dump in its own place: what ``fadump run`` does with the dump of a machine that it has just crashed.

Step "saved" of docs/architecture.md. The dump as it was is there until the new one is complete.
"""

from dataclasses import replace
from pathlib import Path

from fadump.capture.destination import Destination
from fadump.capture.dmesg import dmesg_name
from fadump.capture.files import HOST
from fadump.capture.options import SaveOptions
from fadump.capture.save import Saved, save_dump
from fadump.capture.target import SaveError, incomplete_name
from fadump.errors import reason
from fadump.linux.system import open_system
from fadump.progress import Progress
from fadump.vmcore.source import StrPath


def save_in_place(path: Path, options: SaveOptions, vmlinux: StrPath | None = None) -> Saved:
    """Put in the place of the dump ``path`` the same one, saved; what an earlier try has left is removed.

    ``vmlinux`` may be the crashed kernel's.

    :raises FadumpError: as :func:`~fadump.capture.save.save_dump`, or not all of the dump can be read; the dump is
        there as it was, and nothing else.
    :raises OSError: the dump can't be read.
    """
    new = path.with_name(path.name + ".saved")
    _remove(new)
    try:
        saved = _save(path, new, options, vmlinux)
    except SaveError as error:
        _remove(new)
        why = reason(error.__cause__) if isinstance(error.__cause__, Exception) else error
        raise SaveError(f"{path} is whole and stays as it was: there it can't be saved once more: {why}") from error
    if not saved.complete:
        _remove(new)
        raise SaveError(f"{path} stays as it was: not all of it can be read: fadump check says what is wrong")
    HOST.rename(dmesg_name(new), dmesg_name(path))
    HOST.rename(new, path)
    HOST.fsync_directory(path.parent)
    return replace(saved, files=(path,), dmesg=dmesg_name(path))


def _save(path: Path, new: Path, options: SaveOptions, vmlinux: StrPath | None) -> Saved:
    destination = Destination.take(new, options)
    with open_system(path, vmlinux=vmlinux) as system, Progress.step(f"Saving {path}", unit="bytes") as step:
        return save_dump(system, destination, options, tell=lambda done, total: step.update(done, total=total))


def _remove(new: Path) -> None:
    for left in (new, incomplete_name(new), dmesg_name(new)):
        left.unlink(missing_ok=True)

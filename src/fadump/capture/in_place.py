"""Saving a dump in its own place: what ``fadump run`` does with the dump of a machine that it has just crashed.

Step "saved" of docs/architecture.md. The dump as it was is there until the new one is complete.
"""

from dataclasses import replace
from pathlib import Path

from fadump.capture.dmesg import dmesg_name
from fadump.capture.files import HOST
from fadump.capture.job import Format, SaveOptions
from fadump.capture.registers import with_registers
from fadump.capture.save import Saved, save_dump
from fadump.capture.target import incomplete_name
from fadump.progress import Progress
from fadump.vmcore.dump import StrPath, open_dump


def save_in_place(path: Path, options: SaveOptions, vmlinux: StrPath | None = None) -> Saved:
    """Put in the place of the dump ``path`` the same one, saved; what an earlier try has left is removed.

    ``vmlinux`` may be the crashed kernel's.

    :raises FadumpError: as :func:`~fadump.capture.save.save_dump`; the dump is there as it was.
    :raises OSError: the dump can't be read.
    """
    new = path.with_name(path.name + ".saved")
    for left in (new, incomplete_name(new)):
        left.unlink(missing_ok=True)
    with open_dump(path) as source, Progress.step(f"Saving {path}", unit="bytes") as step:
        dump, _added = with_registers(source, vmlinux, every_cpu=options.format is Format.KDUMP)
        saved = save_dump(dump, new, options, tell=lambda done, total: step.update(done, total=total))
    HOST.rename(new, path)
    HOST.rename(dmesg_name(new), dmesg_name(path))
    HOST.fsync_directory(path.parent)
    return replace(saved, files=(path,), dmesg=dmesg_name(path))

"""The crashed kernel's log as a file of its own, saved before the dump: it is small, and often all that is needed.

Step "saved" of docs/architecture.md. It is called ``DST-dmesg.txt``, as kdump-utils calls its own, and durable before
the first page is written.
"""

import os
from contextlib import suppress
from pathlib import Path

from fadump.capture.files import Files, fsync_file, write_all
from fadump.capture.target import incomplete_name
from fadump.linux.system import UNREADABLE_KERNEL, CrashedSystem

_PRIVATE = 0o600


def dmesg_name(path: Path) -> Path:
    """Where the log of the dump ``path`` goes."""
    return path.with_name(path.name + "-dmesg.txt")


def save_dmesg(system: CrashedSystem, path: Path, files: Files) -> str | None:
    """Write the log to ``path``, in the place of an earlier one; what is missing of it, as a sentence, or None.

    :raises OSError: it can't be written.
    """
    text, missing = _read(system)
    incomplete = incomplete_name(path)
    with suppress(FileNotFoundError):
        files.unlink(incomplete)
    fd = files.open(incomplete, os.O_WRONLY | os.O_CREAT | os.O_EXCL, _PRIVATE)
    try:
        try:
            write_all(files, fd, text.encode(), 0)
            fsync_file(files, fd)
        finally:
            files.close(fd)
    except OSError:
        with suppress(OSError):  # the error to report is the one of writing
            files.unlink(incomplete)
        raise
    files.rename(incomplete, path)
    files.fsync_directory(path.parent)
    return missing


def _read(system: CrashedSystem) -> tuple[str, str | None]:
    lines: list[str] = []
    try:
        for record in system.log():
            lines += record.lines()
    except UNREADABLE_KERNEL as error:
        return "".join(f"{line}\n" for line in lines), f"the log is not all there: {error}"
    return "".join(f"{line}\n" for line in lines), None

"""What a run needs of the host: memory, disk, and for real Linux what drives QEMU. Nothing is changed here;
:mod:`fadump.run.qemu_files` builds and fetches what is missing.
"""

import errno
import os
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from fadump.errors import SetupError, unwritable
from fadump.run.options import MIB, RunOptions, WhichMachine

if TYPE_CHECKING:
    from fadump.machine.qemu.machine import QemuMachine

_EMBEDDED_BYTES = 256 * MIB
"""What the embedded machine has written, and its firmware's copy; the rest of its memory are holes."""
_KEPT_BYTES = 512 * MIB
"""About how much memory a small Linux has written by the time of its crash, all of which is preserved."""


def check_host(options: RunOptions) -> None:
    """Check that the host has room for a run.

    The capture boot reads all of RAM, so the host needs memory for all of it, and for a copy of what had been written.
    A dump is about as large. The embedded machine uses only memory that is written to; there it only matters whether a
    file can be as large as the dump.

    :raises SetupError: the host has less memory or disk than that, or the output directory can't be written.
    :raises DiskError: not even an empty file can be made there, as the disk is full or has failed.
    """
    _check_output(options.out)
    if options.machine is WhichMachine.EMBEDDED:
        _check_file_size(options)
    else:
        _check_memory(options)
        _check_disk(options)


def _check_output(out: Path) -> None:
    if out.exists() and not out.is_dir():
        raise SetupError(f"can't write to {out}: it is not a directory: name another --out")
    directory = existing_directory(out)
    if not os.access(directory, os.W_OK | os.X_OK):
        raise SetupError(f"can't write to {directory}: name an --out elsewhere")


def needed_bytes(options: RunOptions) -> int:
    """About how much of the host's memory a run takes."""
    if options.machine is WhichMachine.EMBEDDED:
        return _EMBEDDED_BYTES
    return options.most_memory_bytes + _KEPT_BYTES


def available_bytes() -> int:
    """How much memory is available to new processes, as Linux estimates it."""
    meminfo = dict(line.split(":") for line in Path("/proc/meminfo").read_text().splitlines())
    return int(meminfo["MemAvailable"].split()[0]) * 1024


def _check_memory(options: RunOptions) -> None:
    available = available_bytes()
    if available < options.all_memory_bytes + _KEPT_BYTES:
        raise SetupError(
            f"{_guest(options)} needs about that and {_KEPT_BYTES / MIB:.12g} MiB more "
            f"of this machine, which has {available / MIB:.0f} MiB available: give less --memory"
        )


def _check_disk(options: RunOptions) -> None:
    directory = existing_directory(options.out)
    free_bytes = shutil.disk_usage(directory).free
    dumps = options.cycles if options.save is None else min(options.cycles, 2)  # the others are saved by then
    if free_bytes < dumps * options.all_memory_bytes:
        several = "" if dumps == 1 else f", and {dumps} of them have to be there at a time"
        raise SetupError(
            f"the dump of {_guest(options)} may be as large{several}, and {directory} has {free_bytes / MIB:.0f} MiB "
            "free: make room there, name another --out, or give less --memory"
        )


def _guest(options: RunOptions) -> str:
    return f"a guest with {options.all_memory_bytes / MIB:.0f} MiB"


def existing_directory(out: Path) -> Path:
    """The directory itself, or its parent if it doesn't exist."""
    return next(path for path in (out, *out.absolute().parents) if path.is_dir())


def _check_file_size(options: RunOptions) -> None:
    directory = existing_directory(options.out)
    try:
        with tempfile.TemporaryFile(dir=directory) as file:
            fits = _can_be_so_large(file.fileno(), options.disk_bytes)
    except OSError as error:
        raise unwritable(error)(
            f"can't make a file in {directory} ({error.strerror}): name an --out elsewhere"
        ) from error
    if not fits:
        raise SetupError(
            f"the file system of {directory} can't hold a dump of {options.all_memory_bytes / MIB:.0f} MiB, even with "
            "holes: name an --out on another one, such as tmpfs or xfs, or give less --memory"
        )


def _can_be_so_large(fd: int, size_bytes: int) -> bool:
    try:
        os.ftruncate(fd, size_bytes)
    except OSError as error:
        if error.errno in (errno.EFBIG, errno.EINVAL, errno.ENOSPC):
            return False
        raise
    return True


def qemu_machine() -> "type[QemuMachine]":
    """The QEMU machine, imported only when needed: the embedded machine doesn't need its packages.

    :raises SetupError: one of them is missing.
    """
    try:
        from fadump.machine.qemu.machine import QemuMachine  # noqa: PLC0415
    except ModuleNotFoundError as error:
        raise SetupError(f"a machine in QEMU needs the Python package {error.name}: install fadump[qemu]") from error
    return QemuMachine

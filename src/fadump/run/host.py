"""What a run needs on the host: memory, disk, and for real Linux a QEMU, a kernel and an initramfs.

:func:`check_host` comes first and changes nothing; :func:`find_qemu_files` builds and fetches what is missing.
"""

import errno
import os
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from fadump.errors import SetupError, unwritable
from fadump.kit import initramfs, kernel, packages
from fadump.kit.kernel_config import preserve_options
from fadump.kit.kernel_file import GivenKernel, take_kernel
from fadump.kit.kernel_source import build_tree
from fadump.kit.kexec_tools import kexec_tools
from fadump.kit.petitboot import Kexec, build_petitboot
from fadump.kit.qemu import fetch_qemu
from fadump.machine.qemu.process import DEFAULT_QEMU
from fadump.run.inputs import check_runs_our_guest, check_vmlinux
from fadump.run.options import MIB, NEWEST_QEMU, RunOptions, WhichMachine

if TYPE_CHECKING:
    from fadump.machine.qemu.machine import QemuMachine

_EMBEDDED_BYTES = 256 * MIB
"""What the embedded machine has written, and its firmware's copy; the rest of its memory are holes."""
_KEPT_BYTES = 512 * MIB
"""About how much memory a small Linux has written by the time of its crash, all of which is preserved."""


@dataclass(frozen=True, slots=True)
class QemuFiles:
    """The files to run real Linux. ``vmlinux`` is the kernel with debug information, None if that is not known.

    ``petitboot`` are kernel and initramfs in front, None: there are none.
    """

    qemu: str
    vmlinux: Path | None
    kernel: Path
    initrd: Path
    petitboot: tuple[Path, Path] | None = None


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
        raise unwritable(error)(f"can't write to {directory}: {error.strerror}") from error
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


def find_qemu_files(options: RunOptions) -> QemuFiles:
    """The files for a run; a missing kernel is built, and other missing files are fetched.

    :raises UsageError: the --kernel can't be booted.
    :raises SetupError: something can't be built or fetched.
    """
    vmlinux, given = _kernel(options)
    qemu = qemu_to_run(options.qemu)
    initrd = initramfs.build_initramfs(options.initrd, given.modules)
    petitboot = _petitboot(options, given.bootable, initrd) if options.petitboot else None
    return QemuFiles(qemu, vmlinux, given.bootable, initrd, petitboot)


def qemu_to_run(name: str) -> str:
    """The QEMU to run; if it is missing, the distribution's own is installed, and the newest one is fetched.

    :raises SetupError: that isn't possible.
    """
    if name == NEWEST_QEMU:
        return str(fetch_qemu().path)
    if name == DEFAULT_QEMU:
        packages.require("running a guest", {DEFAULT_QEMU: "qemu-system-ppc"})
    return name


def kernel_to_run(given: Path, option: str = "--kernel") -> GivenKernel:
    """The kernel in the file that an option names, and the files that belong to it.

    :raises UsageError: it can't be booted.
    :raises SetupError: it can't be extracted from the file, or has no FADump.
    """
    return take_kernel(given, lambda vmlinux: check_vmlinux(vmlinux, f"the kernel in {option} {given}"), option)


def _petitboot(options: RunOptions, system: Path, initrd: Path) -> tuple[Path, Path]:
    """Kernel and initramfs in front of the ``system``'s."""
    if options.petitboot_kernel is None:
        on_top = preserve_options()
        found = kernel.find_kernel(options=on_top) or kernel.build_kernel(options=on_top)
        in_front = found.bootable
    else:
        in_front = kernel_to_run(options.petitboot_kernel, "--petitboot").bootable
        check_runs_our_guest(in_front, f"--petitboot {options.petitboot_kernel}")
    return in_front, build_petitboot(system, initrd, kexec_tools() if options.kexec is Kexec.LOAD else {})


def _kernel(options: RunOptions) -> tuple[Path | None, GivenKernel]:
    """The kernel with debug information, if any, and the one to boot."""
    if options.source is not None:
        built = build_tree(options.source, options.config, kernel.DEFAULT_PAGE_SIZE)
        check_runs_our_guest(built.bootable, f"--source {options.source}")
        return built.vmlinux, GivenKernel(built.bootable)
    if options.kernel is None:
        default = kernel.find_kernel() or kernel.build_kernel()
        return default.vmlinux, GivenKernel(default.bootable)
    given = kernel_to_run(options.kernel)
    check_runs_our_guest(given.bootable, f"--kernel {options.kernel}")
    if given.lacking and options.initrd is None:
        raise SetupError(
            f"--kernel {options.kernel} doesn't have its kernel's modules {', '.join(given.lacking)}, another package "
            "does: give an --initrd with them"
        )
    return None, given

"""The files that a run of real Linux needs: a QEMU, a kernel and an initramfs. What is missing is built or fetched."""

from dataclasses import dataclass
from pathlib import Path

from fadump.errors import SetupError
from fadump.kit import initramfs, kernel, packages
from fadump.kit.kernel_config import preserve_options
from fadump.kit.kernel_file import GivenKernel, take_kernel
from fadump.kit.kernel_source import build_tree
from fadump.kit.kexec import Kexec
from fadump.kit.kexec_tools import kexec_tools
from fadump.kit.petitboot import build_petitboot
from fadump.kit.qemu import fetch_qemu
from fadump.machine.qemu.config import DEFAULT_QEMU
from fadump.run.inputs import check_runs_our_guest, check_vmlinux
from fadump.run.options import NEWEST_QEMU, RunOptions


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

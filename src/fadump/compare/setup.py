"""What a comparison needs: kernels from the cache, built if they are missing, QEMU, and the guest's initramfs."""

import subprocess
from collections.abc import Sequence
from pathlib import Path

from fadump.compare.campaign import Subject
from fadump.compare.configuration import Configuration
from fadump.compare.linux_side import qemu_config, see_linux
from fadump.compare.seen import Seen
from fadump.compare.store import Store, what_matters
from fadump.errors import SetupError, reason
from fadump.kit import initramfs
from fadump.kit.kernel import Kernel, build_kernel
from fadump.run.host import available_bytes, qemu_machine

LEAST_BYTES = 2 << 30
"""About how much of the host's memory a guest and its dump take; nearly all of the guest's memory stays a hole."""


def open_store(directory: Path, qemu: str) -> Store:
    """The store for what is seen of Linux.

    :raises SetupError: the QEMU does not run, or the directory can't be used.
    """
    return Store(directory, f"{_version_of(qemu)}, {what_matters()}")


def subjects(wanted: Sequence[Configuration], qemu: str, store: Store) -> list[Subject]:
    """Each configuration with its kernel.

    :raises SetupError: a kernel can't be built, or there is no initramfs.
    """
    kernels = {
        name: build_kernel(*name)
        for name in sorted({(configuration.series, configuration.page_size) for configuration in wanted})
    }
    initrd = initramfs.build_initramfs()
    return [
        _subject(configuration, kernels[configuration.series, configuration.page_size], initrd, qemu, store)
        for configuration in wanted
    ]


def _subject(configuration: Configuration, kernel: Kernel, initrd: Path, qemu: str, store: Store) -> Subject:
    config = qemu_config(configuration, kernel.bootable, initrd, qemu)

    def see() -> Seen:
        with store.console(configuration) as console:
            return see_linux(configuration, config, console)

    return Subject(configuration, kernel.bootable.parent.name, see)


def check_host(jobs: int) -> None:
    """Check that there is memory for so many guests, and what a machine in QEMU needs.

    :raises SetupError: there isn't.
    """
    qemu_machine()
    available = available_bytes()
    if available < jobs * LEAST_BYTES:
        raise SetupError(
            f"--jobs {jobs} needs {jobs * LEAST_BYTES >> 30} GiB of this machine, which has "
            f"{available / (1 << 30):.1f} GiB available: give fewer"
        )


def _version_of(qemu: str) -> str:
    try:
        told = subprocess.run([qemu, "--version"], capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError) as error:
        raise SetupError(
            f"{qemu} does not run ({reason(error)}): install qemu-system-ppc, or name another --qemu"
        ) from error
    return told.stdout.partition("\n")[0]

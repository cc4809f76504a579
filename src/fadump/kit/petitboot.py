"""User space for a kernel in front of the system's own, as powernv machines have it: petitboot.

skiboot starts a small Linux that finds the system's kernel and starts it by kexec. That of ours has the kernel, its
initramfs and the init that starts them, ``data/petitboot``, in its own initramfs; its command line is made here, too.
The kernel itself is built with :func:`fadump.kit.kernel_config.preserve_options`.
"""

import base64
import gzip
from collections.abc import Mapping
from enum import StrEnum
from importlib import resources
from pathlib import Path

from fadump.errors import UsageError
from fadump.kit.cache import cache_directory, lock, new_file
from fadump.kit.debian import fetch
from fadump.kit.initramfs import archive, busybox_of, content_key, read_input
from fadump.kit.kexec import load_program, start_program


class Kexec(StrEnum):
    """The system call by which petitboot loads the system's kernel, as kexec's options are called."""

    LOAD = "l"
    """kexec_load(2), from kexec-tools: what petitboot does."""
    FILE_LOAD = "s"
    """kexec_file_load(2)."""


INIT_PATH = "/fadump/petitboot"
WAIT = "petitboot.wait"
"""The word by which our petitboot waits for Enter on its console before it starts the system's kernel."""

_MOST_BYTES = 2047
"""Of a command line on Power (COMMAND_LINE_SIZE in arch/powerpc/include/uapi/asm/setup.h)."""
_QUICK = 1
"""gzip's level: a kernel gets no smaller by more."""


def petitboot_command_line(system: str) -> str:
    """The command line of the kernel in front, which starts the system's with ``system``.

    :raises UsageError: that is too long.
    """
    handed_on = base64.b64encode(system.encode()).decode()
    line = f"console=hvc0 rdinit={INIT_PATH} panic=5 petitboot.next={handed_on}"
    if len(line) > _MOST_BYTES:
        raise UsageError(
            f"--cmdline is too long for --petitboot: Linux takes {_MOST_BYTES:,} bytes, and handing all of it on needs "
            f"{len(line):,}"
        )
    return line


def build_petitboot(kernel: Path, initrd: Path, tools: Mapping[str, bytes] | None = None) -> Path:
    """The initramfs of a kernel that starts ``kernel`` with ``initrd``; from the cache, if it is there.

    ``tools`` are more programs for it, by their paths. With :func:`.kexec_tools.kexec_tools` it loads the kernel by
    kexec_load(2), else by kexec_file_load(2).

    :raises SetupError: busybox can't be fetched, or a file can't be read.
    """
    busybox = fetch("busybox-static")
    programs = {
        INIT_PATH: (resources.files("fadump.kit") / "data" / "petitboot").read_bytes(),
        "/fadump/load": load_program(),
        "/fadump/start": start_program(),
        **(tools or {}),
    }
    images = {"fadump/next/kernel": read_input(kernel), "fadump/next/initrd": read_input(initrd)}
    names = "\n".join([busybox.path.name, *programs]).encode()
    key = content_key(names, *programs.values(), *images.values())
    path = cache_directory() / "initramfs" / f"{key}.cpio.gz"
    if not path.exists():
        with lock(f"initramfs-{key}"), new_file(path) as new:
            programs["/fadump/busybox"] = busybox_of(busybox)
            new.write_bytes(gzip.compress(archive(programs, images), _QUICK, mtime=0))
    return path

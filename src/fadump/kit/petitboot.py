"""User space for a kernel in front of the system's own, as powernv machines have it: petitboot.

skiboot starts a small Linux that finds the system's kernel and starts it by kexec. That of ours has the kernel, its
initramfs and the init that starts them, ``data/petitboot``, in its own initramfs; its command line is
:func:`fadump.kit.command_line.petitboot_command_line`.
The kernel itself is built with :func:`fadump.kit.kernel_config.preserve_options`.
"""

import gzip
from collections.abc import Mapping
from importlib import resources
from pathlib import Path

from fadump.kit.cache import cache_directory, lock, new_file
from fadump.kit.command_line import PETITBOOT_INIT_PATH
from fadump.kit.debian import fetch
from fadump.kit.initramfs import archive, busybox_of, content_key, read_input
from fadump.kit.kexec import load_program, start_program

_QUICK = 1
"""gzip's level: a kernel gets no smaller by more."""


def build_petitboot(kernel: Path, initrd: Path, tools: Mapping[str, bytes] | None = None) -> Path:
    """The initramfs of a kernel that starts ``kernel`` with ``initrd``; from the cache, if it is there.

    ``tools`` are more programs for it, by their paths. With :func:`.kexec_tools.kexec_tools` it loads the kernel by
    kexec_load(2), else by kexec_file_load(2).

    :raises SetupError: busybox can't be fetched, or a file can't be read.
    """
    busybox = fetch("busybox-static")
    programs = {
        PETITBOOT_INIT_PATH: (resources.files("fadump.kit") / "data" / "petitboot").read_bytes(),
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

"""Whether what is saved in a directory is still there after a reboot: a file system in memory keeps nothing."""

import os
from contextlib import suppress
from pathlib import Path

_IN_MEMORY = frozenset(("tmpfs", "ramfs", "rootfs", "devtmpfs"))


def in_memory(mounts: Path, directory: Path) -> str | None:
    """The type of the file system that a directory is on if that is in memory; None: it isn't, or nobody knows.

    ``mounts`` is /proc/self/mountinfo; see proc(5).
    """
    with suppress(OSError):
        device = directory.stat().st_dev
        for line in mounts.read_text(errors="replace").splitlines():
            mount, _, source = line.partition(" - ")
            type_ = source.partition(" ")[0]
            if mount.split()[2:3] == [f"{os.major(device)}:{os.minor(device)}"] and type_ in _IN_MEMORY:
                return type_
    return None

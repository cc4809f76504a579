"""The end of a dump: its memory goes back to the running kernel, which registers again. Nobody reboots.

Steps "release" and "register again" of docs/architecture.md. Linux arch/powerpc/kernel/fadump.c: release_mem_store()
removes /proc/vmcore, has the firmware invalidate the dump, and frees the memory, all before the write returns;
registered_store() is refused (EPERM) until then, and doesn't follow by itself. A busy firmware is asked again by
Linux, within the write. On powernv, OPAL's own core has memory and a file of its own
(arch/powerpc/platforms/powernv/opal-core.c).
"""

import os
from pathlib import Path

from fadump.errors import FadumpError, reason
from fadump.service.root import Root


class ReleaseError(FadumpError):
    """A dump that couldn't be released, or a kernel that couldn't register again."""


def can_release(root: Root) -> bool:
    """Whether there is a dump of the firmware's; kdump's, whose kernel has little memory, ends in a reboot."""
    return root.release_mem.exists()


def release(root: Root) -> None:
    """Give the dump's memory to the running kernel. The dump is gone then.

    :raises ReleaseError: Linux refuses; the dump is there as it was.
    """
    _write(root.release_mem, "the dump can't be released")


def release_opal_core(root: Root) -> None:
    """Give the memory of OPAL's core to the running kernel. It is gone then.

    :raises ReleaseError: Linux refuses.
    """
    _write(root.release_core, "OPAL's core can't be released")


def register(root: Root) -> None:
    """Have the firmware save the next crash, too.

    :raises ReleaseError: Linux or the firmware refuses: the next crash would be lost.
    """
    what = "the kernel can't register again, so that the next crash would be lost"
    if not _is_registered(root):
        _write(root.registered, what)
    if not _is_registered(root):
        raise ReleaseError(f"{what}: {root.registered} still says 0; the kernel's log may say why")


def _is_registered(root: Root) -> bool:
    try:
        return root.registered.read_text().strip() == "1"
    except OSError as error:
        raise ReleaseError(f"{root.registered} can't be read: {reason(error)}") from error


def _write(path: Path, what: str) -> None:
    """Write a 1 in one write(2), which is what sysfs looks at."""
    try:
        fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
        try:
            os.write(fd, b"1\n")
        finally:
            os.close(fd)
    except OSError as error:
        raise ReleaseError(f"{what}: writing 1 to {path}: {reason(error)}") from error

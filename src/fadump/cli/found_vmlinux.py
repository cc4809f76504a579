"""The vmlinux of a dump, found on this computer by its build id: in the cache, or where distributions have it."""

from pathlib import Path

from fadump.kit.cache import cache_directory
from fadump.linux.system import UNREADABLE_KERNEL, CrashedSystem
from fadump.linux.vmlinux.debug_files import find_vmlinux


def found_vmlinux(system: CrashedSystem) -> Path | None:
    """Its path; None if it isn't here, or the dump doesn't have the build id.

    :raises SetupError: there can't be a cache.
    """
    try:
        wanted, release = system.vmcoreinfo.text("BUILD-ID"), system.vmcoreinfo.text("OSRELEASE")
    except UNREADABLE_KERNEL:
        return None
    kernels = sorted((cache_directory() / "kernels").glob("*/vmlinux"))
    return find_vmlinux(wanted, release, kernels)

"""The debug information of a dump's kernel and modules, by build id: on this computer, or from servers if asked."""

from collections.abc import Set as AbstractSet
from pathlib import Path

from fadump.kit.cache import cache_directory
from fadump.kit.debuginfod import fetch_debug_file
from fadump.linux.system import UNREADABLE_KERNEL, CrashedSystem
from fadump.linux.vmlinux.debug_files import find_module_lines, find_vmlinux, has_build_id, module_directories


def found_vmlinux(system: CrashedSystem, *, asks_servers: bool = False) -> Path | None:
    """The vmlinux: in the cache, or where distributions have it; None if it isn't there, or the dump doesn't have the
    build id.

    :raises SetupError: there can't be a cache, or no server can be reached.
    :raises FadumpError: as :func:`fetch_debug_file`.
    """
    try:
        wanted, release = system.vmcoreinfo.text("BUILD-ID"), system.vmcoreinfo.text("OSRELEASE")
    except UNREADABLE_KERNEL:
        return None
    kernels = sorted((cache_directory() / "kernels").glob("*/vmlinux"))
    found = find_vmlinux(wanted, release, kernels)
    return fetch_debug_file(wanted, has_build_id) if found is None and asks_servers else found


def found_module_lines(
    system: CrashedSystem, names: AbstractSet[str], vmlinux: Path | None, *, asks_servers: bool = False
) -> dict[str, Path]:
    """The files with the debug information of these modules, by their names; those that aren't there are left out.

    :raises SetupError: as :func:`found_vmlinux`.
    :raises FadumpError: likewise.
    """
    if not names:
        return {}
    try:
        release = system.vmcoreinfo.text("OSRELEASE")
        modules = [module for module in system.modules.modules if module.name in names]
    except UNREADABLE_KERNEL:
        return {}
    found = {}
    for module in modules:
        if module.build_id is None:
            continue
        path = find_module_lines(module.name, module.build_id, module_directories(release, vmlinux))
        if path is None and asks_servers:
            path = fetch_debug_file(module.build_id, has_build_id)
        if path is not None:
            found[module.name] = path
    return found

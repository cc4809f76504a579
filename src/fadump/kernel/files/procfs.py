"""The files of /proc that concern FADump: the dump itself, the command line, memory and its map, the log.

Steps "capture boot" and "saved" of docs/architecture.md. Linux fs/proc/vmcore.c, fs/proc/cmdline.c, fs/proc/kmsg.c;
kernel/resource.c for /proc/iomem, which has only what arch/powerpc/mm/mem.c, add_system_ram_resources(), adds;
fs/proc/meminfo.c, with only what FADump changes. ``/proc/device-tree`` and ``/proc/sysrq-trigger`` need a machine, see
:mod:`fadump.mount.files`.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from fadump.kernel.files.sysfs import Entry, FileSystem, KernelFile, Show
from fadump.kernel.state import FadumpState
from fadump.kernel.vmcore import VmCore, data_from, read_vmcore

VMCORE = "/proc/vmcore"
_KIB = 1 << 10


@dataclass(frozen=True, slots=True)
class MemoryUse:
    """How much memory this boot has, in bytes: all, free, and how much of that is lent until a crash (CMA)."""

    total_bytes: int
    free_bytes: int
    lent_bytes: int


def proc_files(state: FadumpState, vmcore: VmCore | None, memory_use: Callable[[], MemoryUse]) -> Mapping[str, Entry]:
    """The files by absolute path; ``memory_use`` is called whenever /proc/meminfo is read."""
    cmdline = f"{state.cmdline}\n".encode("latin-1")
    entries: dict[str, Entry] = {
        "/proc/cmdline": _proc(0o444, len(cmdline) if state.traits.sized_cmdline else 0, show=lambda: cmdline),
        "/proc/version": _proc(0o444, show=f"{state.banner}\n".encode),
        "/proc/iomem": _proc(0o444, show=lambda: iomem(state).encode()),
        "/proc/meminfo": _proc(0o444, show=lambda: meminfo(memory_use(), state.traits.page_bytes).encode()),
        "/proc/kmsg": KernelFile(FileSystem.PROC, 0o400, stream=state.log.read_unread),
    }
    if vmcore is not None:
        entries[VMCORE] = KernelFile(
            FileSystem.PROC,
            0o400,
            vmcore.size_bytes,
            read_at=lambda offset, length: read_vmcore(vmcore, state.memory, offset, length),
            data_from=lambda offset: data_from(vmcore, state.memory, offset),
        )
    return entries


def iomem(state: FadumpState) -> str:
    """/proc/iomem: a line for each range of RAM."""
    return "".join(f"{piece.start:08x}-{piece.end - 1:08x} : System RAM\n" for piece in state.ram)


def meminfo(use: MemoryUse, page_bytes: int) -> str:
    """/proc/meminfo: four of Linux's lines, in KiB of whole pages; memory lent to CMA counts as free."""
    shown = {
        "MemTotal": use.total_bytes,
        "MemFree": use.free_bytes,
        "CmaTotal": use.lent_bytes,
        "CmaFree": use.lent_bytes,
    }
    pages = {name: size_bytes // page_bytes for name, size_bytes in shown.items()}
    return "".join(f"{name + ':':16}{count * page_bytes // _KIB:8} kB\n" for name, count in pages.items())


def _proc(mode: int, size_bytes: int = 0, *, show: Show) -> KernelFile:
    return KernelFile(FileSystem.PROC, mode, size_bytes, show)

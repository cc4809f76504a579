"""Estimates from a system's own running numbers: the boot memory that a capture boot needs, the room that a dump needs.

Boot memory. What a kernel takes for itself before anything else runs is its RAM less MemTotal: its image, struct pages
of all RAM, hash tables, per-CPU memory. A capture kernel on the same machine takes as much, as it describes the same
RAM. On top come the initrd, packed and unpacked, and user space. The latter was observed: a Debian that saves with
makedumpfile manages with 60 to 70 MiB, and begins to reread its programs from the disk just there.

Room. At a dump level what is left out are free pages, the page cache and processes' memory; all else, unpacked, is
the most that a dump of this moment can have.
"""

from dataclasses import dataclass

from fadump.kernel.plan.boot_memory import LARGEST_SHARE
from fadump.kernel.traits import MIB, align_up, least_boot_memory_bytes
from fadump.linux.page_class import DumpLevel
from fadump.service.doctor.machine import Machine

USER_SPACE_BYTES = 70 * MIB
UNPACKED = 3
"""What an initrd unpacks to, times its size; kdump-utils reckons with as much."""
_STRUCT_PAGE_BYTES = 64
_KERNEL_BYTES = 40 * MIB
"""A kernel without its struct pages, where MemTotal isn't known."""
_STEP_BYTES = 64 * MIB
_MARGIN = 4
"""A quarter more than is needed."""


@dataclass(frozen=True, slots=True)
class BootMemoryNeed:
    """An estimate, by what it is made of."""

    kernel_bytes: int
    initrd_bytes: int
    user_space_bytes: int = USER_SPACE_BYTES

    @property
    def size_bytes(self) -> int:
        """The sum."""
        return self.kernel_bytes + self.initrd_bytes + self.user_space_bytes


def boot_memory_need(machine: Machine) -> BootMemoryNeed:
    """What a capture boot of this machine needs, judged by this boot."""
    ram_bytes = machine.plan.system.memory.ram_bytes
    total_bytes = machine.meminfo.get("MemTotal")
    if total_bytes is None or total_bytes > ram_bytes or machine.has_dump:
        kernel_bytes = _KERNEL_BYTES + ram_bytes // machine.plan.kernel.page_bytes * _STRUCT_PAGE_BYTES
    else:
        kernel_bytes = ram_bytes - total_bytes - _kept_back(machine)
    return BootMemoryNeed(max(0, kernel_bytes), (1 + UNPACKED) * (machine.initrd_bytes or 0))


def recommended_words(machine: Machine) -> str | None:
    """What to have on the command line: the need and a margin, in whole steps, at least what FADump takes on this
    platform. None if that is more than Linux lets crashkernel= have of this RAM."""
    need_bytes = boot_memory_need(machine).size_bytes
    size_bytes = max(
        least_boot_memory_bytes(machine.plan.system.platform),
        align_up(need_bytes + need_bytes // _MARGIN, _STEP_BYTES),
    )
    if size_bytes > machine.plan.system.memory.ram_bytes // LARGEST_SHARE:
        return None
    return f"fadump=on crashkernel={size_bytes // MIB}M"


def _kept_back(machine: Machine) -> int:
    """What this boot has set aside for a crash and doesn't count as its own: without CMA FADump's, or kdump's."""
    if machine.enabled:
        return (machine.reserved_bytes or 0) if machine.command_line.nocma else 0
    area = None if machine.plan.kdump is None else machine.plan.kdump.area
    return machine.kdump_bytes or (0 if area is None else area.size_bytes)


def most_dump_bytes(machine: Machine, level: int) -> int | None:
    """The most that a dump of this moment would have at a dump level, unpacked; None if it isn't known."""
    if "MemFree" not in machine.meminfo:
        return None
    use = machine.meminfo
    left_out = 0
    if level & DumpLevel.FREE:
        left_out += use["MemFree"]
    if level & (DumpLevel.CACHE | DumpLevel.CACHE_PRIVATE):
        left_out += use.get("Cached", 0) - use.get("Shmem", 0)
    if level & DumpLevel.CACHE_PRIVATE:
        left_out += use.get("Buffers", 0)
    if level & DumpLevel.USER:
        left_out += use.get("AnonPages", 0)
    return max(0, machine.plan.system.memory.ram_bytes - left_out)

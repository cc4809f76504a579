"""Estimates from a system's own running numbers: the boot memory that a capture boot needs, the room that a dump needs.

Boot memory. The model is :mod:`fadump.kernel.plan.need`'s. What a kernel takes for itself before anything else runs is
its RAM less MemTotal: less what the model makes of this RAM and these CPUs, the rest is its image and what firmware
takes, and a capture kernel on the same machine takes as much.

Room. At a dump level what is left out are free pages, the page cache and processes' memory; all else, unpacked, is
the most that a dump of this moment can have.
"""

from fadump.kernel.plan.need import (
    KERNEL_BYTES,
    UNPACKED,
    USER_SPACE_BYTES,
    CaptureNeed,
    CaptureSystem,
    capture_need,
    early_bytes,
    recommended_bytes,
)
from fadump.kernel.traits import MIB
from fadump.linux.pages.page_class import DumpLevel
from fadump.service.doctor.machine import Machine


def boot_memory_need(machine: Machine) -> CaptureNeed:
    """What a capture boot of this machine needs, judged by this boot."""
    return capture_need(capture_system(machine), machine.plan.system.memory.ram_bytes, machine.cpus)


def capture_system(machine: Machine) -> CaptureSystem:
    """What is known of this machine that its need depends on, judged by this boot."""
    ram_bytes = machine.plan.system.memory.ram_bytes
    total_bytes = machine.meminfo.get("MemTotal")
    page_bytes = machine.plan.kernel.page_bytes
    kernel_bytes = KERNEL_BYTES
    if total_bytes is not None and total_bytes <= ram_bytes and not machine.has_dump:
        others_bytes = early_bytes(ram_bytes, page_bytes, machine.cpus, total_bytes)
        kernel_bytes = max(0, ram_bytes - total_bytes - _kept_back(machine) - others_bytes)
    return CaptureSystem(
        page_bytes,
        kernel_bytes,
        int((1 + UNPACKED[page_bytes]) * (machine.initrd_bytes or 0)),
        USER_SPACE_BYTES[page_bytes],
        machine.saves_in_initrd,
    )


def recommended_words(machine: Machine) -> str | None:
    """What to have on the command line: the need and a margin. None if that is more than Linux lets crashkernel= have
    of this RAM."""
    system = machine.plan.system
    size_bytes = recommended_bytes(system.platform, boot_memory_need(machine).size_bytes, system.memory.ram_bytes)
    return None if size_bytes is None else f"fadump=on crashkernel={size_bytes // MIB}M"


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

"""What skiboot shares with the firmware below it, hostboot and the SBE, for MPIPL: regions, addresses and limits.

Step "preserve" of docs/architecture.md. Specification: skiboot, include/opal-dump.h and include/mem-map.h, with
doc/mpipl.rst. Kernels don't use the tables MDST, MDDT and MDRT, so these aren't made here; only their limit on the
number of ranges applies.
"""

from enum import IntEnum

from fadump.memory.ranges import Range

SKIBOOT_BASE = 0x3000_0000
SKIBOOT_BYTES = 0x01C1_0000
"""skiboot without its CPUs' stacks, which follow it, one for every PIR up to the highest."""
STACK_BYTES = 0x8000
KERNEL_LOAD_BASE, KERNEL_LOAD_BYTES = 0x2000_0000, 0x0800_0000
INITRAMFS_LOAD_BASE, INITRAMFS_LOAD_BYTES = 0x2800_0000, 0x0800_0000
"""Where skiboot loads kernel and initramfs, also in an MPIPL boot."""
_THREAD_MASK = 3
"""QEMU 7.2's skiboot has a stack for each thread that a core might have."""
_PAGE_BYTES = 0x1_0000
_ALLOCATED_BYTES, _ALLOCATED_ALIGNMENT = 0x0102_2000, 16 << 20
MAX_RANGES = 0x400 // 0x10
"""The number of entries in MDST, and in MDDT (MDST_TABLE_SIZE, struct mdst_table)."""


class RegionId(IntEnum):
    """The owner of a range: up to 0x3f OPAL, from 0x80 on the kernel."""

    CONSOLE = 0x01
    HBRT_LOG = 0x02
    OPAL_MEMORY = 0x03
    KERNEL = 0x80


def skiboot_memory(highest_pir: int) -> tuple[Range, Range]:
    """skiboot with its CPUs' stacks, and what QEMU 7.2's has behind that, with our entry page and device tree."""
    stacks_bytes = ((highest_pir | _THREAD_MASK) + 1) * STACK_BYTES
    end = _round_up(SKIBOOT_BASE + SKIBOOT_BYTES + stacks_bytes, _PAGE_BYTES)
    return Range(SKIBOOT_BASE, end), Range(end, _round_up(end + _ALLOCATED_BYTES, _ALLOCATED_ALIGNMENT))


def _round_up(address: int, alignment: int) -> int:
    return -(-address // alignment) * alignment

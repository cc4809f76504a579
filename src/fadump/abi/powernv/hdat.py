"""What skiboot and the firmware below it, hostboot and the SBE, share for MPIPL: whose memory a range is, and where.

Step "preserve" of docs/architecture.md. Specification: skiboot, include/opal-dump.h and include/mem-map.h, with
doc/mpipl.rst. Their tables, MDST, MDDT and MDRT, are no business of a kernel's, and aren't made here; what follows from
them is how many ranges there can be.
"""

from enum import IntEnum

SKIBOOT_BASE = 0x3000_0000
SKIBOOT_BYTES = 0x01C1_0000
"""skiboot without its CPUs' stacks, which lie behind it, one for every PIR up to the highest."""
STACK_BYTES = 0x8000
KERNEL_LOAD_BASE, KERNEL_LOAD_BYTES = 0x2000_0000, 0x0800_0000
INITRAMFS_LOAD_BASE, INITRAMFS_LOAD_BYTES = 0x2800_0000, 0x0800_0000
"""skiboot loads kernel and initramfs there, in an MPIPL boot too."""
MAX_RANGES = 0x400 // 0x10
"""How many entries there are in MDST and MDDT each (MDST_TABLE_SIZE, struct mdst_table)."""


class RegionId(IntEnum):
    """Whose memory a range is: up to 0x3f OPAL's, from 0x80 on the kernel's."""

    CONSOLE = 0x01
    HBRT_LOG = 0x02
    OPAL_MEMORY = 0x03
    KERNEL = 0x80

"""The model kernel's state: Linux's ``struct fw_dump``, and where the kernel's own data is.

Used in all steps of docs/architecture.md that are the kernel's. Linux arch/powerpc/include/asm/fadump-internal.h. The
kernel's image is :data:`~fadump.kernel.plan.memory_map.KERNEL`; all of the model's own data is in it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from fadump.abi.platform import Platform
from fadump.kernel.plan.boot_memory import Region, relocate
from fadump.kernel.plan.cmdline import CommandLine
from fadump.kernel.plan.reserve import AreaSizes, System, area_sizes
from fadump.kernel.printk import Printk
from fadump.kernel.traits import KernelTraits, align_up
from fadump.memory.guest import GuestMemory
from fadump.memory.ranges import Range

TEXT = Range(0x10_0000, 0x20_0000)
"""Text and data whose contents don't matter: bytes from a seed."""
SECTION_ROOTS = Range(0x20_0000, 0x60_0000)
"""mem_section: pointers to pages of struct mem_section."""
PAGE_TABLES = Range(0x60_0000, 0x150_0000)
"""swapper_pg_dir, then the tables below it."""
WORK_BUFFER = 0x170_0000
"""struct rtas_fadump_mem_struct, rtas-fadump.c's ``fdm``."""
RTAS_ARGUMENTS = 0x170_0400
OS_TERM_TEXT = 0x170_0800
TAG_VALUE = 0x170_1000
UTS_NAMESPACE = 0x170_2000
VMCOREINFO_NOTE = 0x171_0000
DATA = Range(0x172_0000, 0x1A0_0000)
"""Small variables, registers of each CPU, and kallsyms."""
LOG = 0x1A0_0000
STACKS = Range(0x1B0_0000, 0x1F0_0000)
OS_TERM_TEXT_BYTES = 2048


@dataclass(slots=True)
class FadumpState:
    """struct fw_dump, and what else the steps need.

    ``area`` is the reserved dump area, ``copy_address`` where the copy of boot memory begins in it, ``header_address``
    where the crash-info header is, 0 if there is none. ``ram`` is memblock's memory, as limited by ``mem=``, which is
    ``memory_limit``. ``cpu_names`` are the platform's numbers of all possible CPUs, by logical number; ``online`` is
    cpu_online_mask. ``call_tokens`` are RTAS's, by name.
    """

    system: System
    traits: KernelTraits
    memory: GuestMemory
    log: Printk
    command_line: CommandLine
    """The device tree's command line; parsed once."""
    cmdline: str
    """The text of /proc/cmdline: a capture kernel appends what the first kernel left for it."""
    release: str
    cpu_names: Sequence[int]
    online: int
    call_tokens: dict[str, int]
    radix: bool
    ram: tuple[Range, ...]
    memory_limit: int
    epoch_seconds: int = 0
    enabled: bool = False
    active: bool = False
    registered: bool = False
    area: Range = field(default_factory=lambda: Range(0, 0))
    kdump_area: Range = field(default_factory=lambda: Range(0, 0))
    """What is reserved for kdump if there is no FADump."""
    kdump_cma_bytes: int = 0
    """What ``crashkernel=size,cma`` asks for, if there is no FADump."""
    cma: Range | None = None
    """The part of the area that is lent to user space."""
    boot_memory_bytes: int = 0
    boot_memory_top: int = 0
    regions: tuple[Region, ...] = ()
    copy_address: int = 0
    header_address: int = 0
    parameter_area: int | None = None
    facts: Mapping[str, str] = field(default_factory=dict)
    """VMCOREINFO without the time of the crash."""
    crashing_cpu_address: int = 0
    """The address of the variable for the crashing CPU's number, which crash_fadump() sets."""
    dumped_log: bytes = b""
    """What kmsg_dump() has given to pstore and the like, before the firmware heard of the crash."""
    online_mask_address: int = 0
    """The address of the variable for cpu_online_mask."""
    buffers_bytes: int = 0
    """Memory that the ELF core header and the CPUs' notes take until the dump is released."""

    @property
    def platform(self) -> Platform:
        return self.system.platform

    @property
    def banner(self) -> str:
        """linux_banner: the first line of the log, and /proc/version."""
        return f"Linux version {self.release} (fadump's model of Linux)"

    @property
    def cpu_mask_bytes(self) -> int:
        """sizeof(struct cpumask)."""
        return align_up(self.traits.nr_cpus, 64) // 8

    @property
    def cpu_mask(self) -> int:
        """cpu_possible_mask."""
        return (1 << len(self.cpu_names)) - 1

    @property
    def area_sizes(self) -> AreaSizes:
        """The sizes of the reserved dump area's parts, for this boot memory."""
        return area_sizes(self.system, self.traits, self.boot_memory_bytes)

    def relocated(self, address: int) -> int:
        """Where the firmware copies ``address`` to."""
        return relocate(address, self.regions, self.copy_address)

    def use_regions(self, regions: Sequence[Region]) -> None:
        """Set boot memory to that of a registration or a dump; its top is the sum of sizes and holes."""
        self.regions = tuple(regions)
        self.boot_memory_bytes = sum(region.size_bytes for region in regions)
        self.boot_memory_top = max((region.start + region.size_bytes for region in regions), default=0)

"""A kernel that boots the capture kernel and preserves the dump: CONFIG_PRESERVE_FA_DUMP, as in petitboot.

Before step "capture boot" of docs/architecture.md, on powernv: skiboot starts a small Linux that finds and starts the
system's own kernel. Linux arch/powerpc/platforms/powernv/opal-fadump.c and arch/powerpc/kernel/fadump.c with that
option: such a kernel queries boot memory's top and uses nothing above it. It takes no dump itself and ignores
``fadump=``.
"""

from collections.abc import Callable

from fadump.abi.powernv import kernel_metadata
from fadump.abi.powernv.kernel_metadata import KernelMetadata
from fadump.abi.powernv.mpipl import MpiplTag
from fadump.abi.powernv.opal import OpalStatus
from fadump.errors import AddressError, FormatError
from fadump.kernel.calls import KernelPanicError, Steps
from fadump.kernel.capture_boot import reserve_above
from fadump.kernel.image.content import usable_memory, use_memory, write_image
from fadump.kernel.opal_fadump import query_tag
from fadump.kernel.plan.memory_map import KERNEL, MemoryMap
from fadump.kernel.plan.system import cpu_names, system_of
from fadump.kernel.printk import Printk
from fadump.kernel.state import LOG
from fadump.kernel.traits import KIB
from fadump.memory.devicetree import DeviceTree
from fadump.memory.guest import GuestMemory
from fadump.memory.ranges import RangeSet

_PAGE_BYTES = 64 * KIB


class PreservingKernel:
    """One boot of such a kernel, until it starts another one. ``seed`` determines which memory it uses."""

    def __init__(self, seed: str, console: Callable[[str], None]) -> None:
        """``console`` gets what the kernel prints, line by line."""
        self._seed = seed
        self._console = console

    def boot(self, tree: DeviceTree, memory: GuestMemory) -> Steps[None]:
        """Boot, and use memory that needn't be preserved.

        :raises KernelPanicError: the kernel can't run on this machine.
        """
        try:
            found = system_of(tree).system.memory
        except FormatError as error:
            raise KernelPanicError(str(error)) from error
        write_image(memory, self._seed)
        log = Printk(memory, LOG, self._console)
        top = yield from self._top(tree, memory, log)
        if top:
            log.pr_info("fadump: Preserving crash data for processing in next boot.")
            reserve_above(log, found.regions, top)
        log.pr_info("Linux version 6.12.0-petitboot (fadump's model of Linux)")
        use_memory(memory, self._usable(found, top), _PAGE_BYTES, self._seed)

    def _top(self, tree: DeviceTree, memory: GuestMemory, log: Printk) -> Steps[int]:
        """opal_fadump_dt_scan(): where boot memory ends; 0 if there is no dump."""
        node = tree.find("/ibm,opal/dump")
        if node is None or "mpipl-boot" not in node.properties:
            return 0
        cpu = next(iter(cpu_names(tree)), 0)
        status, address = yield from query_tag(memory, cpu, MpiplTag.KERNEL)
        if status != OpalStatus.SUCCESS or not address:
            return 0
        try:
            metadata = KernelMetadata.decode(memory.read(address, kernel_metadata.SIZE_BYTES))
        except (AddressError, FormatError):  # Linux would use it, or take a machine check
            return 0
        if not metadata.registered_regions:
            return 0
        status, top = yield from query_tag(memory, cpu, MpiplTag.BOOT_MEM)
        if status != OpalStatus.SUCCESS or not top:
            log.pr_err(f"opal fadump: Failed to get boot memory tag ({status})")
            return 0
        log.pr_info("opal fadump: Firmware-assisted dump is active.")
        return top

    def _usable(self, found: MemoryMap, top: int) -> RangeSet:
        taken = RangeSet([KERNEL, *found.firmware, *found.reserved_later])
        return usable_memory(found.regions, top or found.end, taken)

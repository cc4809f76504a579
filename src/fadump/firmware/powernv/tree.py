"""The device tree at a handover: what the firmware reads from it, and what it writes for the kernel.

Step "handover" of docs/architecture.md. Specification: skiboot, doc/device-tree/ibm,opal/dump.rst, and
core/opal-dump.c, opal_mpipl_reserve_mem(), for what is reserved. Its readers: Linux
arch/powerpc/platforms/powernv/opal-fadump.c, opal_fadump_dt_scan(), and arch/powerpc/kernel/prom.c,
early_reserve_mem_dt().

The firmware needs memory of its own for the capture kernel: metadata, CPU data, a copy of OPAL's memory. skiboot
reserves it right after itself. Here skiboot isn't involved, so it is as high as possible in the RAM that OPAL is in.
The root's ``reserved-ranges`` have it at every handover, including the first: otherwise a crash would overwrite memory
that the kernel uses.

Unlike on pseries, Linux's page with the crash-info header needn't be reserved: the kernel's metadata follow it in the
reserved area, of which Linux wrongly frees only the last, partial page.
"""

from dataclasses import dataclass

from fadump.abi.powernv import cpu_data, hdat
from fadump.errors import FadumpError
from fadump.firmware.contract import PreservedDump
from fadump.memory.devicetree import DeviceTree, Node, encode_strings
from fadump.memory.ranges import Range, RangeSet
from fadump.memory.reserved import encode_pairs, pairs, reserve, reserved

_LINUX_PAGE_BYTES = 0x10000  # the largest that Linux has
_LOAD_AREAS = (
    Range.sized(hdat.KERNEL_LOAD_BASE, hdat.KERNEL_LOAD_BYTES),
    Range.sized(hdat.INITRAMFS_LOAD_BASE, hdat.INITRAMFS_LOAD_BYTES),
)


@dataclass(frozen=True, slots=True)
class PowernvPlatform:
    """What the firmware has to know about its machine; the same on every boot.

    ``opal`` is OPAL's memory. ``metadata``, ``cpu_data`` and ``opal_copy`` are the firmware's own areas: whole
    pages, contiguous in this order. ``pirs`` has the PIR of every thread of the machine, ascending.
    """

    opal: Range
    metadata: Range
    cpu_data: Range
    opal_copy: Range
    pirs: tuple[int, ...]

    @property
    def areas(self) -> Range:
        """All of the firmware's own areas."""
        return Range(self.metadata.start, self.opal_copy.end)


def find_platform(tree: DeviceTree) -> PowernvPlatform:
    """What the boot firmware's tree says about the machine, and a place for our areas.

    :raises FadumpError: it has no OPAL or no CPUs, or memory has no room.
    """
    pirs = _pirs(tree)
    opal = _opal_memory(_opal(tree), pirs[-1])
    metadata_bytes = _LINUX_PAGE_BYTES
    cpu_data_bytes = _whole_pages(len(pirs) * cpu_data.THREAD_BYTES)
    opal_bytes = _whole_pages(opal.size_bytes)
    start = _highest_place(tree, opal, metadata_bytes + cpu_data_bytes + opal_bytes)
    metadata = Range.sized(start, metadata_bytes)
    registers = Range.sized(metadata.end, cpu_data_bytes)
    return PowernvPlatform(opal, metadata, registers, Range.sized(registers.end, opal_bytes), pirs)


def write_properties(tree: DeviceTree, platform: PowernvPlatform, dump: PreservedDump | None) -> None:
    """Write that MPIPL is supported and, if there is a ``dump``, that this is the boot after it; reserve our areas.

    :raises FadumpError: the tree has no OPAL.
    """
    opal = _opal(tree)
    node = opal.child("dump")
    if node is None:
        node = Node("dump")
        opal.children.append(node)
    node.properties["compatible"] = encode_strings("ibm,opal-dump")
    node.properties["fw-load-area"] = encode_pairs(_LOAD_AREAS)
    node.properties.pop("mpipl-boot", None)
    if dump is not None:
        node.properties["mpipl-boot"] = b""
    reserve(tree, platform.areas)


def _opal(tree: DeviceTree) -> Node:
    return tree.node("/ibm,opal", "FADump on powernv is a service of OPAL")


def _opal_memory(opal: Node, highest_pir: int) -> Range:
    """From skiboot's base to the end of its CPUs' stacks."""
    base = _number_or_0(opal, "opal-base-address") or hdat.SKIBOOT_BASE
    stacks_bytes = (highest_pir + 1) * hdat.STACK_BYTES
    size_bytes = _number_or_0(opal, "opal-runtime-size") or hdat.SKIBOOT_BYTES + stacks_bytes
    return Range.sized(base, size_bytes)


def _highest_place(tree: DeviceTree, opal: Range, size_bytes: int) -> int:
    """The highest place for whole pages of ``size_bytes``, above OPAL in the RAM that it is in."""
    ram = next((extent for extent in _ram(tree) if extent.contains(opal)), None)
    if ram is None:
        raise FadumpError(f"OPAL's memory {opal} is in no memory node of the device tree")
    free = RangeSet([Range(opal.end, ram.end)]) - _in_use(tree)
    for extent in reversed(list(free)):
        start = (extent.end - size_bytes) // _LINUX_PAGE_BYTES * _LINUX_PAGE_BYTES
        if start >= extent.start:
            return start
    raise FadumpError(f"no {size_bytes:#x} bytes are free above OPAL's memory {opal}: give the machine more memory")


def _ram(tree: DeviceTree) -> RangeSet:
    nodes = [node for node in tree.root.children if node.device_type == "memory"]
    return RangeSet(extent for node in nodes for extent in pairs(node, "reg"))


def _in_use(tree: DeviceTree) -> RangeSet:
    """Memory that is in use or reserved, including this boot's initrd."""
    initrd = tree.initrd()
    return reserved(tree) if initrd is None else reserved(tree) | RangeSet([initrd])


def _pirs(tree: DeviceTree) -> tuple[int, ...]:
    """skiboot names threads by their PIR."""
    pirs = sorted({pir for cpu in tree.cpus() for pir in cpu.cells("ibm,ppc-interrupt-server#s")})
    if not pirs:
        raise FadumpError("the device tree has no CPU under /cpus: their number sizes the firmware's CPU data")
    return tuple(pirs)


def _number_or_0(node: Node, name: str) -> int:
    return node.number(name) if name in node.properties else 0


def _whole_pages(size_bytes: int) -> int:
    return -(-size_bytes // _LINUX_PAGE_BYTES) * _LINUX_PAGE_BYTES

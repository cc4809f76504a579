"""The device tree at a handover: what the firmware learns from it, and what it tells the kernel in it.

Step "handover" of docs/architecture.md. Specification: skiboot, doc/device-tree/ibm,opal/dump.rst, and
core/opal-dump.c, opal_mpipl_reserve_mem(), for what is reserved. Its readers: Linux
arch/powerpc/platforms/powernv/opal-fadump.c, opal_fadump_dt_scan(), and arch/powerpc/kernel/prom.c,
early_reserve_mem_dt().

The firmware needs memory of its own for what it leaves the capture kernel: metadata, CPU data, a copy of OPAL's memory.
skiboot takes it right behind itself. Here skiboot knows nothing of it, so it lies as high as there is room
in the RAM that OPAL is in, and the root's ``reserved-ranges`` name it at every handover, from the first on: a
kernel that has used that memory would lose it when it crashes.

Linux's page with the crash-info header needs no such care, unlike on pseries: the kernel's metadata follow it within
the reserved area, whose last, partial page is all that Linux frees too much.
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
    """What the firmware has to know of its machine; the same on every boot.

    ``opal`` is OPAL's memory. ``metadata``, ``cpu_data`` and ``opal_copy`` are the firmware's own areas: whole
    pages, one behind the other. ``pirs`` names every thread of the machine, ascending.
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
    """What a tree that the platform's boot firmware made says about the machine, and the place for our areas.

    :raises FadumpError: no OPAL or no CPUs in it, or no memory that has room.
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
    """Say that MPIPL is there and, if there is a ``dump``, that this is the boot after it; reserve our areas.

    :raises FadumpError: no OPAL in the tree.
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
    """Where whole pages of ``size_bytes`` fit, behind OPAL in the RAM that it is in, as high as can be."""
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
    """Memory that somebody uses, or has said to use: this boot's initrd too."""
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

"""The device tree at a handover: what the firmware reads from it, and what it writes for the kernel.

Step "handover" of docs/architecture.md. Specification: LoPAR, "RTAS" properties of the Open Firmware binding:
ibm,configure-kernel-dump, -sizes, -version, and ibm,kernel-dump; ibm,lrdr-capacity for the CPUs that can be
plugged. Its reader: Linux arch/powerpc/platforms/pseries/rtas-fadump.c, rtas_fadump_dt_scan().

Linux computes the end of the dump area from the sizes in its own tree, and again in the capture boot. So
they are for the CPUs that the machine can ever have, not for those that it has now.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from fadump.abi.pseries import rtas, vector_5
from fadump.abi.pseries.dump_structure import VERSION
from fadump.abi.pseries.hash_table import HPTE_BYTES
from fadump.errors import FadumpError
from fadump.firmware.contract import PreservedDump
from fadump.memory.devicetree import DeviceTree, Node, encode_cells, join_cells
from fadump.memory.ranges import Range, RangeSet
from fadump.memory.reserved import reserve

_CELL_BYTES = 4
_LINUX_PAGE_BYTES = 0x10000  # the largest that Linux has
_HIGHEST_TOKEN = 0xFFFF_FFFE  # all ones is Linux's RTAS_UNKNOWN_SERVICE
_NOT_TOKENS = frozenset(
    ("phandle", "rtas-error-log-max", "rtas-event-scan-rate", "rtas-size", "rtas-version", rtas.CONFIGURE_KERNEL_DUMP)
)


@dataclass(frozen=True, slots=True)
class Offer:
    """What the firmware offers, where somebody has a wish; sizes are in bytes, None: what the machine needs.

    ``hpte_bytes`` is how much of the hash page table is saved: by default as much as in the kernel document's example,
    and nothing of a guest with a radix MMU, which has no such table. ``cpu_state_bytes`` may be too little.
    ``reserved`` is named in the root's ``reserved-ranges``.
    """

    hpte_bytes: int | None = None
    cpu_state_bytes: int | None = None
    reserved: RangeSet = field(default_factory=RangeSet)

    def hash_table_bytes(self, tree: DeviceTree) -> int:
        """How much is to be saved for the kernel of this tree."""
        if self.hpte_bytes is not None:
            return self.hpte_bytes
        chosen = tree.find("/chosen")
        vector = b"" if chosen is None else chosen.properties.get(vector_5.PROPERTY, b"")
        return 0 if vector_5.is_radix(vector) else HPTE_BYTES


@dataclass(frozen=True, slots=True)
class PseriesPlatform:
    """What the firmware has to know about its machine; the same on every boot.

    ``rma`` is the real mode area, the memory that RTAS can access. ``cpu_count`` is the most CPUs, which are threads
    as in Linux, that the machine can ever have.
    """

    configure_token: int
    os_term_token: int
    rma: Range
    cpu_count: int

    @property
    def tokens(self) -> frozenset[int]:
        """The tokens of the firmware's calls."""
        return frozenset((self.configure_token, self.os_term_token))


def find_platform(tree: DeviceTree) -> PseriesPlatform:
    """What the boot firmware's tree says about the machine.

    :raises FadumpError: it has no RTAS, no ibm,os-term, no memory at 0 or no CPUs.
    """
    node = _rtas(tree)
    if rtas.OS_TERM not in node.properties:
        raise FadumpError(f"/rtas in the device tree has no {rtas.OS_TERM}: without it no kernel can report its crash")
    os_term_token = _cells(node, rtas.OS_TERM, 1)[0]
    highest = max([os_term_token, *_tokens(node)])
    if highest >= _HIGHEST_TOKEN:
        raise FadumpError(f"no RTAS token is left above {highest:#x} for {rtas.CONFIGURE_KERNEL_DUMP}")
    return PseriesPlatform(
        configure_token=highest + 1,
        os_term_token=os_term_token,
        rma=_real_mode_area(tree),
        cpu_count=_cpu_count(tree, node),
    )


def write_properties(
    tree: DeviceTree,
    platform: PseriesPlatform,
    offered: Mapping[int, int],
    dump: PreservedDump | None,
    reserved: RangeSet,
) -> None:
    """Offer the calls and, if there is a ``dump``, present its structure; a stale one is removed.

    What the dump has to protect from Linux is added to the root's ``reserved-ranges``, and so is ``reserved``.

    ``offered`` has the sizes in bytes of the sections that the firmware fills, by type.

    :raises FadumpError: the tree has no RTAS.
    """
    properties = _rtas(tree).properties
    properties[rtas.CONFIGURE_KERNEL_DUMP] = encode_cells(platform.configure_token)
    properties[rtas.CONFIGURE_KERNEL_DUMP_SIZES] = rtas.encode_sizes(offered)
    properties[rtas.CONFIGURE_KERNEL_DUMP_VERSION] = rtas.encode_version(VERSION, VERSION)
    for piece in reserved:
        reserve(tree, piece)
    if dump is None:
        properties.pop(rtas.KERNEL_DUMP, None)
        return
    properties[rtas.KERNEL_DUMP] = dump.structure
    if dump.protected is not None:
        reserve(tree, dump.protected)


def next_crash_info(dump: PreservedDump) -> Range | None:
    """The page that has the crash-info header, and will have the next crash's.

    When Linux since 6.10 releases preserved memory it frees that page too, as its reserved area ends within it
    (arch/powerpc/kernel/fadump.c, get_fadump_area_size() and fadump_release_reserved_area()), and so the next header
    would be in memory that is used.
    """
    if dump.crash_info is None:
        return None
    return Range.sized(dump.crash_info // _LINUX_PAGE_BYTES * _LINUX_PAGE_BYTES, _LINUX_PAGE_BYTES)


def _rtas(tree: DeviceTree) -> Node:
    return tree.node("/rtas", "FADump on pseries is a service of RTAS")


def _tokens(node: Node) -> list[int]:
    """The values of all properties of /rtas that can be tokens: those of one cell, except a few known others."""
    return [
        node.cells(name)[0]
        for name, value in node.properties.items()
        if len(value) == _CELL_BYTES and name not in _NOT_TOKENS and not name.startswith(("linux,", "qemu,", "slof,"))
    ]


def _real_mode_area(tree: DeviceTree) -> Range:
    """The first memory node's first range: LoPAR puts the RMA there, from address 0."""
    node = tree.node("/memory@0", "its first range is the real mode area")
    address_cells = _cells(tree.root, "#address-cells", 1)[0]
    size_cells = _cells(tree.root, "#size-cells", 1)[0]
    cells = _cells(node, "reg", address_cells + size_cells)
    size = cells[address_cells : address_cells + size_cells]
    return Range.sized(join_cells(cells[:address_cells]), join_cells(size))


def _cpu_count(tree: DeviceTree, node: Node) -> int:
    tree.node("/cpus", "their number sizes the register save area")
    threads = [len(_cells(cpu, "ibm,ppc-interrupt-server#s", 1)) for cpu in tree.cpus()]
    if not threads:
        raise FadumpError("the device tree has no CPU under /cpus: their number sizes the register save area")
    if "ibm,lrdr-capacity" not in node.properties:
        return sum(threads)
    # Its last cell is the number of cores on QEMU (hw/ppc/spapr.c); LoPAR calls them processors.
    return max(sum(threads), _cells(node, "ibm,lrdr-capacity", 1)[-1] * max(threads))


def _cells(node: Node, name: str, at_least: int) -> tuple[int, ...]:
    cells = node.cells(name)
    if len(cells) < at_least:
        raise FadumpError(f"property {name} of {node.name or '/'} has {len(cells)} cells, it needs {at_least}")
    return cells

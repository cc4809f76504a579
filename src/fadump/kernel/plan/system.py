"""What a device tree says about a kernel's memory and about FADump.

Linux: drivers/of/fdt.c early_init_dt_scan_memory() (nodes of device_type "memory"), arch/powerpc/kernel/prom.c
early_init_drmem_lmb() and arch/powerpc/mm/drmem.c (``/ibm,dynamic-reconfiguration-memory``), early_reserve_mem_dt();
arch/powerpc/kernel/fadump.c early_init_dt_scan_reserved_ranges(), rtas-fadump.c rtas_fadump_dt_scan(),
opal-fadump.c opal_fadump_dt_scan(). All numbers are big-endian.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import TypeVar

from fadump.abi.platform import Platform
from fadump.abi.pseries import vector_5
from fadump.abi.pseries.rtas import CONFIGURE_KERNEL_DUMP_SIZES, KERNEL_DUMP, SECTION_SIZE
from fadump.errors import FormatError, LimitError
from fadump.kernel.plan.memory_map import MemoryBlock, MemoryMap
from fadump.kernel.plan.reserve import System
from fadump.kernel.traits import Mmu, least_boot_memory_bytes
from fadump.limits import MOST_CPUS, MOST_PIECES, Budget
from fadump.memory.devicetree import DeviceTree, Node
from fadump.memory.ranges import Range, RangeSet

_CPU_STATE, _HPTE = 0x0001, 0x0002
_ASSIGNED, _RESERVED, _HOT_REMOVABLE = 0x08, 0x80, 0x100
_DEFAULT_CELLS = (1,)
_AVAILABLE = (b"okay", b"ok")
_ASSOCIATIVITY, _REFERENCE_POINTS = "ibm,associativity", "ibm,associativity-reference-points"
_LOOKUP_ARRAYS, _MOST_LOOKUP_CELLS = "ibm,associativity-lookup-arrays", 1 << 16
_NO_NODE = 0xFFFF
_Piece = TypeVar("_Piece")


@dataclass(frozen=True, slots=True)
class FoundSystem:
    """A system as its tree describes it; ``cmdline`` is from /chosen; for ``dump_announced`` see the function."""

    system: System
    cmdline: str
    dump_announced: bool


def system_of(tree: DeviceTree) -> FoundSystem:
    """What Linux would find in this tree.

    :raises FormatError: a property is not what it should be, or there is no memory at 0.
    """
    blocks = list(_limited(_blocks(tree), "memory"))
    firmware = RangeSet(_limited(_pairs(tree.root, "reserved-ranges"), "reserved memory"))
    try:
        memory = MemoryMap.of(blocks, firmware, RangeSet(_limited(_later(tree), "reserved memory")))
    except ValueError as error:
        raise FormatError(f"device tree: {error}") from error
    opal, rtas = tree.find("/ibm,opal"), tree.find("/rtas")
    if opal is not None:
        system = System(Platform.POWERNV, memory, mmu=_mmu_of_powernv(tree), supported=_opal_offers(opal))
    else:
        offered = dict(_offered(rtas)) if rtas is not None else {}
        supported = rtas is not None and "ibm,configure-kernel-dump" in rtas.properties
        system = System(
            Platform.PSERIES, memory, offered.get(_CPU_STATE, 0), offered.get(_HPTE, 0), _mmu_of_guest(tree), supported
        )
    return FoundSystem(system, _bootargs(tree), dump_announced(tree))


def dump_announced(tree: DeviceTree) -> bool:
    """Whether the firmware says that it has preserved a dump: this boot is a capture kernel's."""
    announced = (tree.find("/rtas"), KERNEL_DUMP), (tree.find("/ibm,opal/dump"), "mpipl-boot")
    return any(node is not None and name in node.properties for node, name in announced)


def cpu_names(tree: DeviceTree) -> Sequence[int]:
    """The platform's numbers of all possible threads: logical numbers with RTAS, the PIRs with OPAL."""
    node = tree.find("/cpus")
    cpus = (
        [] if node is None else [child for child in node.children if "ibm,ppc-interrupt-server#s" in child.properties]
    )
    budget = Budget("processors in a device tree", MOST_CPUS)
    servers: list[int] = []
    for cpu in cpus:
        threads = cpu.cells("ibm,ppc-interrupt-server#s")
        budget.spend(len(threads))
        servers += threads
    servers.sort()
    return servers if tree.find("/ibm,opal") is not None else range(len(servers))


def _limited(pieces: Iterable[_Piece], what: str) -> Iterator[_Piece]:
    budget = Budget(f"pieces of {what} in a device tree", MOST_PIECES)
    for piece in pieces:
        budget.spend()
        yield piece


def _blocks(tree: DeviceTree) -> Iterator[MemoryBlock]:
    address_cells = _cell_count(tree.root, "#address-cells")
    size_cells = _cell_count(tree.root, "#size-cells")
    depth = _associativity_depth(tree)
    for node in tree.root.children:
        if node.device_type != "memory":
            continue
        name = "linux,usable-memory" if "linux,usable-memory" in node.properties else "reg"
        if name not in node.properties or node.properties.get("status", b"ok").rstrip(b"\0") not in _AVAILABLE:
            continue
        removable = "hotpluggable" in node.properties
        numa_node = _domain(node.cells(_ASSOCIATIVITY) if _ASSOCIATIVITY in node.properties else (), depth)
        for range_ in _ranges(node, name, address_cells, size_cells):
            yield MemoryBlock(range_, removable, numa_node)
    dynamic = tree.find("/ibm,dynamic-reconfiguration-memory")
    if dynamic is not None:
        yield from _dynamic_blocks(dynamic, address_cells, depth)


def _associativity_depth(tree: DeviceTree) -> int:
    """The index of the NUMA node in an associativity: find_primary_domain_index() in arch/powerpc/mm/numa.c.

    Only form 1 is read; 0: the tree doesn't say.
    """
    root = tree.find("/ibm,opal") or tree.find("/rtas")
    if root is None or _REFERENCE_POINTS not in root.properties:
        return 0
    return (root.cells(_REFERENCE_POINTS) or (0,))[0]


def _domain(associativity: Sequence[int], depth: int) -> int:
    """The node in an associativity, which begins with its length; without a known node, the first one."""
    found = associativity[depth] if 0 < depth < len(associativity) else _NO_NODE
    return 0 if found >= _NO_NODE else found


def _dynamic_blocks(node: Node, address_cells: int, depth: int) -> Iterator[MemoryBlock]:
    """Blocks of one size, listed singly or, in version 2, as runs."""
    name = "ibm,dynamic-memory" if "ibm,dynamic-memory" in node.properties else "ibm,dynamic-memory-v2"
    if name not in node.properties:
        return
    if "ibm,lmb-size" not in node.properties:
        raise FormatError(f"/{node.name} has {name} but no ibm,lmb-size, which is how large a block is")
    block_bytes = node.number("ibm,lmb-size")
    if not block_bytes:
        return
    (count,) = next(node.rows(name, 1), (0,))
    arrays = _lookup_arrays(node)
    is_run = name.endswith("v2")
    widths = (1, address_cells, 1, 1, 1) if is_run else (address_cells, 1, 1, 1, 1)
    there = max(0, len(node.value(name)) // 4 - 1)
    if there < count * sum(widths):
        raise FormatError(
            f"{name} has {count} blocks of {sum(widths)} cells each and is cut short", offset=4 * there + 4
        )
    for number, row in enumerate(islice(node.rows(name, *widths, first_cell=1), count)):
        *numbers, array, flags = row
        run, start = numbers[:2] if is_run else (1, numbers[0])
        if run > MOST_PIECES:
            offset = 4 * number * sum(widths) + 4
            raise LimitError(f"blocks in a run of {name}", found=run, limit=MOST_PIECES, offset=offset)
        if flags & _RESERVED or not flags & _ASSIGNED:
            continue
        numa_node = _domain(arrays.get(array, ()), depth)
        yield MemoryBlock(Range.sized(start, run * block_bytes), bool(flags & _HOT_REMOVABLE), numa_node)


def _lookup_arrays(node: Node) -> dict[int, tuple[int, ...]]:
    """The associativities, which blocks refer to by number: their number, the length of each, then all of them."""
    if _LOOKUP_ARRAYS not in node.properties:
        return {}
    there = [cell for (cell,) in islice(node.rows(_LOOKUP_ARRAYS, 1), _MOST_LOOKUP_CELLS)]
    count, length, *cells = *there, 0, 0
    return {index: (length, *cells[index * length : (index + 1) * length]) for index in range(min(count, len(cells)))}


def _later(tree: DeviceTree) -> Iterator[Range]:
    """What Linux reserves only after FADump, except the tree itself, whose address isn't in the tree."""
    yield from tree.reservations
    nodes = tree.find("/reserved-memory")
    if nodes is not None:
        address_cells, size_cells = _cell_count(tree.root, "#address-cells"), _cell_count(tree.root, "#size-cells")
        for node in nodes.children:
            if "reg" in node.properties:
                yield from _ranges(node, "reg", address_cells, size_cells)
    initrd = tree.initrd()
    if initrd is not None:
        yield initrd


def _pairs(node: Node, name: str) -> Iterator[Range]:
    if name in node.properties:
        yield from _ranges(node, name, 2, 2)


def _ranges(node: Node, name: str, address_cells: int, size_cells: int) -> Iterator[Range]:
    """Whole pairs of address and size; a remainder and empty ranges are ignored."""
    for start, size_bytes in node.rows(name, address_cells, size_cells):
        if size_bytes:
            yield Range.sized(start, size_bytes)


def _offered(rtas: Node) -> Iterator[tuple[int, int]]:
    name = CONFIGURE_KERNEL_DUMP_SIZES
    sizes = rtas.properties.get(name, b"")
    size_bytes = SECTION_SIZE.size_bytes
    if rest := len(sizes) % size_bytes:
        raise FormatError(
            f"/rtas/{name} has {len(sizes)} bytes, which is no whole number of entries of {size_bytes}",
            offset=len(sizes) - rest,
        )
    yield from SECTION_SIZE.decode_all(sizes)


def _opal_offers(opal: Node) -> bool:
    """Whether OPAL takes dumps, and loads the capture kernel into boot memory of any size."""
    dump = opal.child("dump")
    if dump is None or b"ibm,opal-dump" not in dump.properties.get("compatible", b"").split(b"\0"):
        return False
    return all(area.end <= least_boot_memory_bytes(Platform.POWERNV) for area in _pairs(dump, "fw-load-area"))


def _mmu_of_guest(tree: DeviceTree) -> Mmu:
    """early_check_vec5()."""
    chosen = tree.find("/chosen")
    vector = b"" if chosen is None else chosen.properties.get(vector_5.PROPERTY, b"")
    return Mmu.RADIX if vector_5.is_radix(vector) else Mmu.HASH


def _mmu_of_powernv(tree: DeviceTree) -> Mmu:
    """Radix if any CPU's node, or the list of features, has it."""
    radix = any("ibm,mmu-pid-bits" in node.properties or node.name == "mmu-radix" for node in tree.root.walk())
    return Mmu.RADIX if radix else Mmu.HASH


def _bootargs(tree: DeviceTree) -> str:
    chosen = tree.find("/chosen")
    raw = b"" if chosen is None else chosen.properties.get("bootargs", b"")
    return raw.split(b"\0", 1)[0].decode("latin-1")


def _cell_count(node: Node, name: str) -> int:
    """The number of cells of an address or a size; 1 if the tree doesn't say, as in Linux.

    :raises FormatError: it is 0, or more than a 64-bit number has.
    """
    (count,) = (node.cells(name) or _DEFAULT_CELLS)[:1] if name in node.properties else _DEFAULT_CELLS
    if not 1 <= count <= 2:
        raise FormatError(f"device tree: {name} of {node.name or '/'} is {count}, not 1 or 2")
    return count

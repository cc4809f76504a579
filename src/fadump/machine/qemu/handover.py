"""Handover on pseries: the device tree that prom_init hands to the kernel, and what the machine adds to it.

The kernel's entry is reached twice: from SLOF with the Open Firmware client interface in r5, and from
prom_init (Linux arch/powerpc/kernel/prom_init.c) with r5 = 0 and r3 at a flattened device tree. At the second
the tree is read from guest memory, edited and written back in its place.

Linux puts its dump area where memory is free at that moment, and it reserves RTAS only later. So RTAS and the
entry page are named in the root's ``reserved-ranges``, which Linux avoids (arch/powerpc/kernel/fadump.c,
fadump_locate_reserve_mem()), at every handover from the first boot on: otherwise preserving overwrites RTAS.
"""

import struct
from collections.abc import Collection
from dataclasses import dataclass

from fadump.errors import MachineError
from fadump.machine.qemu.entry_page import EntryPage, rtas_entry_page
from fadump.memory.devicetree import DeviceTree, Node, header_total_size
from fadump.memory.guest import GuestMemory
from fadump.memory.ranges import Range, RangeSet

_PAGE_BYTES = 0x1000
_LARGEST_PAGE_BYTES = 0x10000
"""Linux rounds a reserved range to its own pages, and not always outwards: releasing the memory behind a range that
ends within a 64 KiB page frees that page (fadump_release_reserved_area())."""
_HEADER_BYTES = 0x28
_MOST_TREE_BYTES = 16 << 20
_RESERVED_RANGES = "reserved-ranges"


@dataclass(frozen=True, slots=True)
class TreePlace:
    """Where the tree lies in guest memory and how many bytes it may take."""

    address: int
    room_bytes: int

    @property
    def range(self) -> Range:
        return Range.sized(self.address, self.room_bytes)


def read_tree(memory: GuestMemory, address: int) -> tuple[DeviceTree, TreePlace]:
    """The flattened device tree at a physical address.

    :raises FormatError: what lies there is no device tree.
    :raises AddressError: it doesn't lie in RAM.
    """
    size_bytes = header_total_size(memory.read(address, _HEADER_BYTES))
    if size_bytes > _MOST_TREE_BYTES:
        raise MachineError(f"the device tree at {address:#x} claims {size_bytes:#x} bytes")
    return DeviceTree.parse(memory.read(address, size_bytes)), TreePlace(address, size_bytes)


def write_tree(memory: GuestMemory, tree: DeviceTree, place: TreePlace) -> None:
    """Put the edited tree back.

    :raises MachineError: it has outgrown its place.
    """
    blob = tree.encode()
    if len(blob) > place.room_bytes:
        raise MachineError(
            f"the device tree needs {len(blob):#x} bytes after editing, its place at {place.address:#x} "
            f"has {place.room_bytes:#x}"
        )
    memory.write(place.address, blob)


def place_entry_page(tree: DeviceTree, tokens: Collection[int]) -> tuple[EntryPage, Range]:
    """Append the entry page to RTAS's last page and lead the kernel there; returns it and the pages
    to reserve, whole ones whatever the kernel's page size.

    ``linux,rtas-base`` stays: QEMU finds its FWNMI log through it. ``rtas-size`` grows so that kexec-tools
    spares the code too.

    :raises MachineError: no RTAS in the tree, or no room behind it.
    """
    rtas = tree.find("/rtas")
    if rtas is None or "linux,rtas-base" not in rtas.properties:
        raise MachineError("the device tree at handover has no instantiated RTAS")
    base, real_entry, size_bytes = (_cell(rtas, name) for name in ("linux,rtas-base", "linux,rtas-entry", "rtas-size"))
    address = _align_up(base + size_bytes, 0x20)
    page_end = _align_up(base + size_bytes, _PAGE_BYTES)
    page = rtas_entry_page(address, tokens, real_entry)
    code_end = address + len(page.code)
    if code_end > page_end:
        raise MachineError(f"no room for the entry page between RTAS's end {base + size_bytes:#x} and {page_end:#x}")
    rtas.properties["linux,rtas-entry"] = struct.pack(">I", page.address)
    rtas.properties["rtas-size"] = struct.pack(">I", code_end - base)
    start = base // _LARGEST_PAGE_BYTES * _LARGEST_PAGE_BYTES
    return page, Range(start, _align_up(page_end, _LARGEST_PAGE_BYTES))


def reserve_in_tree(tree: DeviceTree, pages: Range) -> None:
    """Name a range in the root's ``reserved-ranges`` (pairs of 64-bit address and size)."""
    known = tree.root.properties.get(_RESERVED_RANGES, b"")
    tree.root.properties[_RESERVED_RANGES] = known + struct.pack(">QQ", pages.start, pages.size_bytes)


def loaded_images(tree: DeviceTree) -> RangeSet:
    """Kernel and initrd, as the boot loader has put them into RAM for this boot."""
    chosen = tree.find("/chosen")
    if chosen is None:
        return RangeSet()
    images = []
    if "qemu,boot-kernel" in chosen.properties:
        images.append(Range.sized(*struct.unpack(">QQ", chosen.properties["qemu,boot-kernel"])))
    if "linux,initrd-start" in chosen.properties:
        ends = (chosen.properties[f"linux,initrd-{which}"] for which in ("start", "end"))
        images.append(Range(*(int.from_bytes(end, "big") for end in ends)))
    return RangeSet(images)


def _cell(node: Node, name: str) -> int:
    return node.cells(name)[0]


def _align_up(value: int, alignment: int) -> int:
    return -(-value // alignment) * alignment

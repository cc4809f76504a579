"""Handover: the device tree that a boot firmware hands to the kernel, read from guest memory and written back.

What each machine adds to it is in :mod:`.pseries` and :mod:`.powernv`.
"""

from dataclasses import dataclass

from fadump.errors import MachineError
from fadump.memory.devicetree import DeviceTree, header_total_size
from fadump.memory.guest import GuestMemory
from fadump.memory.ranges import Range, RangeSet

LARGEST_PAGE_BYTES = 0x10000
"""Linux rounds a reserved range to its own pages, and not always outwards: releasing the memory behind a range that
ends within a 64 KiB page frees that page (fadump_release_reserved_area())."""
_HEADER_BYTES = 0x28
_MOST_TREE_BYTES = 16 << 20


@dataclass(frozen=True, slots=True)
class TreePlace:
    """Where the tree lies in guest memory and how many bytes it may take."""

    address: int
    room_bytes: int

    @property
    def range(self) -> Range:
        """All of that place."""
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


def initrd(tree: DeviceTree) -> RangeSet:
    """Where the boot loader has put the initrd for this boot; empty if there is none."""
    found = tree.initrd()
    return RangeSet() if found is None else RangeSet([found])


def align_up(value: int, alignment: int) -> int:
    """The next multiple of ``alignment``, or ``value`` if it is one."""
    return -(-value // alignment) * alignment

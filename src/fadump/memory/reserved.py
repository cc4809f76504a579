"""Memory that a device tree reserves: the root's ``reserved-ranges``, ``/reserved-memory``, its reservations.

Step "handover" of docs/architecture.md. Its reader: Linux arch/powerpc/kernel/prom.c, early_reserve_mem_dt(); FADump's
reserved area avoids only ``reserved-ranges`` (arch/powerpc/kernel/fadump.c, fadump_locate_reserve_mem()).
Addresses and sizes are pairs of 64 bits, as every boot firmware on Power writes them.
"""

import struct
from collections.abc import Iterable

from fadump.memory.devicetree import DeviceTree, Node
from fadump.memory.ranges import Range, RangeSet

_PROPERTY = "reserved-ranges"
_PAIR = struct.Struct(">QQ")
_END = 1 << 64


def reserve(tree: DeviceTree, piece: Range) -> None:
    """Add a range to the end of the root's ``reserved-ranges``, unless it is there already."""
    named = pairs(tree.root, _PROPERTY)
    if piece not in named:
        tree.root.properties[_PROPERTY] = encode_pairs([*named, piece])


def reserved(tree: DeviceTree) -> RangeSet:
    """All memory that a tree reserves."""
    nodes = tree.find("/reserved-memory")
    ranges = [*tree.reservations, *pairs(tree.root, _PROPERTY)]
    for node in nodes.children if nodes is not None else ():
        ranges += pairs(node, "reg")
    return RangeSet(ranges)


def encode_pairs(pieces: Iterable[Range]) -> bytes:
    """``pieces`` as a property of 64-bit addresses and sizes."""
    return b"".join(_PAIR.pack(piece.start, piece.size_bytes) for piece in pieces)


def pairs(node: Node, name: str) -> list[Range]:
    """A property of 64-bit addresses and sizes; half a pair, and what lies beyond 64 bits, is left out."""
    value = node.properties.get(name, b"")
    whole = len(value) // _PAIR.size * _PAIR.size
    return [Range(start, min(start + size, _END)) for start, size in _PAIR.iter_unpack(value[:whole])]

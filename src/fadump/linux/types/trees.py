"""The kernel's trees of pointers by numbers: XArrays, which radix trees are too, and maple trees.

Linux: include/linux/xarray.h, lib/maple_tree.c. Only what is in them is told, in the order of their numbers, which
the callers' objects know themselves. No node is visited twice, and a budget bounds what trees take together.
"""

from collections.abc import Iterator

from fadump.errors import FormatError
from fadump.limits import Budget
from fadump.linux.memory import KernelMemory
from fadump.linux.types.contract import POINTER_BYTES, Types
from fadump.linux.types.structure import Structure

_INTERNAL_MASK, _INTERNAL = 3, 2
"""Of an entry that isn't a caller's."""
_LEAST_NODE = 4096
"""Internal entries below aren't nodes."""
_MAPLE_TYPE_SHIFT, _MAPLE_TYPES = 3, 0xF
_MAPLE_ADDRESS = ~0xFF
_LEAF, _RANGE, _ALLOCATING = 1, 2, 3
"""maple_leaf_64, maple_range_64 and maple_arange_64 of enum maple_type."""
_WHOLE = (1 << 64) - 1


def in_xarray(memory: KernelMemory, types: Types, tree: int, budget: Budget) -> Iterator[int]:
    """The pointers in the XArray or the radix tree at ``tree``.

    :raises UnknownTypeError: the kernel's types don't say how it is made.
    :raises FormatError: it comes back to a node.
    :raises FadumpError: the dump doesn't have a part of it.
    """
    head = Structure(types, "xarray", {"head": "xa_head"}).read(memory, tree).count("head")
    node = Structure(types, "xa_node", {"slots": "slots"})
    seen: set[int] = set()
    left = [head]
    while left:
        entry = left.pop()
        if not _is_node(entry):
            if entry and not entry & _INTERNAL_MASK:
                yield entry
            continue
        _enter(entry, seen, budget)
        left += reversed(_words(memory, node, entry - _INTERNAL, "slots"))


def in_maple_tree(memory: KernelMemory, types: Types, tree: int, budget: Budget) -> Iterator[int]:
    """The pointers in the maple tree at ``tree``; errors as :func:`in_xarray`."""
    root = Structure(types, "maple_tree", {"root": "ma_root"}).read(memory, tree).count("root")
    plain = Structure(types, "maple_range_64", {"pivots": "pivot", "slots": "slot"})
    allocating = Structure(types, "maple_arange_64", {"pivots": "pivot", "slots": "slot"})
    if root and not _is_node(root):
        yield root
        return
    seen: set[int] = set()
    left = [(root, _WHOLE, False)] if root else []  # an entry, the last number below it, whether it is a caller's
    while left:
        entry, last, is_value = left.pop()
        if is_value:
            yield entry
            continue
        _enter(entry, seen, budget)
        kind = entry >> _MAPLE_TYPE_SHIFT & _MAPLE_TYPES
        if kind not in (_LEAF, _RANGE, _ALLOCATING):
            raise FormatError(f"maple tree with a node of kind {kind}", offset=entry)
        layout, at = allocating if kind == _ALLOCATING else plain, entry & _MAPLE_ADDRESS
        pivots = _words(memory, layout, at, "pivots")
        inside = []
        for number, slot in enumerate(_words(memory, layout, at, "slots")):
            end = pivots[number] if number < len(pivots) and (pivots[number] or not number) else last
            if slot:
                inside.append((slot, end, kind == _LEAF))
            if end >= last:
                break
        left += reversed(inside)


def _is_node(entry: int) -> bool:
    return entry & _INTERNAL_MASK == _INTERNAL and entry > _LEAST_NODE


def _enter(node: int, seen: set[int], budget: Budget) -> None:
    budget.spend()
    if node in seen:
        raise FormatError(f"tree that comes back to its node at {node:#x}")
    seen.add(node)


def _words(memory: KernelMemory, layout: Structure, at: int, name: str) -> list[int]:
    """An array of pointers or numbers in a node."""
    place = layout.place(name)
    return list(memory.unpack(f"{place.size_bytes // POINTER_BYTES}Q", at + place.offset))

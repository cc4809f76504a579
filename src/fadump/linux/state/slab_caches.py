"""The caches of the kernel's slab allocator, SLUB.

Linux: struct kmem_cache in mm/slab.h, struct kmem_cache_node in mm/slub.c. How many objects are in use isn't counted;
how many there is room for is.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from fadump.errors import LimitError
from fadump.limits import MOST_NODES, MOST_SLAB_CACHES, Budget
from fadump.linux.memory import UNREADABLE_ADDRESS, KernelMemory
from fadump.linux.symbols.table import SymbolTable
from fadump.linux.types.contract import Types
from fadump.linux.types.lists import list_nodes
from fadump.linux.types.structure import Structure, string_at
from fadump.printable import first_of

_ORDER_SHIFT = 16
"""OO_SHIFT."""
_MOST_ORDER = 16


@dataclass(frozen=True, slots=True)
class SlabCache:
    """A cache: ``object_bytes`` is what an object takes, ``objects`` how many there is room for in ``slabs``.

    ``size_bytes`` is what these take if all are of the usual size.
    """

    name: str
    object_bytes: int
    objects: int
    slabs: int
    size_bytes: int


@dataclass(frozen=True, slots=True)
class SlabCaches:
    """All caches, the largest first, and a sentence for each part of them that can't be read."""

    caches: tuple[SlabCache, ...]
    left_out: tuple[str, ...] = ()


def read_slab_caches(memory: KernelMemory, symbols: SymbolTable, types: Types) -> SlabCaches:
    """All caches.

    :raises UnknownSymbolError: the kernel has no list of them.
    :raises UnknownTypeError: its types lack a member that is needed, as without CONFIG_SLUB_DEBUG.
    :raises MissingFactError: the size of a page isn't known.
    :raises FadumpError: the dump doesn't have what leads to them.
    """
    reader = _Reader(memory, symbols, types)
    nodes = list_nodes(memory, symbols.address("slab_caches"), Budget("slab caches", MOST_SLAB_CACHES))
    left_out = [] if nodes.broken is None else [f"some slab caches can't be read: {nodes.broken}"]
    caches = []
    for node in nodes.nodes:
        try:
            caches.append(reader.at(node - reader.link))
        except (*UNREADABLE_ADDRESS, LimitError) as error:
            left_out.append(f"the slab cache at {node - reader.link:#x} can't be read: {error}")
    return SlabCaches(tuple(sorted(caches, key=_size, reverse=True)), tuple(first_of(left_out)))


class _Reader:
    def __init__(self, memory: KernelMemory, symbols: SymbolTable, types: Types) -> None:
        self._memory = memory
        members = {"list": "list", "name": "name", "bytes": "size", "order": "oo.x"}
        # newer kernels have more than one pointer for each node
        nodes = {f"node{number}": (f"per_node[{number}].node", f"node[{number}]") for number in (0, 1)}
        self._cache = Structure(types, "kmem_cache", {**members, **nodes})
        self._node = Structure(
            types, "kmem_cache_node", {"slabs": "nr_slabs.counter", "objects": "total_objects.counter"}
        )
        self.link = self._cache.offset("list")
        self._page_bytes = memory.facts.page_bytes()
        self._node_count = min(memory.number(symbols.address("nr_node_ids")), MOST_NODES)

    def at(self, cache: int) -> SlabCache:
        values = self._cache.read(self._memory, cache)
        nodes = [self._node.read(self._memory, node) for node in self._nodes(cache)]
        slabs = sum(node.count("slabs") for node in nodes)
        order = min(values.count("order") >> _ORDER_SHIFT, _MOST_ORDER)
        return SlabCache(
            name=string_at(self._memory, values.number("name")) or f"at {cache:#x}",
            object_bytes=values.count("bytes"),
            objects=sum(node.count("objects") for node in nodes),
            slabs=slabs,
            size_bytes=slabs * self._page_bytes << order,
        )

    def _nodes(self, cache: int) -> Iterator[int]:
        first = self._cache.offset("node0")
        stride = self._cache.offset("node1") - first
        for number in range(self._node_count):
            node = self._memory.word(cache + first + number * stride)
            if node:
                yield node


def _size(cache: SlabCache) -> int:
    return cache.size_bytes

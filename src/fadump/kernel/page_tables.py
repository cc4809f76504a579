"""The model kernel's page tables: the linear map with radix, vmemmap with radix, vmalloc with both.

Linux arch/powerpc/mm/book3s64/radix_pgtable.c, create_physical_mapping() and radix__vmemmap_populate(), with leaves of
1 GiB and 2 MiB; map_kernel_page() for vmalloc. The layout is :mod:`fadump.abi.linux.page_table`'s. With hash neither
the linear map nor vmemmap are in page tables. Memory that is not a multiple of 2 MiB is mapped as far as it is.
"""

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from fadump.abi.linux import page_table as abi
from fadump.kernel.state import PAGE_TABLES
from fadump.memory.guest import GuestMemory
from fadump.memory.ranges import Range

_FLAGS = 0x18E
"""Accessed, dirty, privileged, read and write: what _PAGE_KERNEL_RW comes to."""
_ENTRY = struct.Struct(">Q")
_PMD_SHIFT, _PUD_SHIFT = 21, 30
_LEAST_TABLE_BYTES = 0x1000


class PageTables:
    """The tables from swapper_pg_dir, :data:`.state.PAGE_TABLES`, on; :meth:`write` puts them into memory.

    If there is no room for all tables, which takes thousands of memory ranges, the rest is left out.
    """

    def __init__(self, page_bytes: int, *, radix: bool) -> None:
        self._index_bits = (abi.RADIX_INDEX_BITS if radix else abi.HASH_INDEX_BITS)[page_bytes]
        page_bits = page_bytes.bit_length() - 1
        self._shifts = [sum(self._index_bits[level + 1 :]) + page_bits for level in range(len(self._index_bits))]
        self._next = PAGE_TABLES.start
        self._tables: dict[tuple[int, int], _Table] = {}
        self._top = self._new_table(0)

    def map_linear(self, regions: Sequence[Range]) -> None:
        """All memory at :data:`~fadump.abi.linux.page_table.PAGE_OFFSET`, in the largest leaves that fit."""
        for start, shift in (leaf for region in regions for leaf in _leaves(region)):
            if not self.map_leaf(abi.PAGE_OFFSET | start, start, shift):
                break

    def map_leaf(self, virtual: int, physical: int, shift: int) -> bool:
        """Map one page of 1 << ``shift`` bytes, a size that a level has; False if there is no room for a table."""
        level = self._shifts.index(shift)
        table = self._top
        for above in range(level):
            below = self._below(table, above, virtual)
            if below is None:
                return False
            table = below
        table.put(self._index(virtual, level), abi.PRESENT | abi.LEAF | physical | _FLAGS)
        return True

    def write(self, memory: GuestMemory) -> None:
        """Write all tables, and nothing for the rest of their place."""
        memory.discard(PAGE_TABLES)
        for table in (self._top, *self._tables.values()):
            if any(table.entries):
                memory.write(table.address, table.entries)

    def _below(self, parent: "_Table", level: int, virtual: int) -> "_Table | None":
        """The table for an address below its parent at ``level``, made if it isn't there yet; None: no room."""
        key = (level + 1, virtual >> self._shifts[level])
        if key not in self._tables:
            size_bytes = _ENTRY.size << self._index_bits[level + 1]
            if self._next + max(size_bytes, _LEAST_TABLE_BYTES) > PAGE_TABLES.end:
                return None
            self._tables[key] = self._new_table(level + 1)
            entry = abi.PRESENT | self._tables[key].address | self._index_bits[level + 1]
            parent.put(self._index(virtual, level), entry)
        return self._tables[key]

    def _new_table(self, level: int) -> "_Table":
        size_bytes = _ENTRY.size << self._index_bits[level]
        room_bytes = max(size_bytes, _LEAST_TABLE_BYTES)
        self._next = -(-self._next // room_bytes) * room_bytes
        table = _Table(self._next, bytearray(size_bytes))
        self._next += room_bytes
        return table

    def _index(self, virtual: int, level: int) -> int:
        return virtual >> self._shifts[level] & (1 << self._index_bits[level]) - 1


@dataclass(frozen=True, slots=True)
class _Table:
    address: int
    entries: bytearray

    def put(self, index: int, entry: int) -> None:
        _ENTRY.pack_into(self.entries, index * _ENTRY.size, entry)


def _leaves(region: Range) -> Iterator[tuple[int, int]]:
    """Start and size, as a power of two, of each leaf: the largest that fits."""
    at = -(-region.start >> _PMD_SHIFT) << _PMD_SHIFT
    while True:
        for shift in (_PUD_SHIFT, _PMD_SHIFT):
            if not at & (1 << shift) - 1 and at + (1 << shift) <= region.end:
                yield at, shift
                at += 1 << shift
                break
        else:
            return

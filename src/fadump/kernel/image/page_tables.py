"""The model kernel's page tables: the linear map with radix, vmemmap with radix, vmalloc with both.

Linux arch/powerpc/mm/book3s64/radix_pgtable.c, create_physical_mapping() and radix__vmemmap_populate(), with leaves of
1 GiB and 2 MiB; map_kernel_page() for vmalloc. The layout is :mod:`fadump.abi.linux.page_table`'s. With hash, neither
the linear map nor vmemmap is in page tables. Only whole multiples of 2 MiB are mapped.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from fadump.abi.linux import page_table as abi
from fadump.kernel.state import PAGE_TABLES
from fadump.memory.guest import GuestMemory
from fadump.memory.ranges import Range

_FLAGS = 0x18E
"""Accessed, dirty, privileged, read and write: the bits of _PAGE_KERNEL_RW."""
_ENTRY_BYTES = abi.ENTRY_BYTES
_PMD_SHIFT, _PUD_SHIFT = 21, 30
_LEAST_TABLE_BYTES = 0x1000


class PageTables:
    """The tables from swapper_pg_dir, :data:`.state.PAGE_TABLES`, on; :meth:`write` writes them to memory.

    Tables for which there is no room are left out; that only happens with thousands of memory ranges.
    """

    def __init__(self, page_bytes: int, *, radix: bool) -> None:
        self._index_bits = (abi.RADIX_INDEX_BITS if radix else abi.HASH_INDEX_BITS)[page_bytes]
        page_bits = page_bytes.bit_length() - 1
        self._shifts = [sum(self._index_bits[level + 1 :]) + page_bits for level in range(len(self._index_bits))]
        self._next = PAGE_TABLES.start
        self._tables: dict[tuple[int, int], _Table] = {}
        self._top = self._new_table(0)

    def map_linear(self, regions: Sequence[Range]) -> None:
        """Map all memory at :data:`~fadump.abi.linux.page_table.PAGE_OFFSET`, with the largest leaves that fit."""
        for start, shift, count in (run for region in regions for run in _leaves(region)):
            if not self.map_leaves(abi.PAGE_OFFSET | start, start, shift, count):
                break

    def map_leaves(self, virtual: int, physical: int, shift: int, count: int = 1) -> bool:
        """Map ``count`` pages of 1 << ``shift`` bytes, a leaf size of some level; False: no room for a table."""
        level = self._shifts.index(shift)
        while count:
            table = self._table(virtual, level)
            if table is None:
                return False
            index = self._index(virtual, level)
            here = min(count, len(table.entries) - index)
            addresses = np.uint64(physical) + (np.arange(here, dtype=np.uint64) << np.uint64(shift))
            table.entries[index : index + here] = addresses | np.uint64(abi.PRESENT | abi.LEAF | _FLAGS)
            virtual, physical, count = virtual + (here << shift), physical + (here << shift), count - here
        return True

    def write(self, memory: GuestMemory) -> None:
        """Write all tables; unused space for them isn't written."""
        memory.discard(PAGE_TABLES)
        for table in (self._top, *self._tables.values()):
            if table.entries.any():
                memory.write(table.address, table.entries.tobytes())

    def _table(self, virtual: int, level: int) -> "_Table | None":
        """The table at ``level`` for an address, created with those above it; None if there is no room."""
        table: _Table | None = self._top
        for above in range(level):
            if table is not None:
                table = self._below(table, above, virtual)
        return table

    def _below(self, parent: "_Table", level: int, virtual: int) -> "_Table | None":
        """The table for an address below its parent at ``level``, created if needed; None: no room."""
        key = (level + 1, virtual >> self._shifts[level])
        if key not in self._tables:
            size_bytes = _ENTRY_BYTES << self._index_bits[level + 1]
            if self._next + max(size_bytes, _LEAST_TABLE_BYTES) > PAGE_TABLES.end:
                return None
            self._tables[key] = self._new_table(level + 1)
            entry = abi.PRESENT | self._tables[key].address | self._index_bits[level + 1]
            parent.entries[self._index(virtual, level)] = entry
        return self._tables[key]

    def _new_table(self, level: int) -> "_Table":
        size_bytes = _ENTRY_BYTES << self._index_bits[level]
        room_bytes = max(size_bytes, _LEAST_TABLE_BYTES)
        self._next = -(-self._next // room_bytes) * room_bytes
        table = _Table(self._next, np.zeros(size_bytes // _ENTRY_BYTES, ">u8"))
        self._next += room_bytes
        return table

    def _index(self, virtual: int, level: int) -> int:
        return virtual >> self._shifts[level] & (1 << self._index_bits[level]) - 1


@dataclass(frozen=True, slots=True)
class _Table:
    address: int
    entries: npt.NDArray[np.uint64]


def _leaves(region: Range) -> Iterator[tuple[int, int, int]]:
    """Start, shift and number of each run of equal leaves, as large as fit."""
    at = region.start
    for shift, end in (
        (_PMD_SHIFT, min(region.end, -(-region.start >> _PUD_SHIFT) << _PUD_SHIFT)),
        (_PUD_SHIFT, region.end),
        (_PMD_SHIFT, region.end),
    ):
        at = -(-at >> shift) << shift if shift == _PMD_SHIFT else at
        count = max(0, end - at) >> shift
        if count:
            yield at, shift, count
            at += count << shift

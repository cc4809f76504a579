"""The model kernel's page tables: with radix, the linear map of all its memory.

Linux arch/powerpc/mm/book3s64/radix_pgtable.c, create_physical_mapping(), with leaves of 1 GiB and 2 MiB; the layout is
:mod:`fadump.abi.linux.page_table`'s. With hash the linear map is not in page tables, and the top one is empty, as there
is nothing in vmalloc either. Memory that is not a multiple of 2 MiB is mapped as far as it is.
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
_PMD_SHIFT, _PUD_SHIFT, _PGD_SHIFT = 21, 30, 39
_PGD_BYTES = 0x10000
_TABLE_BYTES = 0x1000
_INDEX = 0x1FF
_PUD_LEVEL, _PMD_LEVEL = 1, 2


def write_page_tables(memory: GuestMemory, regions: Sequence[Range], page_bytes: int, *, radix: bool) -> int:
    """Write the tables, and return where the top one is, as a physical address.

    If there is no room for all tables, which takes thousands of memory ranges, the rest is left out.
    """
    memory.discard(PAGE_TABLES)
    if radix:
        _LinearMap(memory, abi.RADIX_INDEX_BITS[page_bytes]).map(regions)
    return PAGE_TABLES.start


class _LinearMap:
    def __init__(self, memory: GuestMemory, index_bits: Sequence[int]) -> None:
        self._memory = memory
        self._index_bits = index_bits
        self._top = _Table(PAGE_TABLES.start, bytearray(_PGD_BYTES))
        self._next = PAGE_TABLES.start + _PGD_BYTES
        self._tables: dict[tuple[int, int], _Table] = {}

    def map(self, regions: Sequence[Range]) -> None:
        for start, shift in (leaf for region in regions for leaf in _leaves(region)):
            table = self._table(_PUD_LEVEL, self._top, start, _PGD_SHIFT)
            if table is not None and shift == _PMD_SHIFT:
                table = self._table(_PMD_LEVEL, table, start, _PUD_SHIFT)
            if table is None:
                break
            table.put(start >> shift & _INDEX, abi.PRESENT | abi.LEAF | start | _FLAGS)
        for table in (self._top, *self._tables.values()):
            self._memory.write(table.address, table.entries)

    def _table(self, level: int, parent: "_Table", address: int, shift: int) -> "_Table | None":
        """The table for an address below its parent, made if it isn't there yet; None if there is no room."""
        key = (level, address >> shift)
        if key not in self._tables:
            if self._next + _TABLE_BYTES > PAGE_TABLES.end:
                return None
            table = _Table(self._next, bytearray(_TABLE_BYTES))
            self._next += _TABLE_BYTES
            index = address >> shift if level == _PUD_LEVEL else address >> shift & _INDEX
            parent.put(index, abi.PRESENT | table.address | self._index_bits[level])
            self._tables[key] = table
        return self._tables[key]


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

"""The model kernel's struct pages: where they are, and what they say about each page.

No step of its own in docs/architecture.md. Linux mm/sparse.c (sparse_init(), with CONFIG_SPARSEMEM_EXTREME and
CONFIG_SPARSEMEM_VMEMMAP), arch/powerpc/mm/init_64.c and book3s64/radix_pgtable.c (vmemmap_populate()): sections of
16 MiB, struct pages in blocks of vmemmap that memblock finds from the top of memory. With radix, page tables map the
blocks; with hash, ``vmemmap_list`` has them.

Up to :data:`MOST_BYTES` of struct pages are written, for the lowest memory: 64 GiB with pages of 64 KiB. Memory above
has no sections, as if it were offline: readers can't classify its pages, and no dump level leaves them out.
"""

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from fadump.abi.linux import page as abi
from fadump.abi.linux.page_table import PAGE_OFFSET
from fadump.kernel.image.page_layout import (
    MAX_PHYSICAL_BITS,
    SECTION_BITS,
    SECTION_STRUCT_BYTES,
    STRUCT_BYTES,
    page_layout,
)
from fadump.kernel.image.page_mix import mixed_pages, reserved_pages
from fadump.kernel.plan.memory_map import Memblock
from fadump.kernel.state import SECTION_ROOTS, FadumpState
from fadump.kernel.traits import MIB
from fadump.memory.ranges import Range, RangeSet

MOST_BYTES = 64 * MIB
RADIX_BLOCK_BITS, HASH_BLOCK_BITS = 21, 24
VMALLOC_START = 0xC008_0000_0000_0000
_VMEMMAP_START = 0xC00C_0000_0000_0000
_HASH_4K_START, _HASH_4K_REGION_BITS = 0xC000_3D00_0000_0000, 41
_SECTION_FLAGS = 0xF
"""SECTION_MARKED_PRESENT, HAS_MEM_MAP, IS_ONLINE and IS_EARLY."""
_ENTRY = struct.Struct("<Q8x")
_BACKING = struct.Struct("<QQQ")
BACKING_BYTES = _BACKING.size
SECTION_BYTES = 1 << SECTION_BITS


def vmalloc_start(page_bytes: int, *, radix: bool) -> int:
    """VMALLOC_START: with hash and small pages the linear map is smaller."""
    return VMALLOC_START if radix or page_bytes > 1 << 12 else _HASH_4K_START


def vmemmap_start(page_bytes: int, *, radix: bool) -> int:
    """VMEMMAP_START: two regions above vmalloc."""
    if radix or page_bytes > 1 << 12:
        return _VMEMMAP_START
    return _HASH_4K_START + (2 << _HASH_4K_REGION_BITS)


def section_roots(page_bytes: int) -> int:
    """NR_SECTION_ROOTS: a root is a page of sections."""
    return (1 << MAX_PHYSICAL_BITS - SECTION_BITS) // (page_bytes // SECTION_STRUCT_BYTES)


@dataclass(frozen=True, slots=True)
class Block:
    """``pages`` struct pages from ``first_pfn`` on: at ``virtual`` in vmemmap, in memory at ``physical``."""

    first_pfn: int
    pages: int
    virtual: int
    physical: int


class StructPages:
    """The struct pages of one boot. ``sections`` are the numbers of the sections with struct pages."""

    def __init__(self, state: FadumpState, memblock: Memblock) -> None:
        """Allocate memory for them; nothing is written yet."""
        self._state = state
        self._layout = page_layout(state.traits)
        self._page_bytes = state.traits.page_bytes
        self._block_bits = RADIX_BLOCK_BITS if state.radix else HASH_BLOCK_BITS
        self._start = vmemmap_start(self._page_bytes, radix=state.radix)
        self._memblock = memblock
        self.sections, self.blocks = self._find_blocks()
        self._roots = self._find_roots()

    @property
    def block_bits(self) -> int:
        """The binary logarithm of the blocks' size."""
        return self._block_bits

    @property
    def memory(self) -> RangeSet:
        """The memory that has struct pages."""
        sections = RangeSet(Range.sized(number << SECTION_BITS, SECTION_BYTES) for number in self.sections)
        return sections & RangeSet(self._state.ram)

    def write(self) -> None:
        """Write the table of sections, and struct pages in which all memory is reserved."""
        self._write_sections()
        for block in self.blocks:
            self._state.memory.write(block.physical, reserved_pages(block.pages, self._layout).tobytes())

    def hand_out(self, usable: RangeSet, seed: str) -> RangeSet:
        """Make ``usable`` used or free as in a running system, from a seed; return what is in use."""
        used: list[Range] = []
        for block in self.blocks:
            pages = usable & RangeSet([self._memory_of(block)])
            if pages:
                used += self._hand_out(block, pages, f"{seed} {block.first_pfn:#x}")
        return RangeSet(used)

    def backing(self, first: int) -> bytes:
        """The members of vmemmap_list, an array at physical ``first``; the last one is the head."""
        found = b""
        for number, block in enumerate(self.blocks):
            previous = PAGE_OFFSET | first + BACKING_BYTES * (number - 1) if number else 0
            found += _BACKING.pack(previous, block.physical, block.virtual)
        return found

    def _find_blocks(self) -> tuple[Sequence[int], Sequence[Block]]:
        """The lowest sections, as many as there is room for, and their blocks."""
        section_pages = SECTION_BYTES // self._page_bytes
        block_pages = (1 << self._block_bits) // STRUCT_BYTES
        sections: list[int] = []
        blocks: dict[int, Block] = {}
        for number in _section_numbers(self._state.ram):
            first = number * section_pages
            wanted = range(first // block_pages, -(-(first + section_pages) // block_pages))
            for index in wanted:
                if index in blocks:
                    continue
                place = self._memblock.allocate(1 << self._block_bits) if self._has_budget(len(blocks)) else None
                if place is None:
                    return sections, list(blocks.values())
                virtual = self._start + (index << self._block_bits)
                blocks[index] = Block(index * block_pages, block_pages, virtual, place)
            sections.append(number)
        return sections, list(blocks.values())

    def _has_budget(self, blocks: int) -> bool:
        return (blocks + 1) << self._block_bits <= MOST_BYTES

    def _find_roots(self) -> dict[int, int]:
        """The addresses of the pages of the sections' table, by number."""
        roots: dict[int, int] = {}
        for number in self.sections:
            root = number * SECTION_STRUCT_BYTES // self._page_bytes
            if root not in roots:
                place = self._memblock.allocate(self._page_bytes)
                if place is not None:
                    roots[root] = place
        return roots

    def _write_sections(self) -> None:
        memory = self._state.memory
        entry = _ENTRY.pack(self._start | abi.SECTION_HAS_MEM_MAP | _SECTION_FLAGS)
        memory.discard(SECTION_ROOTS)
        for root, place in self._roots.items():
            memory.write(SECTION_ROOTS.start + 8 * root, struct.pack("<Q", PAGE_OFFSET | place))
            memory.write(place, bytes(self._page_bytes))
        for number in self.sections:
            root, at = divmod(number * SECTION_STRUCT_BYTES, self._page_bytes)
            if root in self._roots:
                memory.write(self._roots[root] + at, entry)

    def _memory_of(self, block: Block) -> Range:
        return Range.sized(block.first_pfn * self._page_bytes, block.pages * self._page_bytes)

    def _hand_out(self, block: Block, usable: RangeSet, seed: str) -> Iterator[Range]:
        memory = self._state.memory
        size_bytes = block.pages * STRUCT_BYTES
        pages = np.frombuffer(bytearray(memory.read(block.physical, size_bytes)), reserved_pages(0, self._layout).dtype)
        mask = np.zeros(block.pages, np.bool_)
        for piece in usable:
            first, last = -(-piece.start // self._page_bytes), piece.end // self._page_bytes
            mask[max(0, first - block.first_pfn) : max(0, last - block.first_pfn)] = True
        used = mixed_pages(pages, mask, block.virtual, self._page_bytes, self._layout, seed)
        memory.write(block.physical, pages.tobytes())
        for first, last in _runs(used):
            start = (block.first_pfn + first) * self._page_bytes
            yield Range(start, (block.first_pfn + last) * self._page_bytes)


def _section_numbers(memory: Sequence[Range]) -> Iterator[int]:
    last = -1
    for piece in memory:
        for number in range(max(piece.start >> SECTION_BITS, last + 1), (piece.end - 1 >> SECTION_BITS) + 1):
            yield number
            last = number


def _runs(mask: "np.ndarray[tuple[int], np.dtype[np.bool_]]") -> Iterator[tuple[int, int]]:
    edges = np.flatnonzero(np.diff(np.concatenate([[0], mask.view(np.int8), [0]])))
    yield from zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True)

"""Where the struct pages are: the memory sections of SPARSEMEM.

After the last step of "follow one crash" in docs/architecture.md. Linux: include/linux/mmzone.h, mm/sparse.c, with
CONFIG_SPARSEMEM_EXTREME, as ppc64 has it: a table of pointers to one page each of struct mem_section. mem_section is
that table, or since 83e3c48729d9 (v4.15) a pointer to it. SYMBOL(mem_section) is where the table is, but for kernels
between that commit and a0b1280368d1: there it is where the pointer is.
"""

from contextlib import suppress
from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt

from fadump.abi.layout import STRUCT_ORDER
from fadump.abi.linux import page as abi
from fadump.abi.linux.page_table import PAGE_OFFSET
from fadump.errors import FadumpError, FormatError, LimitError
from fadump.limits import MOST_MEM_MAPS, MOST_MEMORY_SECTIONS, MOST_SECTION_ROOTS, MOST_STRUCT_PAGES
from fadump.linux.memory import UNREADABLE, KernelMemory
from fadump.linux.vmcoreinfo import MissingFactError
from fadump.memory.ranges import RangeSet
from fadump.vmcore.contract import Dump, State

_ADDRESS_BITS = 64
_WORD_BYTES = 8
_WORD = (1 << _ADDRESS_BITS) - 1

Words = npt.NDArray[np.uint64]


@dataclass(frozen=True, slots=True)
class MemMap:
    """``pages`` contiguous struct pages; the first, at ``virtual``, is that of page number ``first_pfn``."""

    first_pfn: int
    pages: int
    virtual: int


def find_mem_maps(memory: KernelMemory) -> list[MemMap]:
    """The struct pages of all sections with memory in the dump, by page number.

    :raises MissingFactError: VMCOREINFO doesn't say how memory is divided.
    :raises AddressError: the dump doesn't have the table of sections.
    :raises TranslationError: that is at an address that isn't mapped.
    :raises FormatError: it makes no sense, or has no section with struct pages.
    """
    facts = memory.facts
    section_bits = _section_bits(memory)
    numbers, maps = _sections(memory, section_bits)
    pages = 1 << section_bits - (facts.page_bytes().bit_length() - 1)
    if len(numbers) * pages > MOST_STRUCT_PAGES:
        raise LimitError("struct pages", found=len(numbers) * pages, limit=MOST_STRUCT_PAGES)
    _check_room(memory, len(numbers) * pages * facts.size("page"))
    first_pfns = numbers * np.uint64(pages)
    virtuals = maps + first_pfns * np.uint64(facts.size("page"))
    return _joined(first_pfns, virtuals, pages, facts.size("page"))


def _section_bits(memory: KernelMemory) -> int:
    """The size of a section, as a power of two."""
    facts = memory.facts
    has_bits = "NUMBER(SECTION_SIZE_BITS)" in facts  # since 4f5aecdff25f (v5.14)
    section_bits = facts.number("SECTION_SIZE_BITS") if has_bits else abi.SECTION_SIZE_BITS
    has_most = "NUMBER(MAX_PHYSMEM_BITS)" in facts  # since 1d50e5d0c505 (v5.9)
    most_bits = facts.number("MAX_PHYSMEM_BITS") if has_most else _ADDRESS_BITS
    page_bits = facts.page_bytes().bit_length() - 1
    if not page_bits <= section_bits < most_bits <= _ADDRESS_BITS:
        raise FormatError(f"VMCOREINFO's NUMBER(SECTION_SIZE_BITS), {section_bits}, does not fit its other numbers")
    return section_bits


def _sections(memory: KernelMemory, section_bits: int) -> tuple[Words, Words]:
    """Number and section_mem_map, without its flags, of all sections with memory in the dump and struct pages."""
    table = _Table.stated(memory, section_bits)
    at = memory.facts.symbol("mem_section")
    why: FadumpError = FormatError(
        f"the kernel's table of memory sections, at {at:#x}, has no section with struct pages for the dump's memory"
    )
    try:
        found = table.sections(at)
        if len(found[0]):
            return found
    except UNREADABLE as error:
        why = error
    with suppress(*UNREADABLE, MissingFactError):
        found = table.sections(memory.word(at))
        if len(found[0]):
            return found
    raise why


@dataclass(frozen=True, slots=True)
class _Table:
    """A table of pointers to ``per_root`` sections each; the layout has a section's section_mem_map as "map"."""

    memory: KernelMemory
    section_bits: int
    roots: int
    per_root: int
    layout: "np.dtype[np.void]"

    @classmethod
    def stated(cls, memory: KernelMemory, section_bits: int) -> Self:
        """The table as VMCOREINFO has it, as far as the dump's memory needs it."""
        facts, order = memory.facts, STRUCT_ORDER[memory.byte_order]
        section_bytes, roots = facts.size("mem_section"), facts.length("mem_section")
        if not _WORD_BYTES <= section_bytes <= facts.page_bytes() or roots <= 0:
            raise FormatError(f"VMCOREINFO has a table of {roots} pages of memory sections, {section_bytes} bytes each")
        if roots > MOST_SECTION_ROOTS:
            raise LimitError("pages in the table of memory sections", found=roots, limit=MOST_SECTION_ROOTS)
        at = facts.offset("mem_section.section_mem_map")
        if at + _WORD_BYTES > section_bytes:
            raise FormatError(
                f"VMCOREINFO has a member at byte {at} of a struct mem_section, which has {section_bytes}"
            )
        per_root = facts.page_bytes() // section_bytes
        last_address = max((range_.end for range_ in memory.dump.memory), default=0)
        wanted = min(roots, -(-last_address >> section_bits) // per_root + 1)
        layout = np.dtype({"names": ["map"], "formats": [f"{order}u8"], "offsets": [at], "itemsize": section_bytes})
        return cls(memory, section_bits, wanted, per_root, layout)

    def sections(self, virtual: int) -> tuple[Words, Words]:
        """What the table at an address has.

        :raises FormatError: what is there is no such table.
        """
        raw = self.memory.read(virtual, self.roots * _WORD_BYTES)
        pointers = np.frombuffer(raw, f"{STRUCT_ORDER[self.memory.byte_order]}u8")
        numbers, maps = [np.empty(0, np.uint64)], [np.empty(0, np.uint64)]
        count = 0
        for root in np.flatnonzero(pointers).tolist():
            table = np.frombuffer(
                self.memory.read(int(pointers[root]), self.per_root * self.layout.itemsize), self.layout
            )
            present = np.flatnonzero(table["map"] & np.uint64(abi.SECTION_HAS_MEM_MAP))
            count += len(present)
            if count > MOST_MEMORY_SECTIONS:
                raise LimitError("memory sections", found=count, limit=MOST_MEMORY_SECTIONS)
            numbers.append(present.astype(np.uint64) + np.uint64(root * self.per_root))
            maps.append(table["map"][present].astype(np.uint64))
        return self._in_the_dump(np.concatenate(numbers), np.concatenate(maps), virtual)

    def _in_the_dump(self, numbers: Words, maps: Words, virtual: int) -> tuple[Words, Words]:
        kept = _in_memory(numbers << np.uint64(self.section_bits), 1 << self.section_bits, self.memory.dump.memory)
        numbers, maps = numbers[kept], maps[kept] & np.uint64(~abi.SECTION_MAP_FLAGS & _WORD)
        struct_bytes = self.memory.facts.size("page") << self.section_bits
        first = maps + numbers * np.uint64((struct_bytes // self.memory.facts.page_bytes()) & _WORD)
        if (first < np.uint64(PAGE_OFFSET)).any():
            raise FormatError(f"the table of memory sections at {virtual:#x} has struct pages at no kernel address")
        return numbers, maps


def _in_memory(starts: Words, size_bytes: int, memory: RangeSet) -> npt.NDArray[np.bool_]:
    """Which of the ranges of ``size_bytes`` at ``starts`` overlap ``memory``."""
    ranges = list(memory)
    memory_starts = np.array([range_.start for range_ in ranges], dtype=np.uint64)
    memory_ends = np.array([range_.end - 1 for range_ in ranges], dtype=np.uint64)
    after = np.searchsorted(memory_starts, starts + np.uint64(size_bytes - 1), side="right")
    if not ranges:
        return after > 0
    return (after > 0) & (memory_ends[np.maximum(after - 1, 0)] >= starts)


def _check_room(memory: KernelMemory, struct_bytes: int) -> None:
    """Check that the dump has room for the struct pages: a forged table can claim any number of sections."""
    room = bytes_in(memory.dump, State.STORED, State.MISSING)
    if struct_bytes > room:
        raise FormatError(
            f"the kernel's tables claim {struct_bytes:#x} bytes of struct pages, more than the dump has memory for"
        )


def bytes_in(dump: Dump, *states: State) -> int:
    """How much of a dump's memory is in one of some states."""
    pieces = (piece for range_ in dump.memory for piece in dump.mapping(range_))
    return sum(piece.range.size_bytes for piece in pieces if piece.state in states)


def _joined(first_pfns: Words, virtuals: Words, pages: int, page_bytes: int) -> list[MemMap]:
    if not len(first_pfns):
        return []
    together = (np.diff(first_pfns) == pages) & (np.diff(virtuals) == pages * page_bytes)
    starts = np.concatenate([[0], np.flatnonzero(~together) + 1])
    if len(starts) > MOST_MEM_MAPS:
        raise LimitError("places with struct pages", found=len(starts), limit=MOST_MEM_MAPS)
    ends = np.concatenate([starts[1:], [len(first_pfns)]])
    return [
        MemMap(int(first_pfns[start]), int(end - start) * pages, int(virtuals[start]))
        for start, end in zip(starts, ends, strict=True)
    ]

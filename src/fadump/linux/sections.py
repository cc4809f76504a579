"""Where the struct pages are: the memory sections of SPARSEMEM.

After the last step of "follow one crash" in docs/architecture.md. Linux: include/linux/mmzone.h, mm/sparse.c, with
CONFIG_SPARSEMEM_EXTREME, as ppc64 has it: mem_section is an array of pointers to one page each of struct mem_section.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from fadump.abi.layout import STRUCT_ORDER
from fadump.abi.linux import page as abi
from fadump.errors import FormatError, LimitError
from fadump.linux.memory import KernelMemory
from fadump.memory.ranges import RangeSet
from fadump.vmcore.contract import Dump, State

_MOST_ROOTS = 1 << 20
_MOST_SECTIONS = 1 << 23
_MOST_MAPS = 1 << 18
_MOST_PAGES = 1 << 34
"""64 TiB in pages of 4 KiB, the most that any machine has; a table can claim any number."""
_ADDRESS_BITS = 64
_WORD_BYTES = 8

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
    :raises FormatError: it makes no sense.
    """
    facts = memory.facts
    section_bits = facts.number("SECTION_SIZE_BITS")
    page_bits = facts.page_bytes().bit_length() - 1
    if not page_bits <= section_bits < facts.number("MAX_PHYSMEM_BITS") <= _ADDRESS_BITS:
        raise FormatError(f"VMCOREINFO's NUMBER(SECTION_SIZE_BITS), {section_bits}, does not fit its other numbers")
    numbers, maps = _sections(memory, section_bits)
    kept = _in_memory(numbers << np.uint64(section_bits), 1 << section_bits, memory.dump.memory)
    numbers, maps = numbers[kept], maps[kept]
    pages = 1 << section_bits - page_bits
    if len(numbers) * pages > _MOST_PAGES:
        raise LimitError("struct pages", found=len(numbers) * pages, limit=_MOST_PAGES)
    _check_room(memory, len(numbers) * pages * facts.size("page"))

    first_pfns = numbers * np.uint64(pages)
    virtuals = (maps & np.uint64(~abi.SECTION_MAP_FLAGS & (1 << _ADDRESS_BITS) - 1)) + first_pfns * np.uint64(
        facts.size("page")
    )
    return _joined(first_pfns, virtuals, pages, facts.size("page"))


def _sections(memory: KernelMemory, section_bits: int) -> tuple[Words, Words]:
    """Number and section_mem_map of all sections with struct pages."""
    facts, order = memory.facts, STRUCT_ORDER[memory.byte_order]
    section_bytes = facts.size("mem_section")
    roots = facts.length("mem_section")
    if not _WORD_BYTES <= section_bytes <= facts.page_bytes() or roots <= 0:
        raise FormatError(f"VMCOREINFO has a table of {roots} pages of memory sections, {section_bytes} bytes each")
    if roots > _MOST_ROOTS:
        raise LimitError("pages in the table of memory sections", found=roots, limit=_MOST_ROOTS)
    per_root = facts.page_bytes() // section_bytes
    at = facts.offset("mem_section.section_mem_map")
    if at + _WORD_BYTES > section_bytes:
        raise FormatError(f"VMCOREINFO has a member at byte {at} of a struct mem_section, which has {section_bytes}")
    last_address = max((range_.end for range_ in memory.dump.memory), default=0)
    wanted = min(roots, -(-last_address >> section_bits) // per_root + 1)
    pointers = np.frombuffer(memory.read(facts.symbol("mem_section"), wanted * _WORD_BYTES), f"{order}u8")
    layout = np.dtype({"names": ["map"], "formats": [f"{order}u8"], "offsets": [at], "itemsize": section_bytes})
    numbers, maps = [np.empty(0, np.uint64)], [np.empty(0, np.uint64)]
    count = 0
    for root in np.flatnonzero(pointers).tolist():
        table = np.frombuffer(memory.read(int(pointers[root]), per_root * section_bytes), layout)["map"]
        present = np.flatnonzero(table & np.uint64(abi.SECTION_HAS_MEM_MAP))
        count += len(present)
        if count > _MOST_SECTIONS:
            raise LimitError("memory sections", found=count, limit=_MOST_SECTIONS)
        numbers.append(present.astype(np.uint64) + np.uint64(root * per_root))
        maps.append(table[present].astype(np.uint64))
    return np.concatenate(numbers), np.concatenate(maps)


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
    if len(starts) > _MOST_MAPS:
        raise LimitError("places with struct pages", found=len(starts), limit=_MOST_MAPS)
    ends = np.concatenate([starts[1:], [len(first_pfns)]])
    return [
        MemMap(int(first_pfns[start]), int(end - start) * pages, int(virtuals[start]))
        for start, end in zip(starts, ends, strict=True)
    ]

"""The class of each page of the crashed kernel, by which a dump may leave it out.

After the last step of "follow one crash" in docs/architecture.md. A page's class follows from its own struct page
(:mod:`fadump.linux.pages.page_rules`) or from the first one of its block. No Python code loops over pages: arrays of
:data:`CHUNK_PAGES` struct pages are tested at once.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain

import numpy as np

from fadump.errors import FormatError
from fadump.limits import MOST_CLASSES_BYTES, Budget
from fadump.linux.memory import UNREADABLE, KernelMemory
from fadump.linux.pages.free_lists import read_free_blocks
from fadump.linux.pages.page_class import PageClass
from fadump.linux.pages.page_rules import Blocks, ClassArray, PageTests
from fadump.linux.pages.sections import MemMap, bytes_in, find_mem_maps
from fadump.linux.vmcoreinfo import MissingFactError
from fadump.memory.ranges import Range
from fadump.vmcore.contract import Bytes, State

CHUNK_PAGES = 1 << 16
"""Large enough that the overhead per chunk doesn't count. Even, as the size of every chunk."""
_FEW_PAGES = 1 << 10
"""The size of smaller chunks, which are tried if the dump doesn't have all struct pages of a large one."""
_KERNEL = np.uint8(PageClass.KERNEL.value)
_BLOCK_CHUNKS = 1 << 6
"""The most chunks in a block."""


@dataclass(frozen=True, slots=True)
class PageBlock:
    """The classes of the pages from ``first_pfn`` on."""

    first_pfn: int
    classes: ClassArray

    @property
    def end_pfn(self) -> int:
        """The number of the page after its last one."""
        return self.first_pfn + len(self.classes)


@dataclass(frozen=True, slots=True)
class PageClasses:
    """The classes of all pages; a page number times ``page_bytes`` is a physical address.

    Blocks are in rising order. Pages in none of them are UNKNOWN; ``unreadable`` counts pages whose struct page can't
    be read. ``free_unknown`` says why not all free pages are known; None: they are.
    """

    page_bytes: int
    blocks: Sequence[PageBlock]
    unreadable: int = 0
    free_unknown: str | None = None

    def of(self, pfns: Range) -> ClassArray:
        """The classes of some pages; UNKNOWN for those without a struct page."""
        found = np.full(pfns.size_bytes, PageClass.UNKNOWN, np.uint8)
        for block in self.blocks:
            both = pfns.intersection(Range.sized(block.first_pfn, len(block.classes)))
            if both is not None:
                part = block.classes[both.start - block.first_pfn : both.end - block.first_pfn]
                found[both.start - pfns.start : both.end - pfns.start] = part
        return found

    def count(self, memory: Sequence[Range]) -> Mapping[PageClass, int]:
        """How many pages of some physical memory are in each class; a page counts if its first byte is in it."""
        counts = np.zeros(len(PageClass), np.int64)
        for range_ in memory:
            pfns = Range(-(-range_.start // self.page_bytes), -(-range_.end // self.page_bytes))
            known = 0
            for block in self.blocks:
                both = pfns.intersection(Range.sized(block.first_pfn, len(block.classes)))
                if both is not None:
                    part = block.classes[both.start - block.first_pfn : both.end - block.first_pfn]
                    for at in range(0, len(part), CHUNK_PAGES):  # bincount converts each to eight bytes
                        counts += np.bincount(part[at : at + CHUNK_PAGES], minlength=len(PageClass))
                    known += len(part)
            counts[PageClass.UNKNOWN] += pfns.size_bytes - known
        return {page_class: int(counts[page_class]) for page_class in PageClass}


def classify_pages(memory: KernelMemory) -> PageClasses:
    """The class of every page that has a struct page in the dump's memory.

    :raises MissingFactError: VMCOREINFO doesn't state what the tests need.
    :raises AddressError: the dump doesn't have the table of sections; and see :func:`find_mem_maps`.
    :raises OSError: that can't be read. A page whose struct page can't be read has no class.
    """
    tests = PageTests(memory.facts, memory.byte_order, CHUNK_PAGES)
    maps = find_mem_maps(memory)
    room = bytes_in(memory.dump, State.STORED)
    kept = Budget("bytes of memory for the classes of pages", MOST_CLASSES_BYTES)
    blocks = []
    for block in chain.from_iterable(_blocks(memory, tests, mem_map) for mem_map in maps):
        room -= len(block.classes) * tests.page_bytes
        kept.spend(_own_bytes(block.classes))
        if room < 0:  # page tables can be forged to map the same bytes many times
            raise FormatError("the kernel's tables claim more struct pages than the dump has memory for")
        blocks.append(block)
    unreadable = sum(mem_map.pages for mem_map in maps) - sum(len(block.classes) for block in blocks)
    free_unknown = None if tests.knows_free_pages else _mark_free(memory, maps, blocks)
    return PageClasses(memory.facts.page_bytes(), tuple(blocks), unreadable, free_unknown)


def _mark_free(memory: KernelMemory, maps: Sequence[MemMap], blocks: list[PageBlock]) -> str | None:
    """Give the pages on the lists of free pages their class; why not all could be found, None if they could."""
    starts = [block.first_pfn for block in blocks]
    kept = Budget("bytes of memory for the classes of pages", MOST_CLASSES_BYTES)
    try:
        for free in read_free_blocks(memory, maps):
            pfns = Range.sized(free.first_pfn, free.pages)
            for number in range(max(0, bisect_right(starts, pfns.start) - 1), bisect_left(starts, pfns.end)):
                block = blocks[number]
                if not block.classes.strides[0]:
                    kept.spend(len(block.classes))
                    block = blocks[number] = PageBlock(block.first_pfn, block.classes.copy())
                both = pfns.intersection(Range.sized(block.first_pfn, len(block.classes)))
                if both is not None:
                    block.classes[both.start - block.first_pfn : both.end - block.first_pfn] = PageClass.FREE
    except (*UNREADABLE, MissingFactError) as error:
        return str(error)
    return None


def _blocks(memory: KernelMemory, tests: PageTests, mem_map: MemMap) -> Iterator[PageBlock]:
    """The classes of the pages of a map, in blocks of limited size."""
    filler = _BlockFiller()
    struct_pages = Range.sized(mem_map.virtual, mem_map.pages * tests.page_bytes)
    pfn = mem_map.first_pfn
    parts: list[ClassArray] = []
    for count, raw in _chunks(memory, struct_pages, tests.page_bytes, CHUNK_PAGES):
        if raw is None:
            part = filler.rest(count)
        else:
            part = np.empty(count, np.uint8)
            filler.fill(part, tests.classify(raw, pfn, part))
        pfn += count
        parts.append(part)
        if len(part) < count or len(parts) == _BLOCK_CHUNKS:
            yield from _joined(pfn - count + len(part), parts)
            parts = []
    yield from _joined(pfn, parts)


def _joined(end_pfn: int, parts: Sequence[ClassArray]) -> Iterator[PageBlock]:
    classes = np.concatenate([np.empty(0, np.uint8), *parts])
    if len(classes):
        if (classes == classes[0]).all():
            classes = np.broadcast_to(classes[:1].copy(), classes.shape)
        yield PageBlock(end_pfn - len(classes), classes)


def _own_bytes(classes: ClassArray) -> int:
    """How much memory they take: those that are all the same are one byte."""
    return len(classes) if classes.strides[0] else 1


def _chunks(
    memory: KernelMemory, struct_pages: Range, page_bytes: int, pages: int
) -> Iterator[tuple[int, Bytes | None]]:
    """Chunks of ``pages`` struct pages, with their number; None for one that can't be read.

    If either end of such a chunk can be read, smaller ones are tried.
    """
    step_bytes = pages * page_bytes
    for number, raw in enumerate(memory.views(struct_pages, step_bytes)):
        start = struct_pages.start + number * step_bytes
        step = Range(start, min(start + step_bytes, struct_pages.end))
        ends = (step.start, step.end - page_bytes)
        if raw is None and pages > _FEW_PAGES and any(memory.can_read(end, page_bytes) for end in ends):
            yield from _chunks(memory, step, page_bytes, _FEW_PAGES)
        else:
            yield step.size_bytes // page_bytes, raw


class _BlockFiller:
    """Gives all pages of a block the class of its first one, chunk by chunk."""

    def __init__(self) -> None:
        self._left = 0
        self._unfilled = np.empty(CHUNK_PAGES, np.bool_)
        self._class = PageClass.KERNEL.value

    def rest(self, pages: int) -> ClassArray:
        """The classes of those of the next ``pages`` that belong to an earlier block."""
        classes = np.full(min(self._left, pages), self._class, np.uint8)
        self._left -= len(classes)
        return classes

    def fill(self, classes: ClassArray, blocks: Blocks) -> None:
        """Set the classes of ``blocks``, which begin in ``classes``; a block within a block is part of it."""
        begun = self.rest(len(classes))
        here = len(begun)
        classes[:here] = begun
        kept = (blocks.sizes > 1) & (blocks.starts >= here)
        starts, ends = blocks.starts[kept], blocks.starts[kept] + blocks.sizes[kept]
        if not len(starts):
            return
        kept = np.concatenate([[True], starts[1:] >= np.maximum.accumulate(ends)[:-1]])
        starts, ends = starts[kept], ends[kept]
        edges = np.zeros(2 * len(starts) + 2, np.int64)
        edges[1:-1:2], edges[2:-1:2], edges[-1] = starts, np.minimum(ends, len(classes)), len(classes)
        values = np.zeros(2 * len(starts) + 1, np.uint8)
        values[1::2] = classes[starts]
        filled = np.repeat(values, edges[1:] - edges[:-1])
        unfilled = np.equal(filled, _KERNEL, out=self._unfilled[: len(classes)])
        classes *= unfilled.view(np.uint8)
        classes |= filled
        if ends[-1] > len(classes):
            self._left = int(ends[-1]) - len(classes)
            self._class = int(values[-2])

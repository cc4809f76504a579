"""What each page of the crashed kernel was used for: what a dump may leave out.

After the last step of "follow one crash" in docs/architecture.md. Classes and the order of tests are those of
makedumpfile (makedumpfile.c, __exclude_unnecessary_pages()), so that its dump levels mean the same here; what a class
is made of is in Linux's include/linux/page-flags.h and mm/. Which tests a kernel needs is known by what VMCOREINFO
states. No step loops over pages: arrays of :data:`CHUNK_PAGES` struct pages are tested at once.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum, IntFlag
from typing import Any

import numpy as np
import numpy.typing as npt

from fadump.abi.linux import page as abi
from fadump.errors import AddressError, FormatError
from fadump.linux.memory import KernelMemory
from fadump.linux.sections import MemMap, find_mem_maps
from fadump.linux.translate import TranslationError
from fadump.linux.vmcoreinfo import Facts, MissingFactError
from fadump.memory.ranges import Range
from fadump.vmcore.core import Bytes
from fadump.vmcore.notes import STRUCT_ORDER, ByteOrder

CHUNK_PAGES = 1 << 15

_LEAST_STRUCT_BYTES = 32
_MOST_STRUCT_BYTES = 1 << 10
_MOST_ORDER = 40

ClassArray = npt.NDArray[np.uint8]
"""One :class:`PageClass` per page."""
Flags = npt.NDArray[np.bool_]
Words = npt.NDArray[Any]


class PageClass(IntEnum):
    """What a page was used for."""

    KERNEL = 0
    """What no dump level leaves out."""
    FREE = 1
    CACHE = 2
    """Page cache without private data, swap cache."""
    CACHE_PRIVATE = 3
    """Page cache with a file system's private data."""
    USER = 4
    """Anonymous memory of processes, and huge pages."""
    HWPOISON = 5
    """Broken memory: no dump has it."""
    OFFLINE = 6
    """Taken away by a hypervisor's balloon: no dump has it."""
    UNKNOWN = 7
    """The dump doesn't have its struct page, or there is none."""


class DumpLevel(IntFlag):
    """makedumpfile's -d: what to leave out. CACHE_PRIVATE leaves out all of the cache."""

    ZERO = 1
    CACHE = 2
    CACHE_PRIVATE = 4
    USER = 8
    FREE = 16


def left_out(level: DumpLevel) -> frozenset[PageClass]:
    """The classes that a level leaves out; pages of zeros are another matter (:func:`zero_pages`)."""
    out = {PageClass.HWPOISON, PageClass.OFFLINE}
    if level & (DumpLevel.CACHE | DumpLevel.CACHE_PRIVATE):
        out.add(PageClass.CACHE)
    if level & DumpLevel.CACHE_PRIVATE:
        out.add(PageClass.CACHE_PRIVATE)
    if level & DumpLevel.USER:
        out.add(PageClass.USER)
    if level & DumpLevel.FREE:
        out.add(PageClass.FREE)
    return frozenset(out)


def zero_pages(pages: Bytes, page_size: int) -> Flags:
    """Which of some pages, one after the other, are all zeros.

    :raises ValueError: they aren't whole pages.
    """
    if len(pages) % page_size:
        raise ValueError(f"{len(pages):#x} bytes aren't whole pages of {page_size:#x}")
    words = np.ascontiguousarray(pages).view(np.uint64).reshape(-1, page_size // 8)
    return np.asarray(np.bitwise_or.reduce(words, axis=1) == 0)


@dataclass(frozen=True, slots=True)
class PageBlock:
    """The classes of the pages from ``first_pfn`` on."""

    first_pfn: int
    classes: ClassArray


@dataclass(frozen=True, slots=True)
class PageClasses:
    """The classes of all pages; a page number times ``page_size`` is a physical address. Blocks rise."""

    page_size: int
    blocks: Sequence[PageBlock]

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
            pfns = Range(-(-range_.start // self.page_size), -(-range_.end // self.page_size))
            known = 0
            for block in self.blocks:
                both = pfns.intersection(Range.sized(block.first_pfn, len(block.classes)))
                if both is not None:
                    part = block.classes[both.start - block.first_pfn : both.end - block.first_pfn]
                    for at in range(0, len(part), CHUNK_PAGES):  # bincount makes eight bytes of each
                        counts += np.bincount(part[at : at + CHUNK_PAGES], minlength=len(PageClass))
                    known += len(part)
            counts[PageClass.UNKNOWN] += pfns.size_bytes - known
        return {one: int(counts[one]) for one in PageClass}


def classify_pages(memory: KernelMemory) -> PageClasses:
    """The class of every page that the dump's memory has a struct page for.

    :raises MissingFactError: VMCOREINFO doesn't state what the tests need.
    :raises AddressError: the dump doesn't have the table of sections; and see :func:`find_mem_maps`.
    """
    tests = _Tests(memory.facts, memory.byte_order)
    blocks = [PageBlock(one.first_pfn, _classes(memory, tests, one)) for one in find_mem_maps(memory)]
    return PageClasses(memory.facts.page_size(), tuple(blocks))


def _classes(memory: KernelMemory, tests: "_Tests", mem_map: MemMap) -> ClassArray:
    classes = np.empty(mem_map.pages, np.uint8)
    painter = _Painter()
    for start in range(0, mem_map.pages, CHUNK_PAGES):
        part = classes[start : start + CHUNK_PAGES]
        try:
            raw = memory.view(mem_map.virtual + start * tests.page_bytes, len(part) * tests.page_bytes)
        except (AddressError, TranslationError, FormatError):
            part[:] = PageClass.UNKNOWN
            starts = sizes = np.empty(0, np.int64)
        else:
            starts, sizes = tests.classify(raw, mem_map.first_pfn + start, part)
        painter.paint(part, starts, sizes)
    return classes


class _Tests:
    """What to look for in a struct page of one kernel."""

    def __init__(self, facts: Facts, byte_order: ByteOrder) -> None:
        self.page_bytes = facts.size("page")
        if not _LEAST_STRUCT_BYTES <= self.page_bytes <= _MOST_STRUCT_BYTES:
            raise FormatError("size of struct page", offset=0, expected=_MOST_STRUCT_BYTES, found=self.page_bytes)
        self._layout = _page_layout(facts, byte_order, self.page_bytes)
        self._members = frozenset(self._layout.names or ())
        self._lru, self._private, self._swapcache = (
            _flag(facts, f"PG_{name}") for name in ("lru", "private", "swapcache")
        )
        if "NUMBER(PG_swapbacked)" in facts:  # PG_swapcache has another meaning without it
            self._swapcache |= _flag(facts, "PG_swapbacked")
        self._slab_flag, self._hwpoison = (
            _flag(facts, name) if f"NUMBER({name})" in facts else np.uint32(0) for name in ("PG_slab", "PG_hwpoison")
        )
        self._head = np.uint32(_limited(facts, "PG_head_mask", 1 << 32))
        self._slab, self._buddy, self._offline, self._hugetlb = (
            _type_test(facts, f"PAGE_{name}_MAPCOUNT_VALUE") for name in ("SLAB", "BUDDY", "OFFLINE", "HUGETLB")
        )
        if self._buddy is None:
            raise MissingFactError("NUMBER(PAGE_BUDDY_MAPCOUNT_VALUE)")
        self._orders = min(facts.length("zone.free_area"), _MOST_ORDER)
        self._hugetlb_flag = _flag(facts, "PG_hugetlb") if "NUMBER(PG_hugetlb)" in facts else None
        self._hugetlb_dtor = facts.number("HUGETLB_PAGE_DTOR") if "NUMBER(HUGETLB_PAGE_DTOR)" in facts else None
        self._order_is_in_flags = self._hugetlb is not None or self._hugetlb_flag is not None

    def classify(self, raw: Bytes, first_pfn: int, classes: ClassArray) -> tuple[Words, Words]:
        """Fill ``classes`` from as many struct pages.

        The result is where the blocks begin of which one page's class is all pages', and how many pages they have.
        """
        count = len(classes)
        pages = np.frombuffer(raw, self._layout)
        flags, mapcount = (pages[name][:count].astype(np.uint32) for name in ("flags", "_mapcount"))
        mapping, head = (pages[name][:count] for name in ("mapping", "compound_head"))
        slab_flag = flags & self._slab_flag != 0
        slab = slab_flag | _is_type(mapcount, self._slab)
        anonymous = (mapping & np.uint8(abi.MAPPING_ANON) != 0) & ~slab
        cache = (flags & self._lru != 0) | (flags & self._swapcache == self._swapcache)
        cache &= ~anonymous

        # in makedumpfile the first test that holds counts: here, the last that is written
        np.multiply(_is_type(mapcount, self._offline) & ~slab, np.uint8(PageClass.OFFLINE), out=classes)
        classes[flags & self._hwpoison != 0] = PageClass.HWPOISON
        np.copyto(classes, np.uint8(PageClass.USER), where=anonymous)
        heads = np.flatnonzero(flags & self._head)
        orders = self._compound_orders(pages, heads, first_pfn)
        classes[heads[self._are_hugetlb(pages, heads, mapcount)]] = PageClass.USER
        np.copyto(classes, np.uint8(PageClass.CACHE), where=cache)
        np.copyto(classes, np.uint8(PageClass.CACHE_PRIVATE), where=cache & (flags & self._private != 0))

        free = _is_type(mapcount, self._buddy) & ~slab_flag
        tails = head & np.uint8(abi.COMPOUND_TAIL) != 0
        np.copyto(classes, np.uint8(PageClass.KERNEL), where=tails)
        buddies = np.flatnonzero(free & ~tails)
        buddy_orders = pages["private"][buddies].astype(np.uint64)
        classes[buddies] = np.where(buddy_orders < self._orders, PageClass.FREE, PageClass.KERNEL)
        buddies = buddies[buddy_orders < self._orders]
        buddy_orders = buddy_orders[buddy_orders < self._orders].astype(np.int64)

        large = (orders > 0) & (classes[heads] != PageClass.KERNEL) & (classes[heads] != PageClass.FREE)
        starts = np.concatenate([buddies, heads[large]])
        sizes = np.int64(1) << np.concatenate([buddy_orders, orders[large]])
        order = np.argsort(starts, kind="stable")
        return starts[order], sizes[order]

    def _compound_orders(self, pages: Words, heads: Words, first_pfn: int) -> Words:
        """How many pages those from ``heads`` on have together, as powers of two; 0 where that makes no sense.

        The number is in a second page, which is never the first of another chunk: chunks are even, compound pages
        lie at multiples of their size.
        """
        seconds = heads[heads + 1 < len(pages)] + 1
        orders = np.zeros(len(heads), np.int64)
        if self._order_is_in_flags:
            orders[: len(seconds)] = pages["flags"][seconds] & abi.FOLIO_ORDER
        elif "order" in self._members:
            orders[: len(seconds)] = pages["order"][seconds]
        orders[orders > _MOST_ORDER] = 0
        orders[(first_pfn + heads) & (np.int64(1) << orders) - 1 != 0] = 0
        return orders

    def _are_hugetlb(self, pages: Words, heads: Words, mapcount: Words) -> Flags:
        if self._hugetlb is not None:
            return _is_type(mapcount[heads], self._hugetlb)
        seconds = heads[heads + 1 < len(pages)] + 1
        found = np.zeros(len(heads), np.bool_)
        if self._hugetlb_flag is not None:
            found[: len(seconds)] = pages["flags"][seconds] & self._hugetlb_flag != 0
        elif self._hugetlb_dtor is not None and "dtor" in self._members:
            found[: len(seconds)] = pages["dtor"][seconds] == self._hugetlb_dtor
        return found


def _page_layout(facts: Facts, byte_order: ByteOrder, page_bytes: int) -> "np.dtype[np.void]":
    """The members of struct page that are looked at, of wide ones only the low bytes that matter.

    "order" and "dtor" are those of a compound page's second page.
    """
    order = STRUCT_ORDER[byte_order]

    def low(member: str, member_bytes: int, wanted_bytes: int) -> tuple[str, int]:
        skipped = member_bytes - wanted_bytes if byte_order == "big" else 0
        return f"{order}u{wanted_bytes}", facts.offset(member) + skipped

    # the union of compound_head is called compound_info in kernels whose VMCOREINFO says so
    head = "page.compound_info" if "OFFSET(page.compound_info)" in facts else "page.compound_head"
    members = {
        "flags": low("page.flags", 8, 4),
        "mapping": low("page.mapping", 8, 1),
        "_mapcount": low("page._mapcount", 4, 4),
        "private": low("page.private", 8, 8),
        "compound_head": low(head, 8, 1),
    }
    for name in ("order", "dtor"):
        if f"OFFSET(page.compound_{name})" in facts:
            members[name] = ("u1", facts.offset(f"page.compound_{name}"))
        elif f"OFFSET(folio._folio_{name})" in facts:  # from the first page on
            members[name] = ("u1", facts.offset(f"folio._folio_{name}") - page_bytes)
    formats = [format_ for format_, _offset in members.values()]
    offsets = [offset for _format, offset in members.values()]
    for name, (format_, offset) in members.items():
        if not 0 <= offset <= page_bytes - np.dtype(format_).itemsize:
            raise FormatError(f"{name} outside of struct page", offset=offset, expected=page_bytes, found=offset)
    return np.dtype({"names": list(members), "formats": formats, "offsets": offsets, "itemsize": page_bytes})


class _Painter:
    """Gives all pages of a block the class of its first one, chunk by chunk."""

    def __init__(self) -> None:
        self._left = 0
        self._class = PageClass.KERNEL.value

    def paint(self, classes: ClassArray, starts: Words, sizes: Words) -> None:
        """``starts`` rise, and ``sizes`` are those of the blocks there; blocks within blocks count as part of them."""
        here = min(self._left, len(classes))
        classes[:here] = self._class
        self._left -= here
        kept = (sizes > 1) & (starts >= here)
        starts, ends = starts[kept], starts[kept] + sizes[kept]
        if not len(starts):
            return
        kept = np.concatenate([[True], starts[1:] >= np.maximum.accumulate(ends)[:-1]])
        starts, ends = starts[kept], ends[kept]
        kinds = classes[starts].astype(np.int8)
        steps = np.zeros(len(classes) + 1, np.int8)
        steps[starts] = kinds
        steps[np.minimum(ends, len(classes))] -= kinds
        painted = np.cumsum(steps[:-1], dtype=np.int8)
        np.copyto(classes, painted.view(np.uint8), where=painted != 0)
        if ends[-1] > len(classes):
            self._left = int(ends[-1]) - len(classes)
            self._class = int(kinds[-1])


def _flag(facts: Facts, name: str) -> np.uint32:
    return np.uint32(1 << _limited(facts, name, 32))


def _limited(facts: Facts, name: str, limit: int) -> int:
    """A number of VMCOREINFO that has to do with page.flags, of which Linux uses 32 bits for flags."""
    value = facts.number(name)
    if not 0 <= value < limit:
        raise FormatError(f"VMCOREINFO's NUMBER({name})", offset=0, expected=f"below {limit}", found=value)
    return value


def _type_test(facts: Facts, name: str) -> tuple[np.uint32, np.uint32] | None:
    if f"NUMBER({name})" not in facts:
        return None
    mask, expected = abi.type_test(facts.number(name))
    return np.uint32(mask), np.uint32(expected)


def _is_type(mapcount: Words, test: tuple[np.uint32, np.uint32] | None) -> Flags:
    if test is None:
        return np.zeros(len(mapcount), np.bool_)
    return np.asarray(mapcount & test[0] == test[1])

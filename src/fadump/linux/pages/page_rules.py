"""The tests for the class of a page, run on an array of struct pages at once.

Classes and the order of tests are those of makedumpfile (makedumpfile.c, __exclude_unnecessary_pages()); the flags and
types are in Linux's include/linux/page-flags.h and mm/. VMCOREINFO shows which tests a kernel needs.

Most of the time goes into fetching struct pages from memory, a cache line for each. So the members that are tested are
copied out first, a strip of struct pages at a time, which stays in the processor's cache until all its members are
copied. The tests then run over arrays without gaps, and write into arrays that are reused.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from fadump.abi.layout import ByteOrder
from fadump.abi.linux import page as abi
from fadump.errors import FormatError
from fadump.linux.pages.page_class import PageClass
from fadump.linux.pages.page_layout import SecondPage, page_layout
from fadump.linux.vmcoreinfo import Facts
from fadump.vmcore.contract import Bytes

_STRIP_PAGES = 1 << 13
_LEAST_STRUCT_BYTES = 32
_MOST_STRUCT_BYTES = 1 << 10
_MOST_ORDER = 40

ClassArray = npt.NDArray[np.uint8]
"""One :class:`PageClass` per page."""
Flags = npt.NDArray[np.bool_]
Words = npt.NDArray[Any]

_NO_FLAG = np.uint32(0)
_ANON, _TAIL = np.uint8(abi.MAPPING_ANON), np.uint8(abi.COMPOUND_TAIL)
# numpy is much faster with its own numbers than with an enum's
_KERNEL, _OFFLINE, _HWPOISON, _USER, _CACHE, _CACHE_PRIVATE, _FREE = (
    np.uint8(getattr(PageClass, name).value)
    for name in ("KERNEL", "OFFLINE", "HWPOISON", "USER", "CACHE", "CACHE_PRIVATE", "FREE")
)


@dataclass(frozen=True, slots=True)
class Blocks:
    """Where blocks of pages begin, rising, and how many pages each has; its first page's class is the whole block's."""

    starts: Words
    sizes: Words


class PageTests:
    """The tests for struct pages of one kernel. Not thread-safe."""

    def __init__(self, facts: Facts, byte_order: ByteOrder, most_pages: int) -> None:
        """``most_pages`` is the most that :meth:`classify` is given; memory is allocated for that.

        :raises MissingFactError: VMCOREINFO doesn't state what the tests need.
        :raises FormatError: VMCOREINFO makes no sense.
        """
        self.page_bytes = facts.size("page")
        if not _LEAST_STRUCT_BYTES <= self.page_bytes <= _MOST_STRUCT_BYTES:
            wanted = f"{_LEAST_STRUCT_BYTES} to {_MOST_STRUCT_BYTES}"
            raise FormatError(f"VMCOREINFO's SIZE(page) is {self.page_bytes}, not {wanted}")
        self._lru, self._private, self._swapcache = (
            _flag(facts, f"PG_{name}") for name in ("lru", "private", "swapcache")
        )
        if "NUMBER(PG_swapbacked)" in facts:  # PG_swapcache has another meaning without it
            self._swapcache |= _flag(facts, "PG_swapbacked")
        self._slab_flag, self._hwpoison, self._hugetlb_flag = (
            _flag(facts, name) if f"NUMBER({name})" in facts else None
            for name in ("PG_slab", "PG_hwpoison", "PG_hugetlb")
        )
        self._head = np.uint32(_limited(facts, "PG_head_mask", 1 << 32) if "NUMBER(PG_head_mask)" in facts else 0)
        self._orders = min(facts.length("zone.free_area"), _MOST_ORDER)

        types = {
            name: abi.type_test(facts.number(f"PAGE_{name}_MAPCOUNT_VALUE"))
            for name in ("SLAB", "BUDDY", "OFFLINE", "HUGETLB")
            if f"NUMBER(PAGE_{name}_MAPCOUNT_VALUE)" in facts
        }
        in_top_byte = bool(types) and all(mask == abi.TYPE_BYTE for mask, _expected in types.values())
        type_of, shift = (np.uint8, abi.TYPE_BYTE_SHIFT) if in_top_byte else (np.uint32, 0)
        tests = {name: (type_of(mask >> shift), type_of(expected >> shift)) for name, (mask, expected) in types.items()}
        self._slab, self._offline, self._hugetlb = (tests.get(name) for name in ("SLAB", "OFFLINE", "HUGETLB"))
        self._buddy = tests.get("BUDDY") if "OFFSET(page.private)" in facts else None
        order_in_flags = self._hugetlb is not None or self._hugetlb_flag is not None
        self._second = SecondPage.stated(facts, order_in_flags=order_in_flags)
        layout = page_layout(facts, byte_order, self.page_bytes, types_in_top_byte=in_top_byte, has_types=bool(types))
        self._layout = layout
        self._columns = _Columns(most_pages, type_of, layout.names or ())

    @property
    def knows_free_pages(self) -> bool:
        """Whether a free page is known by its own struct page; before v3.10, VMCOREINFO doesn't say how."""
        return self._buddy is not None

    def classify(self, raw: Bytes, first_pfn: int, classes: ClassArray) -> Blocks:
        """Fill ``classes`` from as many struct pages, each by itself; return the blocks that begin with one of them."""
        pages = np.frombuffer(raw, self._layout)
        columns = self._columns.of(len(pages))
        columns.fetch(pages)
        heads = np.flatnonzero(columns.any_flag(self._head, columns.mask))
        self._test(columns, classes)
        huge = heads[self._are_hugetlb(pages, heads, columns.types)]
        classes[huge] = np.maximum(classes[huge], _USER)
        classes *= columns.not_tail.view(np.uint8)
        _raise(classes, columns.free, _FREE, columns.product)

        buddies = np.flatnonzero(columns.free)
        buddy_orders = pages["private"][buddies] if self._buddy is not None else np.empty(0, np.uint64)
        small = buddy_orders < self._orders
        classes[buddies[~small]] = _KERNEL
        orders = self._compound_orders(pages, heads, first_pfn)
        large = (orders > 0) & (classes[heads] != _KERNEL) & (classes[heads] != _FREE)
        starts = np.concatenate([buddies[small], heads[large]])
        sizes = np.int64(1) << np.concatenate([buddy_orders[small].astype(np.int64), orders[large]])
        order = np.argsort(starts, kind="stable")
        return Blocks(starts[order], sizes[order])

    def _test(self, columns: "_Columns", classes: ClassArray) -> None:
        """Run every test that needs only the page itself; the sizes of free blocks and compound pages come later."""
        mask, not_slab, anonymous, cache = columns.mask, columns.not_slab, columns.anonymous, columns.cache
        not_slab[:] = True
        if self._slab_flag is not None:
            np.logical_not(columns.any_flag(self._slab_flag, mask), out=not_slab)
        free = columns.free
        if self._buddy is None:
            free[:] = False
        else:
            columns.is_type(self._buddy, free)
            free &= not_slab
            free &= columns.not_tail
        if self._slab is not None:
            not_slab &= np.logical_not(columns.is_type(self._slab, mask), out=mask)
        anonymous &= not_slab
        columns.all_flags(self._swapcache, cache)
        cache |= columns.any_flag(self._lru, mask)
        cache &= np.logical_not(anonymous, out=mask)

        classes[:] = _KERNEL
        if self._offline is not None:
            columns.is_type(self._offline, mask)
            mask &= not_slab
            _raise(classes, mask, _OFFLINE, columns.product)
        if self._hwpoison is not None:
            _raise(classes, columns.any_flag(self._hwpoison, mask), _HWPOISON, columns.product)
        _raise(classes, anonymous, _USER, columns.product)
        _raise(classes, cache, _CACHE, columns.product)
        cache &= columns.any_flag(self._private, mask)
        _raise(classes, cache, _CACHE_PRIVATE, columns.product)

    def _compound_orders(self, pages: Words, heads: Words, first_pfn: int) -> Words:
        """The orders of the compound pages at ``heads``, of 2^order pages each; 0 for one that makes no sense.

        An order is in the second page, which is always in the same array as the first: arrays begin at even page
        numbers, compound pages at multiples of their size.
        """
        seconds = heads[heads + 1 < len(pages)] + 1
        orders = np.zeros(len(heads), np.int64)
        orders[: len(seconds)] = self._second.orders(pages, seconds)
        orders[(orders < 0) | (orders > _MOST_ORDER)] = 0
        orders[(first_pfn + heads) & (np.int64(1) << orders) - 1 != 0] = 0
        return orders

    def _are_hugetlb(self, pages: Words, heads: Words, types: Words) -> Flags:
        if self._hugetlb is not None:
            mask, expected = self._hugetlb
            return np.asarray(types[heads] & mask == expected)
        seconds = heads[heads + 1 < len(pages)] + 1
        found = np.zeros(len(heads), np.bool_)
        if self._hugetlb_flag is not None:
            found[: len(seconds)] = pages["flags"][seconds] & self._hugetlb_flag != 0
        else:
            found[: len(seconds)] = self._second.are_hugetlb(pages, seconds)
        return found


class _Columns:
    """An array for each member of struct pages, and arrays for what is computed from them."""

    def __init__(self, pages: int, type_of: "type[np.uint8 | np.uint32]", members: Sequence[str]) -> None:
        self._type_of = type_of
        self._has = frozenset(members)
        self.flags, self._flags_tested = np.empty((2, pages), np.uint32)
        self.types, self._types_tested = np.empty((2, pages), type_of)
        self.anonymous, self.not_tail = np.empty((2, pages), np.bool_)
        self.not_slab, self.cache, self.free, self.mask = np.empty((4, pages), np.bool_)
        self.types[:] = 0  # of no type, where struct page's word for it isn't known
        self.product = np.empty(pages, np.uint8)
        self._flags_seen = _NO_FLAG

    def of(self, pages: int) -> "_Columns":
        """Columns for ``pages`` struct pages: these if the number is right, else new ones."""
        return self if pages == len(self.flags) else _Columns(pages, self._type_of, tuple(self._has))

    def fetch(self, pages: Words) -> None:
        """Copy the members out."""
        anonymous, not_tail = self.anonymous.view(np.uint8), self.not_tail.view(np.uint8)
        copies = {"flags": self.flags, "_mapcount": self.types, "mapping": anonymous, "compound_head": not_tail}
        members = [pages[name] for name in copies if name in self._has]
        arrays = [array for name, array in copies.items() if name in self._has]
        for start in range(0, len(pages), _STRIP_PAGES):
            strip = slice(start, start + _STRIP_PAGES)
            for array, member in zip(arrays, members, strict=True):
                array[strip] = member[strip]
        anonymous &= _ANON
        not_tail &= _TAIL
        not_tail ^= _TAIL
        self._flags_seen = np.bitwise_or.reduce(self.flags)

    def any_flag(self, bits: np.uint32, out: Flags) -> Flags:
        """Which pages have one of some flags."""
        if not self._flags_seen & bits:
            out[:] = False
            return out
        np.bitwise_and(self.flags, bits, out=self._flags_tested)
        return np.not_equal(self._flags_tested, _NO_FLAG, out=out)

    def all_flags(self, bits: np.uint32, out: Flags) -> Flags:
        """Which pages have all of some flags."""
        if self._flags_seen & bits != bits:
            out[:] = False
            return out
        np.bitwise_and(self.flags, bits, out=self._flags_tested)
        return np.equal(self._flags_tested, bits, out=out)

    def is_type(self, test: tuple[Any, Any], out: Flags) -> Flags:
        """Which pages are of a type: ``types & mask == expected``."""
        mask, expected = test
        np.bitwise_and(self.types, mask, out=self._types_tested)
        return np.asarray(np.equal(self._types_tested, expected, out=out))


def _raise(classes: ClassArray, where: Flags, to: np.uint8, product: ClassArray) -> None:
    """Raise the classes of some pages to ``to``; higher ones stay."""
    np.multiply(where.view(np.uint8), to, out=product)
    np.maximum(classes, product, out=classes)


def _flag(facts: Facts, name: str) -> np.uint32:
    return np.uint32(1 << _limited(facts, name, 32))


def _limited(facts: Facts, name: str, limit: int) -> int:
    """A number of VMCOREINFO about page.flags, of which Linux uses 32 bits for flags."""
    value = facts.number(name)
    if not 0 <= value < limit:
        raise FormatError(f"VMCOREINFO's NUMBER({name}) is {value}, not 0 to {limit - 1}")
    return value

"""What the model kernel's pages are used for: struct pages like those of a running system, from a seed.

No step of its own in docs/architecture.md. Linux mm/page_alloc.c (free blocks are at multiples of their size, and two
buddies are merged), include/linux/page-flags.h. The mix: half of memory is free in blocks of 2 and 16 MiB; a part is
huge anonymous pages; the rest is single pages and small compound ones of the page cache, of processes, of slab and of
the kernel itself. No Python code loops over pages.
"""

from enum import IntEnum

import numpy as np
import numpy.typing as npt

from fadump.abi.linux import page as abi
from fadump.abi.linux.page_table import PAGE_OFFSET
from fadump.kernel.image.content import seeded
from fadump.kernel.image.page_layout import (
    DTOR_COMPOUND,
    LARGEST_BLOCK_BYTES,
    NO_MAPCOUNT,
    PAGE,
    STRUCT_BYTES,
    PageLayout,
)
from fadump.kernel.traits import MIB

Pages = npt.NDArray[np.void]
Mask = npt.NDArray[np.bool_]
Numbers = npt.NDArray[np.int64]

_HUGE_BYTES = 2 * MIB
_GROUP_PAGES = 4
"""The number of pages in a small compound page."""
_INODE, _ANON_VMA, _BUFFER_HEAD = PAGE_OFFSET | 0x12_3400, PAGE_OFFSET | 0x12_5600, PAGE_OFFSET | 0x12_7800
_ALL_FREE, _BLOCK_FREE, _BLOCK_HUGE = 0.35, 0.5, 0.12


class Use(IntEnum):
    """What a single page is used for."""

    KERNEL = 0
    SLAB = 1
    CACHE = 2
    CACHE_PRIVATE = 3
    """Page cache with a file system's private data."""
    ANON = 4
    FREE = 5


_SHARES = (0.12, 0.16, 0.36, 0.06, 0.26, 0.04)
_GROUP_SHARES = {Use.SLAB: 0.06, Use.CACHE: 0.08}
_UNUSED = np.zeros((), PAGE)
_UNUSED["mapcount"] = NO_MAPCOUNT


def reserved_pages(count: int, layout: PageLayout) -> Pages:
    """``count`` struct pages of memory that the kernel has reserved."""
    pages = np.zeros(count, PAGE)
    pages["flags"] = 1 << layout.reserved
    pages["mapcount"] = NO_MAPCOUNT
    pages["refcount"] = 1
    return pages


def mixed_pages(pages: Pages, usable: Mask, virtual: int, page_bytes: int, layout: PageLayout, seed: str) -> Mask:
    """Change those of ``pages`` that are ``usable``; return which of them are in use then.

    ``pages`` begin at a multiple of the largest free block, and their struct pages at ``virtual``.
    """
    rng = np.random.default_rng(seeded(seed).getrandbits(64))
    pages[usable] = _UNUSED
    left = usable.copy()
    largest, huge = (size_bytes // page_bytes for size_bytes in (LARGEST_BLOCK_BYTES, _HUGE_BYTES))
    _free(pages, _take_blocks(rng, left, largest, _ALL_FREE), largest, layout)
    _free(pages, _take_blocks(rng, left, huge, _BLOCK_FREE, buddies=False), huge, layout)
    used = left.copy()
    heads = _take_blocks(rng, left, huge, _BLOCK_HUGE)
    _use(pages, heads, Use.ANON, layout)
    _compound(pages, heads, huge, virtual, layout)
    for kind, share in _GROUP_SHARES.items():
        heads = _take_blocks(rng, left, _GROUP_PAGES, share)
        _use(pages, heads, kind, layout)
        _compound(pages, heads, _GROUP_PAGES, virtual, layout)
    singles = np.flatnonzero(left)
    kinds = rng.choice(len(_SHARES), len(singles), p=_SHARES)
    kinds[(kinds == Use.FREE) & (singles % 2 == 1)] = Use.ANON  # at most one of two buddies: two would be merged
    for kind in Use:
        _use(pages, singles[kinds == kind], kind, layout)
    _free(pages, singles[kinds == Use.FREE], 1, layout)
    used[singles[kinds == Use.FREE]] = False
    return used


def _take_blocks(rng: np.random.Generator, left: Mask, size: int, share: float, *, buddies: bool = True) -> Numbers:
    """Take a share of the blocks of ``size`` pages that are still whole; return where they begin.

    Without ``buddies``, never both buddies of a pair.
    """
    blocks = left.reshape(-1, size)
    chosen = blocks.all(axis=1) & (rng.random(len(blocks)) < share)
    if not buddies:
        chosen[1::2] = False
    blocks[chosen] = False
    return np.flatnonzero(chosen) * size


def _free(pages: Pages, heads: Numbers, size: int, layout: PageLayout) -> None:
    pages["mapcount"][heads] = layout.buddy_type
    pages["private"][heads] = size.bit_length() - 1


def _use(pages: Pages, index: Numbers, kind: Use, layout: PageLayout) -> None:
    flags = 0
    match kind:
        case Use.SLAB if layout.slab is not None:
            flags = 1 << layout.slab
        case Use.SLAB:
            pages["mapcount"][index] = layout.slab_type
        case Use.CACHE | Use.CACHE_PRIVATE:
            flags = 1 << layout.lru | 1 << layout.uptodate
            pages["mapping"][index] = _INODE
            pages["index"][index] = index
        case Use.ANON:
            flags = 1 << layout.lru | 1 << layout.uptodate | 1 << layout.swapbacked
            pages["mapping"][index] = _ANON_VMA | abi.MAPPING_ANON
            pages["mapcount"][index] = 0
    if kind is Use.CACHE_PRIVATE:
        flags |= 1 << layout.private
        pages["private"][index] = _BUFFER_HEAD
    pages["flags"][index] = flags
    pages["refcount"][index] = int(kind is not Use.FREE)


def _compound(pages: Pages, heads: Numbers, size: int, virtual: int, layout: PageLayout) -> None:
    """Make a compound page of ``size`` pages at each of ``heads``; the first page's use is that of all."""
    pages["flags"][heads] |= np.uint64(1 << layout.head)
    tails = heads[:, None] + np.arange(1, size)
    pages["head"][tails] = (np.uint64(virtual) + heads.astype(np.uint64) * np.uint64(STRUCT_BYTES))[
        :, None
    ] | np.uint64(abi.COMPOUND_TAIL)
    order = size.bit_length() - 1
    if layout.order_in_flags:
        pages["flags"][heads + 1] = order
    else:
        pages["dtor"][heads + 1], pages["order"][heads + 1] = DTOR_COMPOUND, order

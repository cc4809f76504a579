"""The layout of the model kernel's struct page, and VMCOREINFO's lines about it.

Linux include/linux/mm_types.h, page-flags.h and mmzone.h, with CONFIG_MEMCG as distributions have it: 64 bytes.

    0x00 flags   0x08 lru, compound_head   0x18 mapping   0x20 index   0x28 private   0x30 _mapcount   0x34 _refcount

The first page of a compound page has PG_head; the others point to it with bit 0 set, and the second one has the order:
since Linux kernel commit ebc1baf5c9b4 (in v6.6) in the low byte of its flags, before that in a byte of its own.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from fadump.kernel.traits import KernelTraits

STRUCT_BYTES = 64
SECTION_BITS = 24
"""SECTION_SIZE_BITS: a section is 16 MiB."""
MAX_PHYSICAL_BITS = 51
SECTION_STRUCT_BYTES = 16
"""sizeof(struct mem_section): section_mem_map, then members that aren't used here."""
LARGEST_BLOCK_BYTES = 1 << SECTION_BITS
"""The size of the buddy allocator's largest blocks, with any page size: CONFIG_ARCH_FORCE_MAX_ORDER."""
NO_MAPCOUNT = 0xFFFF_FFFF
SECOND_DTOR_OFFSET, SECOND_ORDER_OFFSET = 16, 17
DTOR_COMPOUND, DTOR_HUGETLB = 1, 2

PAGE = np.dtype(
    {
        "names": ["flags", "head", "dtor", "order", "mapping", "index", "private", "mapcount", "refcount"],
        "formats": ["<u8", "<u8", "u1", "u1", "<u8", "<u8", "<u8", "<u4", "<u4"],
        "offsets": [0, 8, SECOND_DTOR_OFFSET, SECOND_ORDER_OFFSET, 24, 32, 40, 48, 52],
        "itemsize": STRUCT_BYTES,
    }
)
"""Members that overlap are of different pages."""


@dataclass(frozen=True, slots=True)
class PageLayout:
    """The bits and values of one kernel. If ``slab_type`` is None, slab pages have the flag ``slab``."""

    lru: int
    private: int
    swapcache: int
    swapbacked: int
    reserved: int
    uptodate: int
    head: int
    slab: int | None
    slab_type: int | None
    buddy_type: int
    offline_type: int
    hugetlb_type: int | None
    order_in_flags: bool

    def facts(self) -> Mapping[str, str]:
        """VMCOREINFO's lines about them."""
        numbers = {
            "PG_lru": self.lru, "PG_private": self.private, "PG_swapcache": self.swapcache,
            "PG_swapbacked": self.swapbacked, "PG_slab": self.slab,
            "PAGE_SLAB_MAPCOUNT_VALUE": _signed(self.slab_type), "PG_head_mask": 1 << self.head,
            "PAGE_BUDDY_MAPCOUNT_VALUE": _signed(self.buddy_type),
            "HUGETLB_PAGE_DTOR": None if self.order_in_flags else DTOR_HUGETLB,
            "PAGE_HUGETLB_MAPCOUNT_VALUE": _signed(self.hugetlb_type),
            "PAGE_OFFLINE_MAPCOUNT_VALUE": _signed(self.offline_type),
        }  # fmt: skip
        return {f"NUMBER({name})": str(value) for name, value in numbers.items() if value is not None}


_TYPED = PageLayout(
    lru=5, private=14, swapcache=10, swapbacked=17, reserved=13, uptodate=3, head=6, slab=None, slab_type=0xF500_0000,
    buddy_type=0xF000_0000, offline_type=0xF100_0000, hugetlb_type=0xF400_0000, order_in_flags=True,
)  # fmt: skip
_BEFORE = PageLayout(
    lru=4, private=13, swapcache=10, swapbacked=19, reserved=12, uptodate=2, head=16, slab=9, slab_type=None,
    buddy_type=~0x80 & NO_MAPCOUNT, offline_type=~0x100 & NO_MAPCOUNT, hugetlb_type=None, order_in_flags=False,
)  # fmt: skip


def page_layout(kernel: KernelTraits) -> PageLayout:
    """The layout of a kernel."""
    return _TYPED if kernel.typed_pages else _BEFORE


def _signed(word: int | None) -> int | None:
    """``word`` as a signed 32-bit number, which is how C prints it with %ld."""
    return None if word is None else word - (1 << 32) if word >> 31 else word

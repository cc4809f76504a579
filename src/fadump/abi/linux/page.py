"""struct page: the bits that tell what a page is used for, as far as VMCOREINFO doesn't state them.

Linux: include/linux/page-flags.h, include/linux/mmzone.h, include/linux/mm_types.h.

The word _mapcount is also page_type. What VMCOREINFO calls PAGE_BUDDY_MAPCOUNT_VALUE and the like has had three forms:
the type in the top byte since Linux 6.12; before that, all bits set but the type's own; before Linux 4.18 a value.
"""

MAPPING_ANON = 1
"""In page.mapping: memory of a process, not of a file."""
COMPOUND_TAIL = 1
"""In page.compound_head: the page belongs to the one that the rest of the word points to."""
FOLIO_ORDER = 0xFF
"""In the flags of a compound page's second page: how many pages it has, as a power of two."""

SECTION_HAS_MEM_MAP = 1 << 1
"""In mem_section.section_mem_map: the section has struct pages."""
SECTION_MAP_FLAGS = 0xFF
"""The bits of section_mem_map that are flags, or always 0."""

TYPE_BYTE = 0xFF00_0000
"""Of _mapcount, what a type is in since Linux 6.12."""
TYPE_BYTE_SHIFT = 24

_TYPED = 0x8000_0000
_WORD = 0xFFFF_FFFF


def type_test(value: int) -> tuple[int, int]:
    """How to test _mapcount for one of VMCOREINFO's PAGE_*_MAPCOUNT_VALUE: ``_mapcount & mask == expected``."""
    word = value & _WORD
    bit = ~word & _WORD
    if not word & ~TYPE_BYTE:
        return TYPE_BYTE, word
    if bit and not bit & (bit - 1):
        return _TYPED | bit, _TYPED
    return _WORD, word

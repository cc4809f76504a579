"""struct page: the bits that show what a page is used for and aren't in VMCOREINFO.

Linux: include/linux/page-flags.h, include/linux/mmzone.h, include/linux/mm_types.h.

The word _mapcount is also page_type. What VMCOREINFO calls PAGE_BUDDY_MAPCOUNT_VALUE and the like has had three forms:
the type in the top byte since Linux 6.12; before that, all bits set but the type's own; before Linux 4.18 a value.
"""

MAPPING_ANON = 1
"""In page.mapping: memory of a process, not of a file."""
COMPOUND_TAIL = 1
"""In page.compound_head: the rest of the word points to the compound page's first page."""
FOLIO_ORDER = 0xFF
"""In the flags of a compound page's second page: its order, for 2^order pages."""

SECTION_SIZE_BITS = 24
"""The size of a memory section on ppc64, as a power of two, in every kernel: arch/powerpc/include/asm/sparsemem.h."""
SECTION_HAS_MEM_MAP = 1 << 1
"""In mem_section.section_mem_map: the section has struct pages."""
SECTION_MAP_FLAGS = 0xFF
"""The bits of section_mem_map that are flags, or always 0."""

TYPE_BYTE = 0xFF00_0000
"""The byte of _mapcount that has the type since Linux 6.12."""
TYPE_BYTE_SHIFT = 24

_TYPED = 0x8000_0000
_WORD = 0xFFFF_FFFF


def type_test(value: int) -> tuple[int, int]:
    """Mask and expected value for one of VMCOREINFO's PAGE_*_MAPCOUNT_VALUE: ``_mapcount & mask == expected``."""
    word = value & _WORD
    bit = ~word & _WORD
    if not word & ~TYPE_BYTE:
        return TYPE_BYTE, word
    if bit and not bit & (bit - 1):
        return _TYPED | bit, _TYPED
    return _WORD, word

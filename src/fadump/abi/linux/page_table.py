"""Page tables of ppc64 book3s in Linux: the index bits of each level, and the bits of an entry.

Linux: arch/powerpc/include/asm/book3s/64/radix-4k.h, radix-64k.h, hash-4k.h, hash-64k.h and pgtable.h. Entries
are 64 bits wide and big-endian, whatever the kernel's byte order; pointers to the next level are physical. Radix and
hash use the same tables: with hash, the hardware doesn't read them, but Linux fills them in the same way.

    bit 63      present (leaf), valid (pointer)
    bit 62      leaf
    bits 0..52  of a leaf: the physical address, except for the bits below the page size, which are flags
    bits 8..61  of a pointer: the physical address of the next table
"""

from collections.abc import Mapping
from types import MappingProxyType

ENTRY_BYTES = 8
PRESENT = 1 << 63
LEAF = 1 << 62
LEAF_ADDRESS = (1 << 53) - 1
POINTER_ADDRESS = (1 << 62) - (1 << 8)

PAGE_OFFSET = 0xC000_0000_0000_0000
"""The virtual address of physical 0."""
LINEAR_END = 0xC008_0000_0000_0000
"""The highest possible end of the linear map: 51 bits of physical address."""
HASH_4K_LINEAR_END = 0xC000_3D00_0000_0000
"""The same with hash and pages of 4 KiB: H_KERN_VIRT_START since 0034d395f89d (in v5.2)."""
MMU_FTR_TYPE_RADIX = 0x40
"""In cpu_spec.mmu_features."""

RADIX_INDEX_BITS: Mapping[int, tuple[int, int, int, int]] = MappingProxyType(
    {1 << 12: (13, 9, 9, 9), 1 << 16: (13, 9, 9, 5)}
)
"""By page size in bytes: index bits of PGD, PUD, PMD and PTE."""
HASH_INDEX_BITS: Mapping[int, tuple[int, int, int, int]] = MappingProxyType(
    {1 << 12: (9, 9, 7, 9), 1 << 16: (8, 10, 10, 8)}
)
"""The same with hash; for 64 KiB, since Linux 4.17."""

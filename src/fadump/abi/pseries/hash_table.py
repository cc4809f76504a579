"""The hash page table of a guest, which the HPTE section of a dump has: groups of eight entries, all big-endian.

Power ISA, Book III, "Hash Page Table" and "Page Table Entry"; Linux arch/powerpc/include/asm/book3s/64/mmu-hash.h and
arch/powerpc/mm/book3s64/hash_native.c.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntFlag
from typing import Annotated

from fadump.abi.layout import Buffer, Layout, u64

ENTRIES_PER_GROUP = 8
LEAST_TABLE_BYTES = 1 << 18
HPTE_BYTES = 0x1000
"""How much of a table is usually saved: Documentation/arch/powerpc/firmware-assisted-dump.rst, fadump_region."""
_SHARE_SHIFT = 7
_SEGMENT_SHIFT = 62
AVPN_SHIFT, AVPN_BITS = 7, 55
_RPN_MASK = 0x0FFF_FFFF_FFFF_F000
SEGMENT_BITS = (28, 40)
"""The size of a segment, by the segment size field: 256 MiB and 1 TiB; it has no other value."""


class EntryFlag(IntFlag):
    """Bits of an entry's first doubleword. The last two are software's: Linux's, which a hypervisor leaves alone."""

    VALID = 1 << 0
    SECONDARY = 1 << 1
    LARGE = 1 << 2
    LOCKED = 1 << 3
    BOLTED = 1 << 4


class Access(IntFlag):
    """Bits of an entry's second doubleword: how the page may be used, how it is cached, and whether it was used."""

    NO_EXECUTE = 1 << 2
    GUARDED = 1 << 3
    COHERENT = 1 << 4
    NO_CACHE = 1 << 5
    WRITE_THROUGH = 1 << 6
    CHANGED = 1 << 7
    REFERENCED = 1 << 8


@dataclass(frozen=True, slots=True)
class HashTableEntry:
    """An entry, as it is in memory."""

    virtual: Annotated[int, u64(0)]
    real: Annotated[int, u64(8)]

    @property
    def flags(self) -> EntryFlag:
        """Those of the first doubleword."""
        return EntryFlag(self.virtual & sum(EntryFlag))

    @property
    def access(self) -> Access:
        """Those of the second one."""
        return Access(self.real & sum(Access))

    @property
    def is_valid(self) -> bool:
        """Whether it translates anything."""
        return bool(self.virtual & EntryFlag.VALID)

    @property
    def segment_size(self) -> int:
        """Its segment size field, an index of :data:`SEGMENT_BITS` unless it is damaged."""
        return self.virtual >> _SEGMENT_SHIFT

    @property
    def avpn(self) -> int:
        """The abbreviated virtual page number: the virtual address without its lowest 23 bits."""
        return self.virtual >> AVPN_SHIFT & (1 << AVPN_BITS) - 1

    @property
    def real_page(self) -> int:
        """The real page number, as an address; its low bits say the page's size if that is LARGE."""
        return self.real & _RPN_MASK

    @property
    def protection(self) -> int:
        """The page protection, three bits of which the highest stands apart."""
        return self.real >> 63 << 2 | self.real & 3


ENTRY = Layout(HashTableEntry, "hash page table entry")
GROUP_BYTES = ENTRIES_PER_GROUP * ENTRY.size_bytes


def decode(table: Buffer) -> Iterator[HashTableEntry]:
    """The entries of a table or of its beginning, of whole entries."""
    return ENTRY.decode_all(table)


def looks_like_entries(data: Buffer) -> bool:
    """Whether these may be entries of a table, which has no magic: each is valid, or has zeros only."""
    whole = memoryview(data)[: len(data) // ENTRY.size_bytes * ENTRY.size_bytes]
    return all(
        entry.segment_size < len(SEGMENT_BITS) if entry.is_valid else not (entry.virtual or entry.real)
        for entry in decode(whole)
    )


def usual_bytes(memory_bytes: int) -> int:
    """How large the table of a guest with so much memory is on QEMU: a power of two, near a 128th
    (hw/ppc/spapr.c, spapr_hpt_shift_for_ramsize())."""
    return max(LEAST_TABLE_BYTES, 1 << max(memory_bytes - 1, 0).bit_length() >> _SHARE_SHIFT)

import struct

import pytest

from fadump.abi.pseries.hash_table import Access, EntryFlag, decode, usual_bytes

GIB = 1 << 30


def test_an_entry_by_the_bits_of_the_power_isa():
    """Book III, "Page Table Entry": the bits of a doubleword are numbered from its left."""
    virtual = 0b01 << 62 | 0x1234 << 7 | 1 << (63 - 61) | 1 << (63 - 62) | 1 << (63 - 63)
    real = 1 << (63 - 0) | 0x5678 << 12 | 1 << (63 - 55) | 1 << (63 - 59) | 1 << (63 - 61) | 0b10
    (entry,) = decode(struct.pack(">QQ", virtual, real))
    assert entry.is_valid and entry.segment_size == 1
    assert (entry.avpn, entry.real_page, entry.protection) == (0x1234, 0x567_8000, 0b110)
    assert entry.flags == EntryFlag.LARGE | EntryFlag.SECONDARY | EntryFlag.VALID
    assert entry.access == Access.REFERENCED | Access.COHERENT | Access.NO_EXECUTE


def test_linuxs_own_bits():
    """HPTE_V_BOLTED and HPTE_V_LOCK in asm/book3s/64/mmu-hash.h."""
    (entry,) = decode(struct.pack(">QQ", 0x18, 0))
    assert entry.flags == EntryFlag.BOLTED | EntryFlag.LOCKED
    assert not entry.is_valid


@pytest.mark.parametrize(
    ("memory_bytes", "table_bytes"),
    [
        (1 << 20, 1 << 18),
        (GIB, GIB // 128),
        (GIB + 1, GIB // 64),
        (3 * GIB, 4 * GIB // 128),
        (64 << 40, 512 * GIB),
    ],
)
def test_a_table_is_a_128th_of_memory_or_more(memory_bytes, table_bytes):
    assert usual_bytes(memory_bytes) == table_bytes

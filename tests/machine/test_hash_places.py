"""Where an entry of a hash page table belongs, by entries that were made by hand."""

import pytest

from fadump.kernel.image.content import seeded
from fadump.machine.hash_places import misplaced

GROUPS = 1 << 14
TABLE_BYTES = GROUPS * 128
SECONDARY, VALID = 2, 1


def table(*entries):
    """``entries`` are (group, first doubleword)."""
    data = bytearray(GROUPS * 128)
    for group, virtual in entries:
        data[group * 128 : group * 128 + 8] = virtual.to_bytes(8, "big")
    return bytes(data)


RIGHT = {
    "256 MiB, 4 KiB": (0x123, 0x123 << 12 | VALID),
    "256 MiB, 64 KiB, further up": (0x123 ^ 0x80, 0x123 << 12 | 1 << 7 | VALID),
    "256 MiB, secondary": (~0x123 & GROUPS - 1, 0x123 << 12 | SECONDARY | VALID),
    "1 TiB, 16 MiB": (0x123 ^ 0x45, 1 << 62 | 0x123 << 24 | 0x45 << 8 | VALID),
    "1 TiB, a bit that the hash shifts out": (0x4123 & GROUPS - 1, 1 << 62 | 0x4123 << 24 | VALID),
}


@pytest.mark.parametrize("entry", RIGHT.values(), ids=RIGHT)
def test_an_entry_that_lies_where_it_belongs(entry):
    assert misplaced(table(entry), TABLE_BYTES) == (1, 0)


@pytest.mark.parametrize(
    "entry",
    [
        (0x123 ^ 0x2000, 0x123 << 12 | VALID),
        (0x123, 0x123 << 12 | SECONDARY | VALID),
        (0x123 ^ 0x45 ^ 0x2000, 1 << 62 | 0x123 << 24 | 0x45 << 8 | VALID),
        (0x123, 2 << 62 | 0x123 << 12 | VALID),
    ],
    ids=["another group", "not the secondary one", "1 TiB", "no such segment"],
)
def test_an_entry_that_does_not(entry):
    assert misplaced(table(entry), TABLE_BYTES) == (1, 1)


def test_the_beginning_of_a_table_is_enough_but_its_size_must_be_known():
    group, virtual = 0x123, 0x4123 << 12 | VALID
    beginning = table((group, virtual))[: 0x200 * 128]
    assert misplaced(beginning, TABLE_BYTES) == (1, 0)
    assert misplaced(beginning, 2 * TABLE_BYTES) == (1, 1)


def test_what_is_not_valid_does_not_count():
    assert misplaced(table((0x123, 0x7777_0000)), TABLE_BYTES) == (0, 0)


def test_any_memory_is_no_table():
    valid, wrong = misplaced(seeded("memory").randbytes(TABLE_BYTES), TABLE_BYTES)
    assert wrong > 0.9 * valid > 0

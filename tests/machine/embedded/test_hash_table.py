import struct

import pytest

from fadump.abi.platform import Platform
from fadump.firmware.pseries import Offer
from fadump.machine.channel import Release, Released
from fadump.machine.embedded.hash_table import hash_table
from fadump.machine.hash_places import misplaced
from fadump.memory.ranges import Range, RangeSet
from tests.machine.embedded.bench import MIB, bench

RAM = RangeSet([Range(0, 256 * MIB), Range(512 * MIB, 768 * MIB)])
TABLE_BYTES = 8 * MIB


def test_entries_lie_where_they_belong_and_name_memory_that_there_is():
    table = hash_table("0", RAM, TABLE_BYTES, TABLE_BYTES)
    assert len(table) == TABLE_BYTES
    valid, wrong = misplaced(table, TABLE_BYTES)
    assert (valid > 50_000, wrong) == (True, 0)
    for _virtual, real in struct.iter_unpack(">QQ", table[: 64 * 1024]):
        assert RAM.contains(Range.sized(real & 0x0FFF_FFFF_FFFF_0000, 0x10000))


def test_a_table_begins_alike_however_much_of_it_is_wanted():
    whole = hash_table("0", RAM, TABLE_BYTES, TABLE_BYTES)
    for size_bytes in (0, 128, 4096, 1 * MIB, TABLE_BYTES + 128):
        assert hash_table("0", RAM, TABLE_BYTES, size_bytes) == whole[:size_bytes]
    assert hash_table("1", RAM, TABLE_BYTES, 4096) != whole[:4096]


def test_a_table_of_the_largest_machine_is_right_too():
    table = hash_table("0", RangeSet([Range(0, 64 << 40)]), 512 << 30, 1 * MIB)
    assert misplaced(table, 512 << 30)[1] == 0


@pytest.mark.parametrize("hpte_bytes", [None, 0x80, 1 * MIB])
def test_the_capture_kernel_finds_it(hpte_bytes):
    with bench(radix=False, offer=Offer(hpte_bytes=hpte_bytes)) as guest:
        seen = []
        guest.on_crash = lambda bench, _trigger: seen.append(bench.machine.look_at_hash_table())
        guest.to_capture()
        (where,) = guest.dump.hash_tables
        assert where.size_bytes == (hpte_bytes or 0x1000)
        found = guest.machine.memory.read(where.start, where.size_bytes)
        assert found == seen[0][: where.size_bytes] and any(found)
        line = guest.machine.files()["/sys/kernel/debug/powerpc/fadump_region"].show().decode().splitlines()[1]
        assert line.startswith("HPTE:[") and line.endswith(
            f" {where.size_bytes:#x} bytes, Dumped: {where.size_bytes:#x}"
        )
        guest.ask(Release(), Released)


def test_a_radix_guest_has_zeros_if_it_is_offered_any():
    with bench(offer=Offer(hpte_bytes=0x80)) as guest:
        guest.to_capture()
        (where,) = guest.dump.hash_tables
        assert guest.machine.memory.read(where.start, 0x80) == bytes(0x80)
        assert guest.machine.look_at_hash_table() is None


def test_powernv_has_none():
    with bench(Platform.POWERNV, radix=False) as guest:
        guest.to_capture()
        assert guest.dump.hash_tables == () and guest.machine.look_at_hash_table() is None

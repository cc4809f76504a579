"""The preserved hash page table against the machine's, by a machine that has nothing else."""

from types import SimpleNamespace

import pytest

from fadump.abi.pseries.dump_structure import SectionType
from fadump.errors import MachineError
from fadump.firmware.contract import PreservedDump, PreservedRegion
from fadump.memory.ranges import Range, RangeSet
from fadump.proof import hash_table
from fadump.proof.hash_table import HashTableComparison, HashTableProof

TABLE = bytes(range(256)) * 4
PLACE = 0x100


class Memory:
    ram = RangeSet([Range(0, 0x1000)])

    def __init__(self, content):
        self._content = content

    def read(self, address, length):
        assert address == PLACE
        return self._content[:length]


def machine(preserved, table=TABLE):
    def look():
        if isinstance(table, MachineError):
            raise table
        return table

    return SimpleNamespace(memory=Memory(preserved), look_at_hash_table=look)


def dump(size_bytes, destination=PLACE):
    region = PreservedRegion(SectionType.HPTE, 0, size_bytes, size_bytes, destination, 0)
    elsewhere = (Range.sized(0x800, size_bytes),) if size_bytes else ()
    return PreservedDump((region,), b"", RangeSet(), RangeSet(), hash_tables=elsewhere)


def compared(machine, dump):
    proof = HashTableProof()
    proof.crashed(machine)
    proof.released(machine, dump)
    return proof.result


def test_the_beginning_of_the_table_is_compared_where_the_kernel_was_told_that_it_is():
    assert compared(machine(TABLE[:256]), dump(256)) == HashTableComparison(256, 0)


@pytest.mark.parametrize("at", [0, 100, 255])
def test_a_byte_that_differs_is_found(at):
    spoilt = bytearray(TABLE[:256])
    spoilt[at] ^= 1
    assert compared(machine(bytes(spoilt)), dump(256)) == HashTableComparison(256, 1)


def test_behind_the_end_of_the_table_belong_zeros():
    assert compared(machine(TABLE + bytes(1024)), dump(2048)) == HashTableComparison(2048, 0)
    assert compared(machine(TABLE + b"\1" * 1024), dump(2048)) == HashTableComparison(2048, 1024)


def test_of_a_large_table_no_more_is_compared_than_was_looked_at(monkeypatch):
    monkeypatch.setattr(hash_table, "MOST_LOOKED_AT", 512)
    assert compared(machine(TABLE[:512] + bytes(512), TABLE[:512]), dump(1024)) == HashTableComparison(512, 0)


def test_a_guest_without_a_table_has_zeros():
    assert compared(machine(bytes(256), None), dump(256)) == HashTableComparison(256, 0)
    assert compared(machine(TABLE, None), dump(256)) == HashTableComparison(256, 255)


def test_a_table_that_can_not_be_looked_at_is_no_difference_and_is_said():
    found = compared(machine(bytes(256), MachineError("nobody may look")), dump(256))
    assert found == HashTableComparison(0, 0, "nobody may look")


def test_without_a_section_there_is_nothing_to_compare():
    assert compared(machine(b""), dump(0)) is None


def test_a_section_that_points_out_of_memory_is_not_read():
    assert compared(machine(b""), dump(256, 0x10_0000)) == HashTableComparison(0, 0)

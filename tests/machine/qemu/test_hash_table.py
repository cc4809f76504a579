"""A guest's hash page table, written by a kernel of a few instructions by H_ENTER, and read in two ways."""

import struct

import pytest

from fadump.errors import MachineError
from fadump.firmware.contract import FirmwareCall, PassThrough
from fadump.machine.contract import Handover
from fadump.machine.qemu.host_table import read_host_table, table_sizes
from fadump.memory.ranges import Range, RangeSet
from tests.machine.qemu.gdb_script import OUR_STOP, Gdb, served
from tests.machine.qemu.small_kernel import MEMORY_BYTES, RTAS, TOKEN, build_kernel, machine_with

SECONDS = 120
GROUPS = 32
ENTER = f"""
    mr      20, 3
    mr      21, 5
    li      22, 1
enter:
    li      3, 8                # H_ENTER
    li      4, 0
    sldi    5, 22, 3            # an entry of group r22
    sldi    6, 22, 12           # segment r22 of 256 MiB, its first 4 KiB
    mr      7, 6
    ori     6, 6, 1
    ori     7, 7, 0x10          # coherent
    sc      1
    addi    22, 22, 1
    cmpwi   22, {GROUPS}
    blt     enter
    mr      3, 20
    mr      5, 21
"""
"""Both times that the kernel is entered: so each group but the first has two equal entries."""
TABLE_BYTES = MEMORY_BYTES // 128
TABLE = b"".join(
    (struct.pack(">QQ", group << 12 | 1, group << 12 | 0x10) * 2 if group else b"").ljust(128, b"\0")
    for group in range(GROUPS)
).ljust(TABLE_BYTES, b"\0")
STALE = 0x100_0000


@pytest.fixture(scope="module")
def kernel(tmp_path_factory):
    return build_kernel(tmp_path_factory.mktemp("kernel"), ENTER)


def in_a_call(machine):
    handover = machine.next_event(SECONDS)
    assert isinstance(handover, Handover), handover
    machine.enter(handover, frozenset({TOKEN}))
    call = machine.next_event(SECONDS)
    assert isinstance(call, FirmwareCall), call
    return call


def reset_to(machine, *tables):
    """Reset, and come to the next handover; what then lies where the tables were to go."""
    for where in tables:
        machine.memory.write(where.start, b"\xff" * where.size_bytes)
    machine.reset(RangeSet(tables), tables)
    handover = machine.next_event(SECONDS)
    assert isinstance(handover, Handover), handover
    machine.enter(handover, frozenset())
    machine.halt()
    return [machine.memory.read(where.start, where.size_bytes) for where in tables]


def test_the_table_is_what_the_guest_has_entered(kernel):
    with machine_with(kernel, cpu_model="POWER8") as machine:
        in_a_call(machine)
        first, second = Range.sized(STALE, 0x1000), Range.sized(STALE + 0x1000, 0x80)
        assert reset_to(machine, first, second) == [TABLE[:0x1000], TABLE[:0x80]]


def test_no_more_is_written_than_there_is_room_for(kernel):
    with machine_with(kernel, cpu_model="POWER8") as machine:
        in_a_call(machine)
        less, nothing = Range.sized(STALE, 0x30), Range.sized(STALE + 0x80, 0)
        kept = Range.sized(STALE, 0x1000)
        machine.memory.write(STALE, b"\xff" * 0x1000)
        machine.reset(RangeSet([kept]), [less, nothing])
        in_a_call(machine)
        assert machine.memory.read(STALE, 0x1000) == bytes(0x30) + b"\xff" * (0x1000 - 0x30)


def test_a_guest_may_want_it_over_the_code_that_copies_it(kernel):
    with machine_with(kernel, cpu_model="POWER8") as machine:
        in_a_call(machine)
        machine.reset(RangeSet(), (Range.sized(RTAS - 0x80, 0x1000),))
        in_a_call(machine)


def test_a_table_that_leaves_no_room_for_that_code_is_told(kernel):
    with machine_with(kernel, cpu_model="POWER8") as machine:
        in_a_call(machine)
        with pytest.raises(MachineError, match="at 0x0..0x800000 it leaves no room for the code that does it"):
            machine.reset(RangeSet(), (Range(0, 0x80_0000),))


def test_behind_the_tables_end_are_zeros(kernel):
    with machine_with(kernel, cpu_model="POWER8") as machine:
        in_a_call(machine)
        where = Range.sized(STALE, TABLE_BYTES + 0x100)
        assert reset_to(machine, where) == [TABLE + bytes(0x100)]


def test_a_guest_that_was_halted_has_its_table_too(kernel):
    with machine_with(kernel, cpu_model="POWER8") as machine:
        machine.answer(in_a_call(machine), PassThrough())
        machine.halt()
        assert reset_to(machine, Range.sized(STALE, 0x1000)) == [TABLE[:0x1000]]


def test_a_gdb_that_steps_into_the_crash_is_not_told_of_the_copying(kernel):
    where = Range.sized(STALE, 0x1000)
    crashes = []

    def script(port):
        with Gdb(port) as gdb:
            gdb.ask("?")
            assert gdb.ask(f"Z0,{OUR_STOP:x},4") == "OK"
            gdb.ask("vCont;c")
            assert gdb.ask(f"z0,{OUR_STOP:x},4") == "OK"
            crashes.append(OUR_STOP)
            stopped, pc = gdb.ask("vCont;s:p1.1;c"), gdb.pc()
            gdb.ask("D")
            return stopped, pc

    with served(kernel, cpu_model="POWER8") as (firmware, port):
        answer = firmware.machine.answer

        def answer_or_reset(call, outcome):
            if crashes:
                crashes.clear()
                firmware.machine.reset(RangeSet([where]), (where,))
            else:
                answer(call, outcome)

        firmware.machine.answer = answer_or_reset
        assert firmware.while_running(script, port) == ("T05thread:p01.01;", 0x100)  # a CPU's first instruction
        while not isinstance(firmware.serve(), FirmwareCall):
            pass
        assert firmware.machine.memory.read(where.start, where.size_bytes) == TABLE[:0x1000]


def test_nothing_is_read_once_more_of_a_capture_kernels_crash(kernel):
    where = Range.sized(STALE, 0x80)
    with machine_with(kernel, cpu_model="POWER8") as machine:
        in_a_call(machine)
        machine.memory.write(where.start, b"\xff" * 0x80)
        machine.reset(RangeSet([where]))
        in_a_call(machine)
        machine.reset(RangeSet([where]), [where])
        in_a_call(machine)
        assert machine.memory.read(where.start, 0x80) == b"\xff" * 0x80


def test_qemus_own_memory_has_the_same(kernel):
    with machine_with(kernel, cpu_model="POWER8") as machine:
        in_a_call(machine)
        assert machine.look_at_hash_table() == TABLE


def test_memory_without_a_table_is_not_taken_for_one(kernel):
    with machine_with(kernel, cpu_model="POWER8") as machine:
        in_a_call(machine)
        pid = machine._link.pid
        with pytest.raises(MachineError, match="nothing that looks like the guest's hash page table"):
            read_host_table(pid, {TABLE_BYTES * 16})
    with pytest.raises(MachineError, match="QEMU's memory can't be read for its hash page table: No such "):
        read_host_table(pid, {TABLE_BYTES})


def test_a_table_may_have_grown_with_memory():
    assert table_sizes(MEMORY_BYTES, MEMORY_BYTES) == {TABLE_BYTES}
    assert table_sizes(MEMORY_BYTES, 4 * MEMORY_BYTES + 1) == {TABLE_BYTES << shift for shift in range(4)}

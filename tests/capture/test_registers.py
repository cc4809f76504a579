import pytest

from fadump.capture.registers import AddedRegisters, with_registers
from fadump.linux.cpus.cpu import read_cpus
from fadump.linux.memory import KernelMemory
from fadump.linux.symbols.kallsyms import read_kallsyms
from fadump.linux.system import CrashedSystem
from fadump.linux.vmcoreinfo import Facts
from fadump.memory.ranges import Range
from fadump.vmcore.contract import State
from tests.linux.kernel_builder import PAGE_OFFSET, FakeKernel
from tests.linux.smp_builder import CRASH_NOTES_BYTES, INNER, POSSIBLE, SmpKernel
from tests.vmcore.core_builder import prstatus

ORDERS = pytest.mark.parametrize("byte_order", ["little", "big"])


def smp_kernel(count, stride=0x400, **facts):
    kernel = SmpKernel(count, memory_bytes=stride * POSSIBLE + (1 << 20), **facts)
    kernel.add_crash_notes(stride)
    return kernel


def added(kernel):
    return with_registers(CrashedSystem(kernel.dump()))


def crash_notes(dump, kernel, number):
    return dump.read_physical(kernel.crash_notes[number] - PAGE_OFFSET, CRASH_NOTES_BYTES)


def order(dump):
    """Which of the kernel's notes come first."""
    memory = KernelMemory(dump, Facts.of(dump))
    return [cpu.registers["nip"] - INNER for cpu in read_cpus(memory, read_kallsyms(memory))]


@ORDERS
def test_every_cpu_has_its_note_where_kdump_has_it(byte_order):
    kernel = smp_kernel(3, online=1 << 0 | 1 << 5 | 1 << 70, byte_order=byte_order)
    dump, report = added(kernel)
    assert report == AddedRegisters(cpus=(0, 5, 70))
    for number, index in {0: 0, 5: 1, 70: 2}.items():
        wanted = prstatus(kernel.cpus[index], byte_order=byte_order)
        assert crash_notes(dump, kernel, number) == wanted + bytes(12)
    assert crash_notes(dump, kernel, 1) == bytes(CRASH_NOTES_BYTES)


def test_nothing_else_is_different():
    kernel = smp_kernel(2, online=0b11)
    plain = kernel.dump()
    before = plain.read_physical(0, len(kernel.memory))
    dump, _report = added(kernel)
    after = bytearray(dump.read_physical(0, len(kernel.memory)))
    for number in (0, 1):
        at = kernel.crash_notes[number] - PAGE_OFFSET
        after[at : at + CRASH_NOTES_BYTES] = bytes(CRASH_NOTES_BYTES)
    assert bytes(after) == before
    assert (list(dump.notes), dump.vmcoreinfo, dump.memory) == (list(plain.notes), plain.vmcoreinfo, plain.memory)


def test_added_pages_are_nowhere_in_the_file():
    kernel = smp_kernel(2, online=0b11, stride=0x10000)
    dump, _report = added(kernel)
    page = (kernel.crash_notes[0] - PAGE_OFFSET) // kernel.page_bytes * kernel.page_bytes
    pieces = list(dump.mapping(Range(0, len(kernel.memory))))
    assert all(piece.state is State.STORED for piece in pieces)
    assert [piece.range for piece in pieces if piece.file_offset is None] == [Range.sized(page, 2 * kernel.page_bytes)]


def test_offline_cpus_have_theirs_too_but_come_last():
    """crash counts online CPUs; OPAL reports all threads."""
    kernel = smp_kernel(4, online=0b1101, present=0b1111, owners=[0, 1, None, 3])
    dump, report = added(kernel)
    assert report == AddedRegisters(cpus=(0, 1, 2, 3))
    assert crash_notes(dump, kernel, 1) == prstatus(kernel.cpus[1]) + bytes(12)
    assert order(dump) == [0, 2, 3, 1]
    assert [note.name for note in dump.notes] == ["CORE"] * 4 + ["VMCOREINFO"]


def test_notes_in_another_order_are_sorted():
    dump, report = added(smp_kernel(3, online=0b111, owners=[2, 0, 1]))
    assert (report.cpus, order(dump)) == ((0, 1, 2), [1, 2, 0])


@pytest.mark.parametrize("crashing", [POSSIBLE, 0x7FFF_FFFF])
def test_a_crashing_cpu_beyond_all_that_there_may_be_is_none(crashing):
    """It would have as many stand-ins before it."""
    dump, report = with_registers(CrashedSystem(smp_kernel(1, online=1, crashing=crashing).dump()), every_cpu=True)
    assert (report.cpus, report.unknown, len(dump.notes)) == ((0,), 0, 2)


def test_cpus_without_registers_get_stand_ins_if_every_cpu_is_to_have_a_note():
    kernel = smp_kernel(3, online=0b100101)
    dump, report = with_registers(CrashedSystem(kernel.dump()), every_cpu=True)
    assert report == AddedRegisters(cpus=(0, 2, 5))
    names = [(note.name, note.type) for note in dump.notes]
    assert names[:6] == [("CORE", 1), ("OFFLINE", 1), ("CORE", 1), ("OFFLINE", 1), ("OFFLINE", 1), ("CORE", 1)]
    assert names[6:] == [("QEMU-style", 0), ("VMCOREINFO", 0)]
    assert dump.notes[1].desc == bytes(504)
    assert order(dump) == [0, 1, 2]
    without, report = with_registers(CrashedSystem(dump))
    assert [note.name for note in without.notes] == ["CORE"] * 3 + ["VMCOREINFO"]
    assert report == AddedRegisters(already=(0, 2, 5))


def test_no_stand_ins_if_no_cpu_lacks_registers():
    kernel = smp_kernel(3, online=0b111)
    dump, _report = with_registers(CrashedSystem(kernel.dump()), every_cpu=True)
    assert list(dump.notes) == list(kernel.dump().notes)


def test_a_note_of_an_unknown_cpu_is_added_nowhere_and_kept():
    dump, report = added(smp_kernel(3, online=0b11, owners=[7, None, 1]))
    assert (report.cpus, report.unknown) == ((1, 7), 1)
    assert order(dump) == [2, 0, 1]


def test_what_is_there_already_is_left_alone():
    kernel = smp_kernel(3, online=0b111)
    there = prstatus({"nip": 1}, pid=99)
    kernel.poke(kernel.crash_notes[1], there)
    kernel.poke(kernel.crash_notes[2] + 500, b"x")
    dump, report = added(kernel)
    assert report == AddedRegisters(cpus=(0,), already=(1,), occupied=(2,))
    assert crash_notes(dump, kernel, 1) == there + bytes(12)
    assert crash_notes(dump, kernel, 2).strip(b"\0") == b"x"


def test_adding_twice_adds_nothing():
    kernel = smp_kernel(2, online=0b11)
    once, _report = added(kernel)
    twice, report = with_registers(CrashedSystem(once))
    assert twice is once
    assert report == AddedRegisters(already=(0, 1))


def test_a_note_may_lie_on_two_pages():
    kernel = SmpKernel(1, online=0b1, memory_bytes=1 << 21)
    kernel.add_crash_notes(page_gap=kernel.page_bytes - 8)
    dump, report = added(kernel)
    assert report.cpus == (0,)
    assert crash_notes(dump, kernel, 0) == prstatus(kernel.cpus[0]) + bytes(12)


def without_symbols():
    kernel = FakeKernel()
    kernel.cpus = [{"nip": INNER}]
    return kernel


def unreadable():
    kernel = smp_kernel(1, online=0b1)
    kernel.names["D__per_cpu_offset"] = kernel.place(kernel.pack("Q", PAGE_OFFSET + (1 << 40)))
    return kernel


@pytest.mark.parametrize(
    ("kernel", "reason"),
    [
        (without_symbols(), "doesn't have SYMBOL(kallsyms_num_syms)"),
        (SmpKernel(1, online=0b1), "no symbol crash_notes"),
        (unreadable(), "can't be read"),
    ],
)
def test_what_a_dump_lacks_is_said(kernel, reason):
    plain = kernel.dump()
    dump, report = with_registers(CrashedSystem(plain))
    assert dump is plain
    assert report.cpus == () and reason in report.why_not

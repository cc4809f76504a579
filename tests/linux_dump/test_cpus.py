import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fadump.errors import FadumpError
from fadump.linux.cpus import follow_stack, read_cpus
from fadump.linux.kallsyms import read_kallsyms
from fadump.linux.symbols import Symbol, SymbolTable
from tests.linux_dump.kernel_builder import PAGE_OFFSET, FakeKernel, add_kallsyms, add_stack
from tests.vmcore.core_builder import PT_REGS

INNER, MIDDLE, OUTER, END = (PAGE_OFFSET + 0x8000 + 0x100 * number for number in range(4))
SYMBOLS = SymbolTable(
    [Symbol(name, address, "T") for name, address in
     {"inner": INNER, "middle": MIDDLE, "outer": OUTER, "end": END}.items()])  # fmt: skip
ORDERS = pytest.mark.parametrize("byte_order", ["little", "big"])


def registers(**values):
    return dict.fromkeys(PT_REGS, 0) | values


def names(backtrace):
    return [frame.place.symbol if frame.place else hex(frame.address) for frame in backtrace.frames]


@ORDERS
def test_a_stack_is_followed_to_its_end(byte_order):
    kernel = FakeKernel(byte_order)
    pointer = add_stack(kernel, [MIDDLE + 8, OUTER + 8])
    found = follow_stack(kernel.read(), SYMBOLS, registers(nip=INNER + 4, gpr1=pointer))
    assert [str(frame.place) for frame in found.frames] == ["inner+0x4/0x100", "middle+0x8/0x100", "outer+0x8/0x100"]
    assert [frame.stack_pointer for frame in found.frames] == [pointer, pointer + 0x80, pointer + 0x100]
    assert found.ended is None


@ORDERS
@pytest.mark.parametrize(
    ("marker_at", "registers_at", "marker"),
    [(0x20, 0x30, 0x5245_4753), (0x20, 0x30, 0x5347_4552), (0x60, 0x70, 0x7265_6773_6865_7265)],
)
def test_an_interrupt_shows_what_it_stopped(byte_order, marker_at, registers_at, marker):
    kernel = FakeKernel(byte_order)
    outer = add_stack(kernel, [OUTER + 8])
    stopped = registers(nip=MIDDLE + 4, gpr1=outer, trap=0x500)
    frame = kernel.pack("QQQ", outer, 0, 0).ljust(marker_at, b"\0") + kernel.pack("Q", marker)
    frame = frame.ljust(registers_at, b"\0") + kernel.pack("44Q", *stopped.values())
    pointer = kernel.place(frame.ljust(0x300, b"\0"))
    found = follow_stack(kernel.read(), SYMBOLS, registers(nip=INNER, gpr1=pointer))
    assert names(found) == ["inner", "middle", "outer"]
    assert [one.trap for one in found.frames] == [None, 0x500, None]


def test_the_interrupt_of_the_next_frame_is_not_taken_for_this_ones():
    kernel = FakeKernel()
    outer = add_stack(kernel, [OUTER + 8])
    stopped = registers(nip=END, gpr1=outer, trap=0x500)
    frame = kernel.pack("QQQ8xQ8x", outer, 0, MIDDLE + 8, 0x5245_4753) + kernel.pack("44Q", *stopped.values())
    pointer = kernel.place(bytes(0x40) + frame)
    kernel.poke(pointer, kernel.pack("Q", pointer + 0x40))  # its marker is where an old kernel would have this one's
    found = follow_stack(kernel.read(), SYMBOLS, registers(nip=INNER, gpr1=pointer))
    assert [frame.address for frame in found.frames] == [INNER, MIDDLE + 8, END, OUTER + 8]


def test_a_backtrace_ends_in_user_space():
    kernel = FakeKernel()
    stopped = registers(nip=0x1000, gpr1=0x7FFF_0000, trap=0xC00, msr=0x4000)
    frame = kernel.pack("QQQ8xQ8x", 0x7FFF_0000, 0, 0, 0x5245_4753) + kernel.pack("44Q", *stopped.values())
    pointer = kernel.place(frame)
    found = follow_stack(kernel.read(), SYMBOLS, registers(nip=INNER, gpr1=pointer))
    assert names(found) == ["inner", "0x1000"]
    assert found.ended is None
    assert follow_stack(kernel.read(), SYMBOLS, stopped).frames == ()


@pytest.mark.parametrize(
    ("caller", "ended"),
    [
        (None, "loop"),
        (0x1000, "leaves the kernel"),
        (PAGE_OFFSET + (1 << 40), "can't be read"),
    ],
)
def test_a_chain_that_makes_no_sense_ends_with_a_reason(caller, ended):
    kernel = FakeKernel()
    pointer = add_stack(kernel, [MIDDLE, OUTER])
    kernel.poke(pointer + 0x100, kernel.pack("Q", pointer if caller is None else caller))
    found = follow_stack(kernel.read(), SYMBOLS, registers(nip=INNER, gpr1=pointer))
    assert names(found)[:3] == ["inner", "middle", "outer"]
    assert ended in found.ended


def test_a_backtrace_has_a_limit():
    kernel = FakeKernel()
    pointer = add_stack(kernel, [MIDDLE] * 300)
    found = follow_stack(kernel.read(), SYMBOLS, registers(nip=INNER, gpr1=pointer))
    assert len(found.frames) == 256
    assert "256" in found.ended


@given(st.binary(min_size=0x400, max_size=0x400), st.integers(0, 0x3F0), st.integers(0, 0x7F))
def test_any_stack_gives_a_backtrace(data, at, link):
    kernel = FakeKernel(memory_bytes=1 << 13)
    start = kernel.place(data)
    kernel.poke(start + at, kernel.pack("Q", start + 8 * link))
    found = follow_stack(kernel.read(), SYMBOLS, registers(nip=INNER, gpr1=start + at))
    assert 1 <= len(found.frames) <= 256


def kernel_with_cpus(count, online=None, crashing=None):
    kernel = FakeKernel()
    kernel.cpus = [registers(nip=INNER + number, gpr1=0) for number in range(count)]
    found = {"T_stext": PAGE_OFFSET}
    if online is not None:
        found["Dnr_cpu_ids"] = kernel.place(kernel.pack("I", 128))
        found["D__cpu_online_mask"] = kernel.place(kernel.pack("QQ", online & (1 << 64) - 1, online >> 64))
    if crashing is not None:
        found["Dcrashing_cpu"] = kernel.place(kernel.pack("i", crashing))
    add_kallsyms(kernel, found)
    return kernel


def cpus(kernel):
    memory = kernel.read()
    return read_cpus(memory, read_kallsyms(memory))


def test_cpus_have_the_numbers_of_those_that_were_online():
    found = cpus(kernel_with_cpus(3, online=1 << 0 | 1 << 5 | 1 << 70, crashing=5))
    assert [(cpu.number, cpu.crashed, cpu.registers["nip"] - INNER) for cpu in found] == [
        (0, False, 0),
        (5, True, 1),
        (70, False, 2),
    ]


@pytest.mark.parametrize("online", [None, 0b1, 0b1111])
def test_cpus_without_a_mask_that_fits_have_no_numbers(online):
    assert [(cpu.number, cpu.crashed) for cpu in cpus(kernel_with_cpus(2, online, crashing=0))] == [(None, None)] * 2


def test_registers_of_one_cpu_are_those_of_the_one_that_crashed():
    assert [(cpu.number, cpu.crashed) for cpu in cpus(kernel_with_cpus(1, online=0b1111, crashing=2))] == [(2, True)]


def test_a_kernel_that_crashed_on_no_cpu():
    assert [cpu.crashed for cpu in cpus(kernel_with_cpus(1, online=1, crashing=-1))] == [None]


def test_without_symbols_there_are_registers():
    (cpu,) = read_cpus(kernel_with_cpus(1).read(), None)
    assert (cpu.number, cpu.registers["nip"], cpu.backtrace.frames[0].place) == (None, INNER, None)


@given(st.integers(0, 0x80), st.binary(min_size=1, max_size=16))
def test_damaged_facts_about_cpus_give_cpus_or_an_error(at, damage):
    kernel = kernel_with_cpus(2, online=0b11, crashing=1)
    kernel.poke(PAGE_OFFSET + 0x100 + at, damage)
    with contextlib.suppress(FadumpError):
        assert len(cpus(kernel)) == 2

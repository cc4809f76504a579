import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fadump.errors import FadumpError
from fadump.linux.cpus.cpu import read_cpus
from fadump.linux.symbols.kallsyms import read_kallsyms
from tests.linux.smp_builder import INNER, USER, SmpKernel


def cpus(kernel):
    memory = kernel.read()
    return read_cpus(memory, read_kallsyms(memory))


def numbers(kernel):
    return [cpu.number for cpu in cpus(kernel)]


def test_cpus_have_the_numbers_of_those_that_were_online():
    found = cpus(SmpKernel(3, online=1 << 0 | 1 << 5 | 1 << 70, crashing=5))
    assert [(cpu.number, cpu.crashed, cpu.online, cpu.registers["nip"] - INNER) for cpu in found] == [
        (0, False, True, 0),
        (5, True, True, 1),
        (70, False, True, 2),
    ]


@pytest.mark.parametrize("online", [None, 0b1, 0b1111])
def test_cpus_without_a_mask_that_fits_have_no_numbers(online):
    assert [(cpu.number, cpu.crashed) for cpu in cpus(SmpKernel(2, online=online, crashing=0))] == [(None, None)] * 2


def test_notes_of_all_present_cpus_are_those_of_offline_ones_too():
    found = cpus(SmpKernel(4, online=0b1101, present=0b1111, owners=[0, 1, None, 3]))
    assert [(cpu.number, cpu.online) for cpu in found] == [(0, True), (1, False), (2, True), (3, True)]


def test_notes_of_offline_cpus_may_come_last():
    """As they do in an ELF core that has been saved."""
    assert numbers(SmpKernel(4, online=0b1101, present=0b1111, owners=[0, None, 3, 1])) == [0, 2, 3, 1]


def test_r13_says_whose_registers_they_are_if_the_order_does_not():
    assert numbers(SmpKernel(3, online=0b11, owners=[7, None, 2])) == [7, None, 2]


def test_r13_counts_if_the_order_contradicts_it():
    assert numbers(SmpKernel(2, online=0b11, owners=[1, 0])) == [1, 0]
    assert numbers(SmpKernel(2, online=0b11, present=0b1100, owners=[3, None])) == [3, None]


def test_r13_of_user_space_says_nothing():
    kernel = SmpKernel(2, online=0b11, owners=[1, None])
    kernel.cpus[0]["msr"] = USER
    assert numbers(kernel) == [0, 1]


def test_no_number_comes_twice():
    assert numbers(SmpKernel(3, owners=[5, 5, 6])) == [None, None, 6]


def test_registers_of_one_cpu_are_those_of_the_one_that_crashed():
    assert [(cpu.number, cpu.crashed) for cpu in cpus(SmpKernel(1, online=0b1111, crashing=2))] == [(2, True)]


def test_unless_r13_says_otherwise():
    assert numbers(SmpKernel(1, online=0b1111, crashing=2, owners=[3])) == [3]


def test_a_kernel_that_crashed_on_no_cpu():
    assert [cpu.crashed for cpu in cpus(SmpKernel(1, online=1, crashing=-1))] == [None]


def test_without_symbols_there_are_registers():
    (cpu,) = read_cpus(SmpKernel(1).read(), None)
    assert (cpu.number, cpu.online, cpu.registers["nip"], cpu.backtrace.frames[0].symbol) == (None, None, INNER, None)


@given(st.integers(0, 0x80), st.binary(min_size=1, max_size=16))
def test_damaged_facts_about_cpus_give_cpus_or_an_error(at, damage):
    kernel = SmpKernel(2, online=0b11, crashing=1, owners=[0, 1])
    kernel.core()
    kernel.poke(kernel.names["Dnr_cpu_ids"] + at, damage)
    with contextlib.suppress(FadumpError):
        assert len(cpus(kernel)) == 2

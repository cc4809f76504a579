"""drgn, which we did not write, reads the dump."""

import drgn
import pytest
from drgn.helpers.linux.pid import for_each_task
from drgn.helpers.linux.printk import get_dmesg


@pytest.fixture(scope="session")
def program(any_cycle):
    program = drgn.Program()
    program.set_core_dump(any_cycle.json["vmcore"])
    program.load_debug_info([any_cycle.json["vmlinux"]])
    return program


def test_the_log_ends_with_the_crash(program):
    assert b"sysrq: Trigger a crash" in get_dmesg(program)


def test_the_release_is_the_one_that_ran(program, any_cycle):
    assert program["init_uts_ns"].name.release.string_().decode() == any_cycle.json["kernel_release"]


def test_the_guests_tasks_are_there(program):
    names = {task.comm.string_() for task in for_each_task(program)}
    assert {b"init", b"kthreadd", b"swapper/0"} & names >= {b"init", b"kthreadd"}


def test_the_crashed_cpu_is_known(program, any_cycle):
    assert program["crashing_cpu"].value_() == (1 if any_cycle.json["platform"] == "powernv" else 0)

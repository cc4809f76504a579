"""Tasks, their stacks, modules and the rest of the system's state: by what a dump says itself, against drgn's reading
of it by debug information."""

import drgn
import pytest

import fadump
from fadump.cli.drgn_names import drgn_prog_set
from tests.real_linux import state_truth as truth
from tests.real_linux.page_truth import read_by_drgn
from tests.real_linux.task_truth import all_by_drgn, all_of, differing_stacks


@pytest.fixture(scope="module")
def both(busy_crash, kernel):
    """A dump of a busy machine, read without its vmlinux, and by drgn with it."""
    program = read_by_drgn(busy_crash, kernel.vmlinux)
    with fadump.open(busy_crash) as system:
        yield system, program


def test_everything_of_every_task_is_the_same(both):
    system, program = both
    assert sorted(map(all_of, system.tasks)) == sorted(all_by_drgn(program))
    assert not system.task_list.left_out
    assert {task.state for task in system.tasks} >= set("RSDTZI")
    assert any(task.resident_bytes > 20 << 20 for task in system.tasks)


def test_every_sleeping_tasks_stack_is_the_same(both):
    compared, differing = differing_stacks(*both)
    assert compared > 40 and differing == {}


def test_blocked_tasks_are_first_and_what_they_wait_for_is_said(both):
    system, _program = both
    blocked = system.stacks[0]
    assert [task.name for task in blocked.tasks] == ["touch", "touch"] and blocked.is_blocked
    assert blocked.waits_for == "a file system that is frozen"


def test_each_task_is_in_one_group(both):
    system, _program = both
    grouped = [task.pid for group in system.stacks for task in group.tasks]
    assert sorted(grouped) == sorted(task.pid for task in system.tasks)
    assert {cpu for group in system.stacks for cpu in group.cpus} >= {2}


def test_modules_with_their_symbols_and_types_are_the_same(both, kernel):
    system, program = both
    files = truth.module_files(kernel)
    assert truth.check_modules(system, program, files) == len(truth.MODULES)
    assert truth.check_module_symbols(system, program, files) > 1000
    assert truth.check_module_types(system, files, kernel.vmlinux) > 50


def test_drgn_with_our_plugin_names_functions_of_modules_whose_files_it_lacks(busy_crash, kernel, both):
    program = drgn.Program()
    program.set_core_dump(busy_crash)
    program.load_debug_info([kernel.vmlinux])
    assert program.symbols("fuse_lookup") == []
    drgn_prog_set(program)
    (symbol,) = program.symbols("fuse_lookup")
    ours = both[0].symbol(symbol.address + 4)
    assert (ours.name, ours.offset, ours.module) == ("fuse_lookup", 4, "fuse")
    assert program.symbol(symbol.address + 4).name == "fuse_lookup"


def test_the_rest_of_the_systems_state_is_the_same(both):
    assert truth.check_mounts(*both) >= 7
    truth.check_memory(*both)
    assert truth.check_slab_caches(*both) > 100
    assert "10.1.2.3" in [str(address) for address in truth.check_network(*both)["lo"]]
    assert truth.check_interrupts(*both) > 5
    truth.check_activity(*both)
    assert both[0].activity.offline == (1,)

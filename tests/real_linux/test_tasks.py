"""Tasks and their stacks by what a dump says itself, against drgn's by debug information."""

import drgn
import pytest

import fadump
from tests.real_linux.task_truth import all_by_drgn, all_of, differing_stacks


@pytest.fixture(scope="module")
def both(busy_crash, kernel):
    """A dump of a busy machine, read without its vmlinux, and by drgn with it."""
    program = drgn.Program()
    program.set_core_dump(busy_crash)
    program.load_debug_info([kernel.vmlinux])
    with fadump.open(busy_crash) as system:
        yield system, program


def test_everything_of_every_task_is_the_same(both):
    system, program = both
    assert sorted(map(all_of, system.tasks)) == sorted(all_by_drgn(program))
    assert not system.task_list.left_out
    assert any(task.resident_bytes > 20 << 20 for task in system.tasks)


def test_every_sleeping_tasks_stack_is_the_same(both):
    compared, differing = differing_stacks(*both)
    assert compared > 40 and differing == {}


def test_each_task_is_in_one_group(both):
    system, _program = both
    grouped = [task.pid for group in system.stacks for task in group.tasks]
    assert sorted(grouped) == sorted(task.pid for task in system.tasks)
    assert {cpu for group in system.stacks for cpu in group.cpus} >= {2}

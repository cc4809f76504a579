import pytest

from fadump.linux.state.waits import waits_for
from fadump.linux.system import CrashedSystem
from tests.linux.kernel_builder import PAGE_OFFSET
from tests.linux.task_kernel import AT, INNER, MIDDLE, OUTER, TaskKernel

DEEP, FLAT = (MIDDLE + 8, OUTER + 8), (OUTER + 8,)


def stacks_of(kernel):
    return CrashedSystem(kernel.dump()).stacks


def names_of(group):
    return [frame.symbol.name for frame in group.backtrace.frames if frame.symbol is not None]


@pytest.mark.parametrize("byte_order", ["little", "big"])
def test_a_sleeping_tasks_stack_begins_where_it_has_called_the_switch(byte_order):
    (group,) = stacks_of(TaskKernel([[{"pid": 1, "stack": DEEP}]], byte_order))
    assert names_of(group) == ["middle", "outer"]
    assert [frame.pc for frame in group.backtrace.frames[:2]] == [MIDDLE + 8, OUTER + 8]
    assert group.backtrace.ended is None and not group.cpus


def test_equal_stacks_are_together_and_blocked_ones_are_first():
    processes = [[{"pid": pid, "stack": DEEP}] for pid in (1, 2, 3)]
    processes += [[{"pid": 4, "stack": FLAT}], [{"pid": 5, "stack": DEEP, "state": 2}]]
    kernel = TaskKernel([*processes, [{"pid": 6, "state": 0}]], count=2)
    kernel.run(0, 6, nip=INNER + 4, gpr1=0)
    groups = stacks_of(kernel)
    assert [[task.pid for task in group.tasks] for group in groups] == [[5], [6], [1, 2, 3], [4]]
    assert [group.is_blocked for group in groups] == [True, False, False, False]
    assert groups[1].cpus == (0,) and names_of(groups[1]) == ["inner"]


def test_a_task_that_ran_on_a_cpu_without_registers_has_no_stack_of_an_earlier_time():
    kernel = TaskKernel([[{"pid": 1, "stack": DEEP, "on_cpu": 1, "cpu": 1}]])
    (group,) = stacks_of(kernel)
    assert not group.backtrace.frames and group.backtrace.ended == "it ran on CPU 1, whose registers aren't known"


def test_a_task_that_has_ended_has_no_stack():
    kernel = TaskKernel([[{"pid": 1, "stack": DEEP, "state": 0x80, "exit_state": 0x20}]])
    (group,) = stacks_of(kernel)
    assert not group.backtrace.frames and group.backtrace.ended is None


@pytest.mark.parametrize("pointer", [8, PAGE_OFFSET + (1 << 40), (1 << 64) - 8])
def test_a_stack_nowhere_is_told_and_harms_no_other(pointer):
    kernel = TaskKernel([[{"pid": 1, "stack": DEEP}], [{"pid": 2, "stack": DEEP}]])
    kernel.poke(kernel.tasks[1] + AT["ksp"], kernel.pack("Q", pointer))
    whole, broken = sorted(stacks_of(kernel), key=lambda group: group.backtrace.ended is not None)
    assert names_of(whole) == ["middle", "outer"] and broken.backtrace.ended


def test_a_stack_that_is_a_loop_ends():
    kernel = TaskKernel([[{"pid": 1, "stack": DEEP}]])
    pointer = int.from_bytes(kernel.peek(kernel.tasks[1] + AT["ksp"], 8), "little")
    kernel.poke(pointer, kernel.pack("Q", pointer))
    (group,) = stacks_of(kernel)
    assert "loop" in group.backtrace.ended


@pytest.mark.parametrize(
    ("functions", "said"),
    [
        (["schedule", "request_wait_answer", "fuse_simple_request"], "a FUSE server's answer"),
        (["schedule", "percpu_rwsem_wait", "__percpu_down_read", "mnt_want_write"], "a file system that is frozen"),
        (["schedule", "percpu_rwsem_wait", "__percpu_down_read"], "a per-CPU read-write semaphore"),
        (["schedule", "__mutex_lock.constprop.0", "__flush_work_of_mine"], "a mutex"),
        (["__wait_for_common", "call_usermodehelper_exec"], "a program that the kernel has started"),
        (["schedule", "schedule_timeout", "__wait_for_common", "driver_probes"], "a completion"),
        (["schedule", "schedule_timeout", "msleep", "driver_probes"], "time to pass"),
        (["schedule_timeout", "__wait_for_common", "__kthread_create_on_node"], "a new kernel thread"),
        (["__schedule", "schedule", "pipe_read"], None),
        ([], None),
    ],
)  # fmt: skip
def test_what_a_blocked_task_waits_for_is_said_by_its_functions(functions, said):
    assert waits_for(functions) == said


def test_only_a_blocked_task_is_said_to_wait():
    kernel = TaskKernel([[{"pid": 1, "stack": DEEP}], [{"pid": 2, "stack": DEEP, "state": 2}]])
    kernel.names = {("Tmutex_lock" if name == "Touter" else name): at for name, at in kernel.names.items()}
    blocked, sleeping = stacks_of(kernel)
    assert (blocked.waits_for, sleeping.waits_for) == ("a mutex", None)


def test_who_sleeps_until_a_server_answers_is_told_before_others():
    processes = [[{"pid": 1, "stack": FLAT}, {"pid": 2, "stack": FLAT}], [{"pid": 3, "stack": DEEP}]]
    kernel = TaskKernel([*processes, [{"pid": 4, "stack": FLAT, "state": 2}]])
    kernel.names = {("Trequest_wait_answer" if name == "Tmiddle" else name): at for name, at in kernel.names.items()}
    told = [([task.pid for task in group.tasks], group.waits_for) for group in stacks_of(kernel)]
    assert told == [([4], None), ([3], "a FUSE server's answer"), ([1, 2], None)]

import pytest

from fadump.errors import FadumpError
from fadump.linux.state import tasks
from fadump.linux.state.tasks import Task
from fadump.linux.system import CrashedSystem
from fadump.linux.types.contract import UnknownTypeError
from tests.linux.kernel_builder import PAGE_OFFSET
from tests.linux.task_kernel import AT, KERNEL_THREAD, TaskKernel

PROCESSES = [
    [{"pid": 1, "name": b"init"}],
    [{"pid": 7, "name": b"sixteen letters!", "state": 0}, {"pid": 8, "name": b"worker", "state": 0x402}],
    [{"pid": 9, "name": b"gone", "state": 0, "exit_state": 0x20}],
]


def tasks_of(kernel):
    return CrashedSystem(kernel.dump()).task_list


@pytest.mark.parametrize("older", [False, True])
@pytest.mark.parametrize("byte_order", ["little", "big"])
def test_every_thread_of_every_process(byte_order, older):
    found = tasks_of(TaskKernel(PROCESSES, byte_order, older=older))
    assert [(task.pid, task.process, task.state, task.name) for task in found.tasks] == [
        (1, 1, "S", "init"),
        (7, 7, "R", "sixteen letters!"),
        (8, 7, "I", "worker"),
        (9, 9, "Z", "gone"),
    ]
    assert all(task.address >= PAGE_OFFSET for task in found.tasks) and not found.left_out


@pytest.mark.parametrize("older", [False, True])
@pytest.mark.parametrize("byte_order", ["little", "big"])
def test_all_that_is_known_of_a_task(byte_order, older):
    kernel = TaskKernel([[{"pid": 1}]], byte_order, older=older, page_bytes=0x10000)
    mm = kernel.add_mm([3, 5, 100, 1]) if older else kernel.add_mm([2, 5, 100, 2], [[2, 0, 9, 0], [-1, 0, 9, -1]])
    thread = {"pid": 5, "cpu": 1, "parent": 1, "user": 1000, "mm": mm, "times": (11, 22, 33), "on_cpu": 1}
    kernel.link([kernel.names["Dinit_task"] + AT["tasks"], kernel.tasks[1] + 32, kernel.add_process([thread]) + 32])
    _init, task = tasks_of(kernel).tasks
    assert task == Task(
        *(5, 5, "task", "S", kernel.tasks[5]),
        parent=1,
        cpu=1,
        on_cpu=True,
        user=1000,
        started_ns=33,
        user_ns=11,
        system_ns=22,
        resident_bytes=9 * 0x10000,
        is_kernel_thread=False,
        stack_pointer=0,
    )


@pytest.mark.parametrize(
    ("state", "exit_state", "letter", "word"),
    [
        (0, 0, "R", "runnable"),
        (1, 0, "S", "sleeping"),
        (2, 0, "D", "blocked"),
        (0x102, 0, "D", "blocked"),  # TASK_KILLABLE
        (0x1000, 0, "D", "blocked"),
        (0x8001, 0, "D", "blocked"),
        (4, 0, "T", "stopped"),
        (8, 0, "t", "stopped by a tracer"),
        (0x80, 0x10, "X", "dead"),
        (0x80, 0x20, "Z", "zombie"),
        (0x40, 0, "P", "parked"),
        (0x402, 0, "I", "idle"),
    ],
)
def test_a_state_is_the_letter_that_ps_has_for_it(state, exit_state, letter, word):
    (task,) = tasks_of(TaskKernel([[{"pid": 1, "state": state, "exit_state": exit_state}]])).tasks
    assert (task.state, task.state_word, task.is_blocked) == (letter, word, letter == "D")


def test_a_kernel_thread_is_one_by_its_flag_and_has_no_memory():
    (task,) = tasks_of(TaskKernel([[{"pid": 2, "flags": KERNEL_THREAD | 0x40}]])).tasks
    assert task.is_kernel_thread and task.resident_bytes == 0


@pytest.mark.parametrize("byte_order", ["little", "big"])
def test_what_runs_on_a_cpu_is_in_its_paca(byte_order):
    kernel = TaskKernel(PROCESSES, byte_order, count=2)
    kernel.run(1, 7)
    with CrashedSystem(kernel.dump()) as system:
        assert system.running_task(1).pid == 7
        with pytest.raises(FadumpError):
            system.running_task(0)  # nothing is at address 0


def test_what_the_types_lack_is_not_known_and_what_is_needed_is_named():
    kernel = TaskKernel(PROCESSES, without=("real_parent", "thread_info", "flags", "mm", "utime"))
    task = tasks_of(kernel).tasks[0]
    assert (task.parent, task.cpu, task.is_kernel_thread, task.resident_bytes, task.user_ns) == (None,) * 5
    with pytest.raises(UnknownTypeError, match="no member thread_node"):
        tasks_of(TaskKernel(PROCESSES, without=("thread_node",)))
    with pytest.raises(UnknownTypeError, match="has no BTF"):
        tasks_of(TaskKernel(PROCESSES, btf=False))


def test_without_the_cpus_own_counts_a_processs_memory_is_not_guessed():
    kernel = TaskKernel([])
    mm = kernel.add_mm([2, 5, 0, 2], [[2, 0, 9, 0], [-1, 0, 9, -1]])
    kernel.link([kernel.names["Dinit_task"] + AT["tasks"], kernel.add_process([{"pid": 1, "mm": mm}]) + AT["tasks"]])
    del kernel.names["D__per_cpu_offset"]
    assert tasks_of(kernel).tasks[0].resident_bytes is None


def test_a_list_that_breaks_off_is_followed_from_its_other_end():
    kernel = TaskKernel([[{"pid": pid}] for pid in (1, 2, 3, 4)])
    kernel.poke(kernel.tasks[2] + AT["tasks"], kernel.pack("Q", 0))
    found = tasks_of(kernel)
    assert [task.pid for task in found.tasks] == [1, 2, 3, 4]
    assert len(found.left_out) == 1 and "NULL pointer" in found.left_out[0]


@pytest.mark.parametrize("to", [1, 3])
def test_a_list_that_does_not_come_back_is_told_and_ends(to):
    kernel = TaskKernel([[{"pid": pid}] for pid in (1, 2, 3)])
    kernel.poke(kernel.tasks[3] + AT["tasks"], kernel.pack("QQ", *[kernel.tasks[to] + AT["tasks"]] * 2))
    found = tasks_of(kernel)
    assert [task.pid for task in found.tasks] == [1, 2, 3]
    assert len(found.left_out) == 1 and "not to its start" in found.left_out[0]


def test_a_process_whose_threads_cannot_be_read_is_there_itself():
    kernel = TaskKernel(PROCESSES)
    kernel.poke(kernel.tasks[7] + AT["signal"], kernel.pack("Q", PAGE_OFFSET + (1 << 40)))
    found = tasks_of(kernel)
    assert [task.pid for task in found.tasks] == [1, 7, 9]
    assert len(found.left_out) == 1 and "some threads" in found.left_out[0]


def test_a_task_nowhere_is_left_out_with_a_sentence():
    kernel = TaskKernel(PROCESSES)
    far = PAGE_OFFSET + (1 << 40)
    kernel.poke(kernel.tasks[1] + AT["tasks"], kernel.pack("Q", far))
    found = tasks_of(kernel)
    assert [task.pid for task in found.tasks] == [1, 7, 8, 9]
    assert any(f"{far - PAGE_OFFSET:#x}" in sentence for sentence in found.left_out)


def test_of_more_tasks_than_any_system_has_the_first_are_told(monkeypatch):
    monkeypatch.setattr(tasks, "MOST_TASKS", 5)
    found = tasks_of(TaskKernel([[{"pid": pid}] for pid in range(1, 10)]))
    assert [task.pid for task in found.tasks] == [1, 2, 3, 4, 5]
    assert any("6 processes, more than the 5 that are read" in sentence for sentence in found.left_out)

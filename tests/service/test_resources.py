import os
import subprocess
import threading

import pytest

from fadump.service.config import Priority
from fadump.service.resources import lowered, threads
from fadump.service.root import Root

MEMINFO = "MemTotal:        1000000 kB\nMemFree:          {} kB\n{}"


def system(tmp_path, free_kb, available_kb=None):
    available = "" if available_kb is None else f"MemAvailable:     {available_kb} kB\n"
    (tmp_path / "meminfo").write_text(MEMINFO.format(free_kb, available))
    return Root(proc=tmp_path)


def niceness_of_threads():
    """Of this thread, and of one that it starts."""
    seen = [os.getpriority(os.PRIO_PROCESS, 0)]
    thread = threading.Thread(target=lambda: seen.append(os.getpriority(os.PRIO_PROCESS, 0)))
    thread.start()
    thread.join()
    return seen


def disks():
    command = ["ionice", "--pid", str(threading.get_native_id())]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.split(":")[0].strip()


def test_others_go_first_while_a_dump_is_saved_and_no_longer():
    before = niceness_of_threads(), disks()
    with lowered(Priority.IDLE):
        assert (niceness_of_threads(), disks()) == ([19, 19], "idle")
    assert (niceness_of_threads(), disks()) == before
    with lowered(Priority.NORMAL):
        assert (niceness_of_threads(), disks()) == before


@pytest.mark.parametrize(
    ("free_kb", "available_kb", "most"), [(10_000, None, 1), (1, 200_000, 3), (0, 1, 1), (0, 100_000_000, 1_000)]
)
def test_threads_are_as_many_as_there_are_cpus_and_memory_for(tmp_path, monkeypatch, free_kb, available_kb, most):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: range(1_000))
    assert threads(system(tmp_path, free_kb, available_kb), None) == most
    assert threads(system(tmp_path, free_kb, available_kb), 7) == 7


def test_a_system_that_does_not_say_how_much_memory_it_has_gets_a_thread_for_each_cpu(tmp_path):
    assert threads(Root(proc=tmp_path), None) == len(os.sched_getaffinity(0))

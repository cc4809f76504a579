"""Crashes that Linux's watchdogs and checks find late, and whom a report blames then. `make test-kernels`.

drgn, by debug information, knows which thread has provoked it.
"""

import pytest

from tests.real_linux.more_kernels.crash_stories import FUSE_IS_MUTE, CrashingMachine, in_order, provoked, reported
from tests.real_linux.more_kernels.crashing import crashing_kernel, own_module
from tests.real_linux.readers import program_of
from tests.real_linux.scenario import Scenario

HUNG = "echo 10 >/proc/sys/kernel/hung_task_timeout_secs; echo 1 >/proc/sys/kernel/hung_task_panic; "
SOFT = "echo 5 >/proc/sys/kernel/watchdog_thresh; echo 1 >/proc/sys/kernel/softlockup_panic; "
UNSURE = "unsure"
IS_BLOCKED = "A task was blocked for more than 10 seconds, and the kernel is set to panic then"
SPOILT = "stack"
"""Its crash leaves a back chain that leads nowhere, so that the backtrace isn't whole."""
STORIES = {
    "hung-task": provoked("HUNG_TASK", IS_BLOCKED, UNSURE, before=HUNG),
    "soft-lockup": provoked(
        "SOFTLOCKUP", "A CPU ran in the kernel for too long and did nothing else", UNSURE, before=SOFT
    ),
    "list": provoked("CORRUPT_LIST_ADD", "The kernel stopped at a check of its own, at lib/list_debug.c:", UNSURE),
    SPOILT: provoked("CORRUPT_STACK", "A function wrote behind its variables on the stack"),
    "write-to-code": provoked("WRITE_KERN", "The kernel wrote to memory that it may only read"),
    "data-as-code": provoked(
        "EXEC_DATA", "The kernel jumped to an address where no code is", function="execute_location"
    ),
}


@pytest.fixture(scope="module")
def machine(tmp_path_factory):
    kernel, directory = crashing_kernel("6.12"), tmp_path_factory.mktemp("watchdogs")
    modules = in_order(directory / "modules", [own_module(kernel, "lkdtm"), own_module(kernel, "fuse")])
    with Scenario(directory, kernel, "oops=panic", modules=modules) as scenario:
        yield CrashingMachine(directory, scenario), kernel


@pytest.mark.parametrize("name", STORIES)
def test_the_culprit_is_blamed(machine, name, monkeypatch):
    crashing, kernel = machine
    story = STORIES[name]
    dump = crashing.crash(name, story.script)
    found = reported(dump, exit_code=name == SPOILT)
    assert found["what"].startswith(story.what)
    assert ["back chain" in sentence for sentence in found["missing"]] == [True] * (name == SPOILT)
    assert (found["blame"], found["certainty"]) == (story.blame, story.certainty)
    ((command, pid),) = threads_in(dump, kernel, {story.function, "direct_entry"}, monkeypatch)
    assert f"{command} (PID {pid})" in found["where"]


def test_who_holds_what_a_hung_task_waits_for_is_blamed(machine, monkeypatch):
    crashing, kernel = machine
    dump = crashing.crash("hung-behind-fuse", HUNG + FUSE_IS_MUTE + "sleep 1000")
    found = reported(dump)
    ((command, pid),) = threads_in(dump, kernel, {"request_wait_answer"}, monkeypatch)
    assert found["what"] == IS_BLOCKED
    assert found["blame"] == f"{command} (PID {pid}), which waits for a FUSE server's answer"


def threads_in(dump, kernel, functions, monkeypatch):
    """The command and number of each thread that has one of these functions on its stack.

    direct_entry() is lkdtm's. drgn doesn't see who calls a leaf function; nothing is seen behind a spoilt frame.
    """
    program = program_of(dump, kernel, monkeypatch)
    program.load_debug_info([own_module(kernel, "lkdtm"), own_module(kernel, "fuse")])
    return [
        (thread.object.comm.string_().decode(), thread.tid)
        for thread in program.threads()
        if any(frame.name in functions for frame in stack_of(thread))
    ]


def stack_of(thread):
    try:
        return thread.stack_trace()
    except ValueError:  # of one that ran in user space
        return ()

"""Messages as Linux's sources have them, of several versions."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fadump.limits import MOST_INCIDENTS
from fadump.linux.log.incidents import Incident, IncidentKind, find_incidents
from fadump.linux.system import CrashedSystem
from tests.linux.kernel_builder import FakeKernel, Log, Message


def found_in(*texts, facility=0):
    kernel = FakeKernel()
    Log(kernel, [Message(text.encode(), 1000, facility=facility) for text in texts], text_bits=14, count_bits=6)
    return find_incidents(CrashedSystem(kernel.dump()).log()).incidents


SAID = [
    (
        "INFO: task kworker/u8:3:123 blocked for more than 120 seconds.",
        IncidentKind.HUNG_TASK,
        {"task": "kworker/u8:3", "pid": 123, "seconds": 120},
    ),
    (
        "INFO: task touch:146 blocked in I/O wait for more than 10 seconds.",
        IncidentKind.HUNG_TASK,
        {"task": "touch", "pid": 146, "seconds": 10},
    ),
    (
        "INFO: task cat:2 is blocked on a mutex likely owned by task dd:9.",
        IncidentKind.HUNG_TASK,
        {"task": "cat", "pid": 2, "owner": "dd", "owner_pid": 9},
    ),
    (
        "INFO: task cat:2 <writer> blocked on an rw-semaphore likely owned by task d d:9 <reader>",
        IncidentKind.HUNG_TASK,
        {"task": "cat", "pid": 2, "owner": "d d", "owner_pid": 9},
    ),
    (
        "watchdog: BUG: soft lockup - CPU#3 stuck for 22s! [insmod:417]",
        IncidentKind.SOFT_LOCKUP,
        {"cpu": 3, "seconds": 22, "task": "insmod", "pid": 417},
    ),
    (
        "NMI watchdog: BUG: soft lockup - CPU#0 stuck for 23s! [a:b:1]",
        IncidentKind.SOFT_LOCKUP,
        {"cpu": 0, "seconds": 23, "task": "a:b", "pid": 1},
    ),
    ("watchdog: CPU 1 detected hard LOCKUP on other CPUs 0,3", IncidentKind.HARD_LOCKUP, {"cpu": 0}),
    ("watchdog: CPU 2 self-detected hard LOCKUP @ _raw_spin_lock+0x34/0x90", IncidentKind.HARD_LOCKUP, {"cpu": 2}),
    ("NMI watchdog: Watchdog detected hard LOCKUP on cpu 4", IncidentKind.HARD_LOCKUP, {"cpu": 4}),
    ("rcu: INFO: rcu_sched detected stalls on CPUs/tasks:", IncidentKind.RCU_STALL, {}),
    ("INFO: rcu_preempt self-detected stall on CPU", IncidentKind.RCU_STALL, {}),
    ("rcu: INFO: rcu_sched detected expedited stalls on CPUs/tasks: { 1-... }", IncidentKind.RCU_STALL, {}),
    (
        "tail invoked oom-killer: gfp_mask=0x140cca(GFP_HIGHUSER_MOVABLE|__GFP_COMP), order=0, oom_score_adj=0",
        IncidentKind.OUT_OF_MEMORY,
        {"task": "tail"},
    ),
    (
        "Out of memory: Killed process 123 (tail) total-vm:1kB, anon-rss:2kB, file-rss:0kB, shmem-rss:0kB, UID:0",
        IncidentKind.OOM_KILL,
        {"task": "tail", "pid": 123},
    ),
    ("Memory cgroup out of memory: Killed process 9 (a) b) total-vm", IncidentKind.OOM_KILL, {"task": "a", "pid": 9}),
    (
        "Out of memory (oom_kill_allocating_task): Killed process 7 (x) total",
        IncidentKind.OOM_KILL,
        {"task": "x", "pid": 7},
    ),
    ("Killed process 123, UID 0, (tail) total-vm:1kB", IncidentKind.OOM_KILL, {"task": "tail", "pid": 123}),
]


@pytest.mark.parametrize(("text", "kind", "said"), SAID)
def test_a_message_is_told_with_what_it_says(text, kind, said):
    assert found_in("before", text, "behind") == (Incident(kind, 1000, text, **said),)


def test_what_a_program_writes_is_none():
    assert found_in(*(text for text, _kind, _said in SAID), facility=1) == ()


def test_a_message_that_only_mentions_one_is_none():
    assert found_in(*(f"he said: {text}" for text, kind, _said in SAID if "oom-killer" not in text)) == ()


def test_very_many_are_counted():
    class Record:
        facility, timestamp_ns, text = 0, 0, SAID[0][0]

    found = find_incidents([Record] * (MOST_INCIDENTS + 5))
    assert (len(found.incidents), found.left_out) == (MOST_INCIDENTS, 5)


@given(st.text(max_size=300))
def test_any_text_is_some_answer(text):
    class Record:
        facility, timestamp_ns = 0, 0

    Record.text = text
    find_incidents([Record])

"""Who is to blame for what doesn't go on: by the stacks of stuck CPUs and of tasks that wait."""

from dataclasses import replace
from types import SimpleNamespace

import pytest

from fadump.abi.linux.page_table import PAGE_OFFSET
from fadump.abi.linux.pt_regs import REGISTER_NAMES
from fadump.linux.cpus.backtrace import Backtrace, Frame
from fadump.linux.cpus.cpu import Cpu
from fadump.linux.state.task_stacks import StackGroup
from fadump.linux.symbols.table import SymbolOffset
from fadump.report.verdict import Certainty, judge
from tests.report.stories import findings_of, kernel_that_said

HUNG = "INFO: task cat:123 blocked for more than 122 seconds."
HUNG_PANIC = "Kernel panic - not syncing: hung_task: blocked tasks"


def backtrace(*functions):
    """Frames of these functions, innermost first: "name", "name [module]", or with the trap that stopped it before."""
    frames = []
    for number, function in enumerate(functions):
        trap, _, name = function.rpartition(": ")
        name, _, module = name.partition(" [")
        symbol = SymbolOffset(name, 8, 64, module.removesuffix("]"))
        frames.append(Frame(PAGE_OFFSET + 0x100 * number, 0, symbol, int(trap, 16) if trap else None))
    return Backtrace(tuple(frames))


def verdict(texts, cpus=(), waiting=()):
    """``cpus`` have these functions on their stacks, the last crashed; ``waiting`` are (pid, waits_for, functions)."""
    findings = findings_of(kernel_that_said(*texts))
    registers = dict.fromkeys(REGISTER_NAMES, 0)
    made = [
        Cpu(number, number == len(cpus) - 1, True, registers, backtrace(*functions))
        for number, functions in enumerate(cpus)
    ]
    groups = [
        StackGroup(
            (SimpleNamespace(pid=pid, name=f"task{pid}", is_blocked=True),), backtrace(*functions), (), waits_for
        )
        for pid, waits_for, functions in waiting
    ]
    summary = replace(findings.summary, cpus=tuple(made), stacks=tuple(groups))
    return judge(replace(findings, summary=summary))


WATCHER = ("crash_fadump", "panic", "nmi_panic", "watchdog_smp_panic", "0x900: do_idle")


@pytest.mark.parametrize(
    ("text", "panic", "stuck", "blame"),
    [
        (
            "watchdog: CPU 1 detected hard LOCKUP on other CPUs 0",
            "Hard LOCKUP",
            ("crash_stop_this_cpu", "0x100: spins [mine]", "write"),
            "the module mine, in spins()",
        ),
        (
            "watchdog: CPU 1 detected hard LOCKUP on other CPUs 0",
            "Hard LOCKUP",
            ("crash_stop_this_cpu", "0x100: _raw_spin_lock", "locks", "0xc00: user"),
            "locks()",
        ),
        ("rcu: INFO: rcu_sched detected stalls on CPUs/tasks:\nrcu: \t0-....: (1 GPs behind)", "RCU Stall",
         ("spins [mine]", "write"), "the module mine, in spins()"),
    ],
)  # fmt: skip
def test_what_the_stuck_cpu_did_is_to_blame_and_not_who_found_it(text, panic, stuck, blame):
    found = verdict([*text.split("\n"), f"Kernel panic - not syncing: {panic}"], [stuck, WATCHER])
    assert (found.blame, found.certainty) == (blame, Certainty.UNSURE)
    assert "on CPU 0" in found.where and "watchdog" not in found.where


def test_a_soft_lockup_is_found_by_the_stuck_cpu_itself():
    stack = ("crash_fadump", "panic", "watchdog_timer_fn", "0x900: spins [mine]", "write", "0x3000: user")
    text = "watchdog: BUG: soft lockup - CPU#0 stuck for 22s! [sh:77]"
    found = verdict([text, "Kernel panic - not syncing: softlockup: hung tasks"], [stack])
    assert found.blame == "the module mine, in spins()"
    assert found.where == "in spins() of the module mine, on CPU 0, in sh (PID 77)"


@pytest.mark.parametrize(
    ("waiting", "blame"),
    [
        ([(123, None, ("schedule", "sleeps [mine]", "write"))], "the module mine, in sleeps()"),
        ([(123, "a mutex", ("schedule", "__mutex_lock", "opens [mine]"))], "the module mine, in opens()"),
        (
            [(123, "a block device", ("schedule", "submit_bio_wait", "reads"))],
            "whatever keeps it waiting: a block device",
        ),
        (
            [
                (123, "a read-write semaphore, to write", ("schedule", "rwsem_down_write_slowpath", "open")),
                (7, "a FUSE server's answer", ("schedule", "request_wait_answer", "fuse_lookup [fuse]")),
                (8, "a mutex", ("schedule", "__mutex_lock", "other")),
            ],
            "task7 (PID 7), which waits for a FUSE server's answer",
        ),
    ],
)
def test_what_a_hung_task_waits_for_is_to_blame(waiting, blame):
    found = verdict([HUNG, HUNG_PANIC], [WATCHER], waiting)
    assert (found.blame, found.certainty) == (blame, Certainty.UNSURE)


def test_the_holder_that_the_log_names_is_told_with_what_it_waits_for():
    owned = "INFO: task cat:123 is blocked on a mutex likely owned by task task7:7."
    waiting = [
        (123, "a mutex", ("schedule", "__mutex_lock", "open")),
        (7, "an RPC server's answer, as NFS's", ("schedule", "rpc_wait_bit_killable")),
    ]
    found = verdict([HUNG, owned, HUNG_PANIC], [WATCHER], waiting)
    assert found.blame == "task7 (PID 7), which waits for an RPC server's answer, as NFS's"

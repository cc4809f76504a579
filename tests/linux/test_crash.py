import pytest

from fadump.abi.linux.printk import LogFlags
from fadump.linux.kernel_name import KernelName, crash_time, read_name
from fadump.linux.log.ending import Ending, EndingTask, find_ending
from fadump.linux.log.record import LogRecord
from tests.linux.kernel_builder import FakeKernel


def ending(*texts):
    return find_ending(
        LogRecord(number, number * 1000, 0, 6, LogFlags(0), text) for number, text in enumerate(texts, start=1)
    )


def test_the_panic_and_what_came_before_it():
    found = ending(
        "hello", "sysrq: Trigger a crash", "Kernel panic - not syncing: sysrq triggered crash", "Oops: later"
    )
    assert found == Ending("sysrq triggered crash", "sysrq: Trigger a crash", 3000)


@pytest.mark.parametrize(
    "text",
    [
        "BUG: Unable to handle kernel data access on read at 0x00000000",
        "Oops: Kernel access of bad area, sig: 11 [#1]",
        "watchdog: CPU 1 Hard LOCKUP",
    ],
)
def test_the_last_trouble_is_the_cause(text):
    before = ("BUG: an earlier one", "Oops: of that", "---[ end trace 0000000000000000 ]---")
    assert ending(*before, text, "Kernel panic - not syncing: Fatal exception").cause == text


def test_the_cause_is_the_first_that_was_said_of_it_and_not_a_task_of_an_earlier_one():
    found = ending(
        "BUG: an earlier one",
        "CPU: 3 PID: 7 Comm: other Not tainted 6.1.0",
        "---[ end trace 0000000000000000 ]---",
        "BUG: Kernel NULL pointer dereference on read at 0x00000000\nFaulting instruction address: 0xc0000000000b8714",
        "Oops: Kernel access of bad area, sig: 11 [#2]",
        "CPU: 0 UID: 0 PID: 74 Comm: kworker/0:1 H Tainted: G      D W          6.12.117-fadump #1 ",
        "Hardware name: IBM,9009-22A POWER9 (raw) 0x4e0202 0xf000005 of:IBM,FW950 hv:phyp pSeries ",
        "---[ end trace 0000000000000000 ]---",
        "Kernel panic - not syncing: Fatal exception",
    )
    assert found == Ending(
        panic="Fatal exception",
        cause="BUG: Kernel NULL pointer dereference on read at 0x00000000",
        uptime_ns=9000,
        task=EndingTask(74, "kworker/0:1 H"),
        hardware="IBM,9009-22A POWER9 (raw) 0x4e0202 0xf000005 of:IBM,FW950 hv:phyp pSeries",
    )


@pytest.mark.parametrize(
    "words", ["UID: 0 PID: 74 Comm: sh Not tainted 6.12", "PID: 74 Comm: sh Kdump: loaded Tainted: G  W  6.1"]
)
def test_the_task_that_panics_is_named_right_after(words):
    panic = "Kernel panic - not syncing: sysrq triggered crash"
    assert ending("BUG: soft lockup", panic, f"CPU: 0 {words}", "CPU: 1 PID: 2 Comm: b Not").task == EndingTask(
        74, "sh"
    )
    assert ending(panic, *[""] * 20, f"CPU: 0 {words}").task is None


def record(text, facility=0):
    return LogRecord(0, 0, facility, 6, LogFlags(0), text)


def test_what_a_program_writes_is_not_the_panic():
    found = find_ending(
        [
            record("Kernel panic - not syncing: VFS", facility=1),
            record("BUG: a program's", facility=3),
            record("sysrq: Trigger a crash"),
            record("Kernel panic - not syncing: sysrq triggered crash"),
            record("CPU: 0 PID: 9 Comm: liar Not tainted 6.1", facility=1),
            record("CPU: 0 PID: 7 Comm: sh Not tainted 6.1"),
        ]
    )
    assert (found.panic, found.cause, found.task) == (
        *("sysrq triggered crash", "sysrq: Trigger a crash"),
        EndingTask(7, "sh"),
    )


@pytest.mark.parametrize("quoted", ["Kernel panic - not syncing: VFS", "BUG: soft lockup", "Oops: Kernel access"])
def test_a_message_that_only_quotes_one_is_neither_panic_nor_cause(quoted):
    found = ending(f"guest7 console: {quoted}", "sysrq: Trigger a crash", "Kernel panic - not syncing: sysrq")
    assert (found.panic, found.cause) == ("sysrq", "sysrq: Trigger a crash")
    assert ending(f"guest7 console: {quoted}") == Ending(uptime_ns=1000)


def test_the_last_of_several_panics_counts():
    found = ending(
        *("sysrq: Trigger a crash", "Kernel panic - not syncing: first", "CPU: 0 PID: 1 Comm: a Not tainted 6"),
        *("Oops: in a notifier", "Kernel panic - not syncing: second", "CPU: 0 PID: 2 Comm: b Not tainted 6"),
    )
    assert found == Ending("second", "Oops: in a notifier", 5000, EndingTask(2, "b"))


OTHERS = (
    "WARNING: CPU: 0 PID: 1 at mm/slub.c:1 f+0x0/0x10",
    "rcu: INFO: rcu_sched detected stalls on CPUs/tasks:",
    "INFO: task other:9 blocked for more than 120 seconds.",
    "java invoked oom-killer: gfp_mask=0x100cca",
)


@pytest.mark.parametrize(
    ("cause", "panic"),
    [
        ("WARNING: CPU: 1 PID: 7 at fs/a.c:9 g+0x4/0x8", "kernel: panic_on_warn set ..."),
        ("WARNING: CPU: 1 PID: 7 at fs/a.c:9 g+0x4/0x8", "panic_on_warn set ..."),
        ("BUG: KASAN: use-after-free in f+0x0/0x10", "KASAN: panic_on_warn set ..."),
        ("rcu: INFO: rcu_sched self-detected stall on CPU", "RCU Stall"),
        ("INFO: rcu_sched self-detected stall on CPU { 1}", "RCU Stall"),
        ("rcu: INFO: rcu_preempt detected stalls on CPUs/tasks:", "RCU Stall"),
        ("INFO: task sync:74 blocked for more than 120 seconds.", "hung_task: blocked tasks"),
        ("watchdog: BUG: soft lockup - CPU#3 stuck for 22s! [stress:99]", "softlockup: hung tasks"),
        ("BUG: soft lockup - CPU#3 stuck for 22s! [stress:99]", "softlockup: hung tasks"),
        ("watchdog: CPU 1 Hard LOCKUP", "Hard LOCKUP"),
        ("Watchdog CPU:1 Hard LOCKUP", "Hard LOCKUP"),
        ("NMI watchdog: Watchdog detected hard LOCKUP on cpu 2", "Watchdog detected hard LOCKUP on cpu 2"),
        ("Severe Machine check interrupt [Not recovered]", "Unrecoverable Machine check"),
        ("MCE: CPU0: machine check (Severe) Host UE Load/Store [Not recovered]", "Fatal exception"),
        ("Machine check in kernel mode.", "Fatal exception"),
        ("kernel BUG at fs/a.c:9!", "Fatal exception"),
        ("Unable to handle kernel paging request for data at address 0x00000000", "Fatal exception in interrupt"),
        ("Oops: Exception in kernel mode, sig: 5 [#1]", "Aiee, killing interrupt handler!"),
        ("Unrecoverable exception 4100 at c000000000012345", "Unrecoverable exception"),
        ("SysRq : Trigger a crash", "sysrq triggered crash"),
        ("sysrq: SysRq : Trigger a crash", "sysrq triggered crash"),
        ("mysqld invoked oom-killer: gfp_mask=0x0, order=0", "Out of memory: system-wide panic_on_oom is enabled"),
    ],
)
def test_each_panic_has_its_own_kind_of_cause(cause, panic):
    before = ("BUG: an earlier one", "---[ end trace 0000000000000000 ]---", *OTHERS)
    found = ending(*before, cause, "a line of it", f"Kernel panic - not syncing: {panic}")
    assert (found.panic, found.cause) == (panic, cause)


def test_a_machine_check_is_its_first_line_and_none_that_was_recovered_from():
    lines = "CPU0: machine check (Severe) Host UE Load/Store DAR: 0 [Not recovered]", "CPU0: NIP: [c000000000012345] f"
    recovered = "MCE: CPU1: machine check (Warning) Guest SLB Multihit [Recovered]"
    found = ending(*(f"MCE: {line}" for line in lines), recovered, "Kernel panic - not syncing: Fatal exception")
    assert found.cause == f"MCE: {lines[0]}"


def test_a_warning_is_not_the_cause_of_another_panic():
    found = ending("sysrq: Trigger a crash", *OTHERS, "Kernel panic - not syncing: sysrq triggered crash")
    assert found.cause == "sysrq: Trigger a crash"


@pytest.mark.parametrize(
    "line",
    [
        "Pid: 74, comm: kworker/0:1 H Not tainted 2.6.32-642.el6.ppc64 #1",
        "Pid: 74, comm: kworker/0:1 H Tainted: G        W  2.6.32-642.el6.ppc64 #1",
        "TASK = c0000000f8a0b000[74] 'kworker/0:1 H' THREAD: c0000000f8b8c000 CPU: 1",
    ],
)
def test_the_task_as_older_kernels_name_it(line):
    expected = EndingTask(74, "kworker/0:1 H")
    assert ending("Oops: Kernel access of bad area, sig: 11 [#1]", line).task == expected
    assert ending("Kernel panic - not syncing: Fatal exception", line).task == expected


def test_a_log_without_an_end():
    assert ending("one", None) == Ending(uptime_ns=2000)
    assert ending() == Ending()


def test_the_name_that_uname_gave():
    kernel = FakeKernel()
    names = ["Linux", "host", "6.12.0", "#1 SMP", "ppc64le", "(none)"]
    start = kernel.place(bytes(4) + b"".join(name.encode().ljust(65, b"\0") for name in names))
    kernel.symbol("init_uts_ns", start)
    kernel.state("OFFSET", uts_namespace__name=4)
    assert read_name(kernel.read()) == KernelName(*names)


def test_without_facts_there_is_no_name_and_no_time():
    memory = FakeKernel().read()
    assert read_name(memory) is None
    assert crash_time(memory) is None


def test_the_time_of_the_crash():
    kernel = FakeKernel()
    kernel.facts["CRASHTIME"] = "1795468935"
    assert crash_time(kernel.read()) == 1795468935


def test_a_tasks_name_is_no_longer_than_one_can_be():
    """A message of 64 KiB with 2700 beginnings of such a line would be searched to its end from each of them."""
    escapes = "\\xfc" * 15
    assert ending(f"CPU: 1 PID: 7 Comm: {escapes} Not tainted").task == EndingTask(7, escapes)
    assert ending(f"CPU: 1 PID: 7 Comm: {'x' * 65} Not tainted").task is None

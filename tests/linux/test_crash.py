import pytest

from fadump.abi.linux.printk import LogFlags
from fadump.linux.crash import Ending, EndingTask, KernelName, crash_time, find_ending, read_name
from fadump.linux.log import LogRecord
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

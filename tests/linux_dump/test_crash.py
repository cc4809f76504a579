import pytest

from fadump.abi.linux.printk import LogFlags
from fadump.linux.crash import Ending, KernelName, crash_time, find_ending, read_name
from fadump.linux.log import LogRecord
from tests.linux_dump.kernel_builder import FakeKernel


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
    assert ending("BUG: an earlier one", text, "Kernel panic - not syncing: Fatal exception").cause == text


def test_a_log_without_an_end():
    assert ending("one", None) == Ending(None, None, 2000)
    assert ending() == Ending(None, None, None)


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

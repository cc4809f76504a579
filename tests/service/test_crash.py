"""What is known of a crash before its dump is saved."""

import pytest

from fadump.linux.system import CrashedSystem
from fadump.service.crash import read_crash
from tests.linux.crashed_kernel import crashed_kernel
from tests.linux.kernel_builder import Log, Message


@pytest.mark.parametrize(
    ("trap", "cause"),
    [
        (0x100, "a system reset interrupt (NMI) led straight to the dump"),
        (0x200, "a machine check led straight to the dump"),
        (0x500, None),  # an external interrupt, at which another CPU was stopped
        (0, None),
    ],
)
def test_a_crash_that_the_log_says_nothing_of_is_told_by_its_interrupt(trap, cause):
    kernel = crashed_kernel(with_log=False)
    Log(kernel, [Message(b"login:")])
    kernel.cpus[0] |= {"trap": trap}
    with CrashedSystem(kernel.dump()) as system:
        assert read_crash(system).cause == cause


def test_what_the_log_says_is_the_cause():
    kernel = crashed_kernel(with_log=False)
    Log(kernel, [Message(b"Kernel panic - not syncing: Fatal exception")])
    kernel.cpus[0] |= {"trap": 0x300}
    with CrashedSystem(kernel.dump()) as system:
        assert read_crash(system).cause == "Fatal exception"

"""A kernel of one's own: is it dumped, whichever way it crashes, and is its dump the machine at the crash?

    pytest --fadump-kernel ~/linux/vmlinux examples/test_kernel.py

Without a kernel it is a model of Linux that crashes.
"""

import pytest

import fadump


@pytest.mark.parametrize("by", ["sysrq", "nmi", "platform"])
def test_every_crash_is_dumped(fadump_machine, by):
    machine = fadump_machine(cpus=4)
    crash = machine.crash(by)
    assert crash.verified_bytes and crash.resets == 1
    with fadump.open(crash.vmcore) as system:
        assert system.kernel.release == crash.kernel_release
        assert len(system.cpus) == 4


def test_the_next_crash_is_dumped_too(fadump_machine):
    machine = fadump_machine()
    machine.crash()
    assert machine.crash(cpu=1).verified_bytes

"""``fadump vm``: a system that isn't ours on a terminal, from power-on to power-off."""

import pytest

from tests.real_linux.vm import shell_initrd, vm

CMDLINE = "console=hvc0 rdinit=/shell fadump=on panic=5"
CRASH = "echo c >/proc/sysrq-trigger"
STATE = "cat /sys/kernel/fadump/registered"


@pytest.fixture
def started(tmp_path, kernel):
    def start(*options):
        initrd = shell_initrd(tmp_path)
        return vm(tmp_path, "--kernel", kernel.bootable, "--initrd", initrd, "--cmdline", CMDLINE, *options)

    return start


def test_a_machine_lives_over_crashes_resets_and_registrations(started):
    with started("--memory", "2G") as machine:
        machine.at_prompt(STATE)
        machine.expect("1")
        machine.at_prompt(CRASH, "ls -l /proc/vmcore")
        machine.expect("/proc/vmcore")
        machine.at_prompt("echo 1 >/sys/kernel/fadump/release_mem", "echo 1 >/sys/kernel/fadump/registered", CRASH)
        machine.at_prompt("echo 1 >/sys/kernel/fadump/release_mem", "reboot -f", STATE)
        machine.expect("1")
        machine.at_prompt("poweroff -f")
        assert machine.end() == 0
        dumped = ["crashed", "preserved", "capture_boot", "invalidated"]
        assert machine.events == [
            *["registered", *dumped, "registered", *dumped, "reset", "registered", "unregistered"],
        ]


def test_keys_behind_ctrl_a_are_for_the_machine(started):
    with started("--platform", "powernv", "--cpus", "1") as machine:
        machine.at_prompt(STATE)
        machine.expect("1")
        machine.press("c")
        machine.expect("fadump: the firmware is registered")
        machine.press("n")
        machine.at_prompt("ls -l /proc/vmcore")
        machine.expect("/proc/vmcore")
        machine.press("x")
        machine.expect("The machine has been ended: 1 registration, 1 dump.")
        assert machine.end() == 0
        assert machine.events == ["registered", "crashed", "preserved", "capture_boot"]

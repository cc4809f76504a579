"""``fadump rehearse`` of systems that lose their dumps, each in a way of its own.

Each ends in one sentence with the last lines of its console. Where a system hangs it is given less time than usual.
"""

import pytest

from tests.real_linux import mini_system
from tests.real_linux.boot_disk import Grub
from tests.real_linux.conftest import SUITES

HANG = "sleep 100000"
UNREGISTERS = """cat >>/etc/profile <<'END'
echo() {
    [ "$1" != c ] || /bin/busybox echo 0 >/sys/kernel/fadump/registered
    /bin/busybox echo "$@"
}
END"""
"""The command that crashes a system from its console finds nothing registered any more."""
NO_SHELL = r"""printf '#!/bin/sh\necho -n root@mini:~#\nexec cat >/dev/null\n' >/etc/prompt
chmod 755 /etc/prompt
echo hvc0::respawn:/etc/prompt >/etc/inittab
kill -HUP 1"""
"""What looks like a prompt of root's takes no commands."""


@pytest.fixture(scope="module")
def grub(tmp_path_factory):
    return Grub(tmp_path_factory.mktemp("grub"), SUITES)


def lost(rehearsed, phase):
    """The first line of what is said of a dump that was lost on the way to this milestone."""
    status, result, said = rehearsed
    assert (status, result["result"], result["phase"]) == (1, "lost", phase), said
    sentence, *console = result["error"].splitlines()
    assert console and all(line.startswith("  | ") for line in console)
    assert f"lost: {sentence}" in said
    return sentence


def test_a_system_that_saves_nothing_has_lost_its_dump(rehearse):
    rehearsed = rehearse(save="true", then=mini_system.REBOOT)
    said = lost(rehearsed, "saved")
    assert "has rebooted out of its capture boot, and there is no new dump in its /var/crash: see what" in said
    assert (rehearsed[1]["service"], rehearsed[1]["resets"]) == ("rebooted", 2)


def test_a_system_that_does_not_register_is_named(rehearse):
    status, result, said = rehearse("--patience", "0.5", extra="echo 0 >/sys/kernel/fadump/registered")
    assert (status, result["result"], result["phase"]) == (1, "not-registered", "registered"), said
    assert "has not registered, so no crash would be dumped: see " in result["error"]


def test_a_system_that_does_not_come_up_is_waited_for_until_its_deadline(rehearse):
    said = lost(rehearse("--patience", "0.2", extra=HANG), "registered")
    assert said.startswith("the system shows no login prompt within 120 seconds: if it is slow, give --patience 2;")


def test_a_crash_that_does_not_reach_the_firmware_is_named(rehearse):
    said = lost(rehearse("--patience", "0.5", "--crash-by", "sysrq", extra=NO_SHELL), "preserved")
    assert said == "the crash has not reached the firmware within 60 seconds: crash it in another way by --crash-by"


def test_a_crash_without_a_registration_is_named(rehearse):
    said = lost(rehearse("--crash-by", "sysrq", extra=UNREGISTERS), "preserved")
    assert said == "the system has reset itself, and no dump was taken: see whether it was still registered"


def test_a_boot_loader_that_waits_for_somebody_has_lost_the_dump(rehearse, grub):
    said = lost(rehearse("--patience", "0.3", grub=grub, extra=": >/grub/grub.cfg; sync"), "capture_boot")
    assert said.startswith("no kernel has been entered after the crash within 90 seconds: see whether its boot loader")


def test_a_boot_loader_that_is_gone_has_lost_the_dump(rehearse, grub):
    said = lost(rehearse(grub=grub, extra="dd if=/dev/zero of=/dev/vda count=1; sync"), "capture_boot")
    assert said.startswith("no boot loader can be started from the first --disk (E34")


def test_a_service_that_does_not_end_has_lost_the_dump(rehearse):
    said = lost(rehearse("--patience", "0.25", save=HANG), "saved")
    assert said.startswith("the capture boot has neither dealt with the dump nor come into production within 225 seco")


def test_a_system_that_does_not_come_back_is_named(rehearse):
    said = lost(rehearse("--patience", "0.25", then=f"{mini_system.RELEASE}; {HANG}"), "production")
    assert said.startswith("the system has dealt with its dump, and has not come back into production within 150 seco")


def test_a_capture_boot_that_runs_out_of_memory_is_quoted(rehearse):
    rehearsed = rehearse(save="tail /dev/zero", then=mini_system.REBOOT)
    said = lost(rehearsed, "saved")
    assert "; it had run out of memory: [" in said and "invoked oom-killer" in said
    assert any("Out of memory: Killed process" in warning for warning in rehearsed[1]["warnings"])


def test_a_system_that_powers_off_in_its_capture_boot_is_named(rehearse):
    said = lost(rehearse(save="poweroff -f"), "production")  # Linux has invalidated the dump on its way down
    assert said.startswith("the system has powered off: see why")


def test_a_capture_kernel_that_crashes_has_lost_its_dump(rehearse):
    assert lost(rehearse(save="echo c >/proc/sysrq-trigger"), "saved").startswith("the capture kernel has ")


def test_a_dump_that_was_cut_short_is_not_saved(rehearse):
    rehearsed = rehearse(save="head -c 300000000 /proc/vmcore >/var/crash/today/vmcore")
    assert "/var/crash/today/vmcore is not whole" in lost(rehearsed, "saved")
    assert rehearsed[1]["dump"]["check"] == "damaged"

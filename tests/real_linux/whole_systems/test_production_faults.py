"""A Debian with the capture service, and what may go wrong with it on one machine: nothing that the firmware has had is
lost, and nothing that looks whole is anything else.

Whether a dump is whole is said by `fadump check`, and of which crash it is by the machine's memory and registers, of
which the test has a copy.
"""

from fadump.firmware.contract import State
from tests.real_linux.image_files import UNITS, copy_of, enabled, file_system
from tests.real_linux.server import server

ENABLED = enabled("fadump-capture.service", "basic.target")
HANGS_AND_FULL = """
[hooks]
before = ["/usr/local/sbin/hang"]
timeout = 5

[[target]]
type = "filesystem"
device = "LABEL=small"
wait = 300

[[target]]
type = "directory"
"""
HANG = """#!/bin/sh
sleep 1000000 &
trap '' TERM
echo "the hook hangs"
wait
sleep 1000000
"""
KILLER = """#!/bin/bash
# Kills the capture once it has written a part of its dump, in the first boot after a crash.
mkfifo /run/never
exec 3<>/run/never
until set -- /var/crash/*/vmcore.incomplete; [ -s "$1" ]; do read -t 1 -u 3; done    # sleep would be a process
systemctl kill --kill-whom=main --signal=KILL fadump-capture.service
touch /var/killed
sync
"""
KILLER_UNIT = """[Unit]
DefaultDependencies=no
After=local-fs.target
Before=fadump-capture.service
ConditionPathExists=/proc/vmcore
ConditionPathExists=!/var/killed

[Service]
ExecStart=/usr/local/sbin/kill-capture
"""


PART = ["fadump.json", "vmcore-dmesg.txt", "vmcore.incomplete"]


def test_a_hook_that_hangs_a_full_target_a_killed_service_and_second_crashes(tmp_path, packaged_debian, kernel):
    files = {
        "/etc/fadump.toml": HANGS_AND_FULL,
        "/usr/local/sbin/hang": HANG,
        "/usr/local/sbin/kill-capture": KILLER,
        f"{UNITS}/kill-capture.service": KILLER_UNIT,
    }
    killer = (f"{UNITS}/basic.target.wants/kill-capture.service", "../kill-capture.service")
    disk = copy_of(packaged_debian["path"], tmp_path / "server.img", files, links=[ENABLED, killer])
    small = file_system(tmp_path / "small.img", "small", 6)
    with server(tmp_path, kernel.bootable, disk, small) as system:
        system.log_in()
        assert system.state is State.REGISTERED
        system.crash()

        # The service is killed in the middle of its work: the boot goes on, and the firmware has the dump. kdump-tools,
        # which would save it too and reboot, isn't started, nor does it give the dump up.
        system.see("the hook hangs")
        system.see("Failed to start fadump-capture")
        system.log_in()
        assert system.state is State.ACTIVE
        assert names(system) == PART
        assert system.run("systemctl is-enabled kdump-tools; systemctl is-active kdump-tools") == "enabled\ninactive"

        # The system crashes once more before anybody has seen to it: the firmware keeps the first dump.
        system.crash_by(lambda: system.machine.type(b"echo c >/proc/sysrq-trigger\n"))
        system.see(r"not saved to LABEL=small/crash: .*No space left on device")
        system.see(r"saved: /var/crash/\S+/vmcore, .*; proven: every page and checksum")
        system.see(r"removed: LABEL=small/crash/\w+")
        system.see("remark: the hook before /usr/local/sbin/hang was not done after 5 seconds and has been killed")
        system.see("released; registered again")
        system.log_in()
        assert system.state is State.REGISTERED
        assert system.run("pgrep -c sleep") == "0"

        # The next crash is saved as well.
        system.crash()
        system.see("released; registered again")
        system.log_in()
        system.power_off()
        assert system.saved(tmp_path / "out") == [0, 1]


def names(system):
    """What is in the dumps' directories."""
    return system.run("ls -1 /var/crash/*/").splitlines()

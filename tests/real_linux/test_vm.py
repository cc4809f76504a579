"""``fadump vm``: a system that isn't ours on a terminal, from power-on to power-off."""

import hashlib
import os
import signal
import struct
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest

from tests.kit.conftest import wait_until
from tests.real_linux.boot_disk import elf, write_disk
from tests.real_linux.fadump_command import wait_until_gone
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
        dumped = ["crashed", "preserved", "capture_boot", "invalidated", "kept"]
        assert machine.events == [
            *["registered", *dumped, "registered", *dumped, "reset", "registered", "unregistered"],
        ]


def test_keys_behind_ctrl_a_are_for_the_machine(started):
    with started("--platform", "powernv", "--cpus", "1") as machine:
        machine.at_prompt(STATE)
        machine.expect("1")
        machine.press("c")
        machine.expect("fadump: a kernel has registered with the firmware")
        machine.press("n")
        machine.at_prompt("ls -l /proc/vmcore")
        machine.expect("/proc/vmcore")
        machine.press("x")
        machine.expect("The machine has been ended: 1 registration, 1 dump.")
        assert machine.end() == 0
        assert machine.events == ["registered", "crashed", "preserved", "capture_boot"]


TRANSLATES_DATA = struct.pack(">4I", 0x7C60_00A6, 0x6063_0010, 0x7C60_0124, 0x4800_0000)
"""mfmsr r3; ori r3,r3,MSR_DR; mtmsr r3; and on the spot for ever."""


NOTHING = "found no boot loader (E3407: Load failed)\r\n"
NOT_FOLLOWED = "to start at 0x200000, as GRUB does;"
"""Of each sentence, what stands together in lines of 100 columns."""


@pytest.mark.parametrize(("loader", "told"), [(b"", NOTHING), (elf(TRANSLATES_DATA, 0x30_0000), NOT_FOLLOWED)])
def test_a_disk_that_leads_nowhere_is_told_in_words(tmp_path, loader, told):
    disk, log = write_disk(tmp_path / "disk", loader), tmp_path / "console"
    with vm(tmp_path, "--disk", disk, "--console-log", log, told_on_terminal=True) as machine:
        machine.expect(told)
        machine.child.kill(signal.SIGTERM)
        machine.expect(f"fadump: ended by SIGTERM\r\nfadump: the console is in {log}\r\n")
        assert machine.end() == 128 + signal.SIGTERM
    assert "Welcome to Open Firmware" in log.read_text()


def children(process):
    """What a process has started: names by process id."""
    pids = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    names = {}
    for pid in pids:
        with suppress(OSError):  # it has ended
            names[int(pid)] = Path(f"/proc/{pid}/comm").read_text().strip()
    return names


@pytest.mark.parametrize("moment", ["sleep", "qemu-system-ppc"], ids=["while qemu-img runs", "while QEMU runs"])
def test_a_killed_machine_leaves_no_process_no_file_and_the_image_as_it_was(tmp_path, monkeypatch, moment):
    disk = write_disk(tmp_path / "disk", elf(TRANSLATES_DATA))
    before, scratch = hashlib.sha256(disk.read_bytes()).digest(), tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setenv("TMPDIR", str(scratch))
    if moment == "sleep":
        (tmp_path / "qemu-img").write_text("#!/bin/sh\nexec sleep 1000\n")
        (tmp_path / "qemu-img").chmod(0o755)
        monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    command = [sys.executable, "-m", "fadump", "vm", "--disk", disk, "--snapshot"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL) as process:
        started = wait_until(lambda: moment in (found := children(process)).values() and found)
        process.kill()
        wait_until_gone(started)
    assert not list(scratch.iterdir())
    assert hashlib.sha256(disk.read_bytes()).digest() == before

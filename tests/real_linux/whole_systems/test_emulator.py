"""The emulator in QEMU's place, with a caller's own monitor: a crash is dumped whatever the caller does meanwhile."""

import json
import os
import struct
import subprocess
from contextlib import contextmanager

import pexpect
import pytest
from pexpect.fdpexpect import fdspawn

from tests.emulator.running import Monitor, children, ended, running
from tests.machine.qemu.gdb_script import free_port
from tests.real_linux.boot_disk import LOADER_ADDRESS, boots_from, elf, write_disk
from tests.real_linux.vm import PROMPT, SECONDS, shell_initrd

MACHINE = "pseries,cap-cfpc=broken,cap-sbbc=broken,cap-ibs=broken,cap-ccf-assist=off"
CMDLINE = "console=hvc0 rdinit=/shell fadump=on panic=5"
FAILURES = ["Unable to handle kernel", "Oops:", "not syncing: VFS"]


class Guest:
    """A guest whose console is a terminal; what tells of a failure there fails at once."""

    def __init__(self, process, terminal, log):
        self._process = process
        self._console = fdspawn(terminal, logfile=log, timeout=SECONDS)

    def expect(self, text):
        found = self._console.expect_exact([text, *FAILURES, pexpect.EOF])
        assert found == 0, self._console.before[-2000:]

    def at_prompt(self, command, answer=None):
        self.expect(PROMPT)
        self._console.sendline(command)
        self.expect("\n")
        if answer is not None:
            self.expect(answer)

    def end(self):
        self._console.expect(pexpect.EOF)
        return self._process.wait()


@pytest.fixture
def emulator(tmp_path, kernel):
    @contextmanager
    def start(*words, monitor):
        files = ["-kernel", kernel.bootable, "-initrd", shell_initrd(tmp_path), "-append", CMDLINE]
        machine = ["-M", MACHINE, "-m", "2G", "-smp", "2", "-vga", "none", "-nographic"]
        ours, theirs = os.openpty()
        with (
            (tmp_path / "console.log").open("wb") as log,
            running(tmp_path, *machine, *files, *words, monitor=monitor, terminal=theirs) as process,
        ):
            os.close(theirs)
            yield Guest(process, ours, log)
            os.close(ours)

    return start


def test_a_crash_is_dumped_and_the_caller_has_qemu_as_ever(emulator, tmp_path, monkeypatch):
    events = tmp_path / "events"
    monkeypatch.setenv("FADUMP_EVENTS", str(events))
    monitor = Monitor("cont")  # before the firmware can be there
    with emulator("-S", monitor=monitor) as guest:
        guest.at_prompt("cat /sys/kernel/fadump/registered", "1")
        guest.expect(PROMPT)  # else it is taken for that of the next boot
        monitor.ask("stop")
        assert monitor.ask("query-status")["status"] == "paused"
        monitor.ask("system_reset")
        monitor.ask("cont")
        guest.at_prompt("cat /sys/kernel/fadump/registered", "1")
        guest.at_prompt("echo c >/proc/sysrq-trigger")
        guest.at_prompt("ls -l /proc/vmcore", "/proc/vmcore")
        guest.at_prompt("echo 1 >/sys/kernel/fadump/release_mem; echo 1 >/sys/kernel/fadump/registered")
        guest.at_prompt("poweroff -f")
        assert guest.end() == 0
    seen = [json.loads(line)["event"] for line in events.read_text().splitlines()]
    assert seen == [
        *("registered", "reset", "registered", "crashed", "preserved", "capture_boot", "invalidated", "kept"),
        *("registered", "unregistered"),
    ]


GDB_SCRIPT = """
set pagination off
set remotetimeout 60
target remote :{port}
break rtas_fadump_register
continue
bt
delete
break panic
continue
bt
delete
continue
"""


def test_a_callers_gdb_looks_in_and_the_crash_is_dumped(emulator, tmp_path, kernel):
    port = free_port()
    script = tmp_path / "script.gdb"
    script.write_text(GDB_SCRIPT.format(port=port))
    with emulator("-S", "-gdb", f"tcp:127.0.0.1:{port}", monitor=(monitor := Monitor())) as guest:
        assert monitor.ask("query-status")["status"] == "prelaunch"
        command = ["gdb-multiarch", "-nx", "-batch", "-x", script, kernel.vmlinux]
        with (tmp_path / "gdb.log").open("w") as log:
            gdb = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT)
        guest.at_prompt("cat /sys/kernel/fadump/registered", "1")
        guest.at_prompt("echo c >/proc/sysrq-trigger")
        guest.at_prompt("ls -l /proc/vmcore", "/proc/vmcore")
        guest.at_prompt("poweroff -f")
        assert guest.end() == 0
        assert gdb.wait(SECONDS) == 0
    said = (tmp_path / "gdb.log").read_text()
    registering, panic = said.split(" hit Breakpoint ")[1:]
    assert "rtas_fadump_register" in registering
    assert "in register_fadump" in registering
    assert "in sysrq_handle_crash" in panic
    assert "exited normally" in panic


def test_a_dump_is_no_reboot(emulator):
    """-no-reboot ends QEMU where a guest reboots; the reset that a dump takes is the firmware's. So is the hash page
    table in the dump, for which a CPU of the caller's QEMU runs once more."""
    with emulator("-no-reboot", "-cpu", "POWER8", monitor=Monitor()) as guest:
        guest.at_prompt("echo c >/proc/sysrq-trigger")
        guest.at_prompt("ls -l /proc/vmcore", "/proc/vmcore")
        guest.at_prompt("mount -t debugfs debugfs /sys/kernel/debug")
        guest.at_prompt("grep HPTE /sys/kernel/debug/powerpc/fadump_region", "0x1000 bytes, Dumped: 0x1000")
        guest.at_prompt("reboot -f")
        assert guest.end() == 0


def test_a_guest_that_cant_be_served_any_more_goes_on(tmp_path):
    """A boot loader that calls quiesce by itself, with no kernel anywhere: the firmware gives up, QEMU doesn't."""
    code = struct.pack(">5I", 0x3C60_0020, 0x6063_0040, 0x7CA9_03A6, 0x4E80_0421, 0x4800_0000)  # r5(0x200040), for ever
    code = code.ljust(0x40, b"\0") + struct.pack(">III", LOADER_ADDRESS + 0x50, 0, 0).ljust(16, b"\0") + b"quiesce\0"
    disk = write_disk(tmp_path / "disk", elf(code))
    monitor = Monitor()
    machine = ["-M", MACHINE, "-m", "1G", "-nodefaults", "-nographic", *boots_from(disk)]
    with running(tmp_path, *machine, monitor=monitor) as process:
        monitor.wait_for("RESUME")
        (guard,) = children(process.pid)
        said = process.stderr.readline().decode()
        assert said.startswith("fadump: the guest goes on without FADump: while waiting for the guest: ")
        assert "quiesce is called from 0x200010" in said
        assert ended(guard)
        assert monitor.ask("query-status")["status"] == "running"

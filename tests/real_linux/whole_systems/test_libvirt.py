"""libvirt with the emulator in QEMU's place: a domain's whole life, with a crash that its own system saves."""

import subprocess
from pathlib import Path

import pytest

from tests.emulator.running import children, ended, program
from tests.real_linux import mini_system
from tests.real_linux.libvirt import DOMAIN, Console, libvirt

PROMPT = "root@mini:~# "
REGISTERED = "cat /sys/kernel/fadump/registered"
SAVED = "/var/crash/today/vmcore"
SAVE = f"dd if=/proc/vmcore of={SAVED} bs=1M"
PT_LOAD = "LOAD"


@pytest.fixture
def host(tmp_path, kernel):
    """libvirt with a domain that is defined, and the image of its disk."""
    disk = mini_system.build(tmp_path, save=SAVE)
    domain = tmp_path / "domain.xml"
    domain.write_text(
        DOMAIN.format(
            memory_mib=1536, kernel=kernel.bootable, cmdline=mini_system.CMDLINE, emulator=program(tmp_path), disk=disk
        )
    )
    with libvirt() as running:
        running.virsh("define", domain)
        yield running, disk


def processes(pid):
    """QEMU's process, and the firmware's two."""
    (guard,) = children(pid)
    return [pid, guard, *children(guard)]


def test_a_domain_crashes_and_is_all_that_libvirt_knows(host, tmp_path):
    running, disk = host
    with (tmp_path / "console.log").open("wb") as log:
        running.virsh("start", "guest")
        assert Path(f"/proc/{running.guest_pid}/exe").readlink().name == "qemu-system-ppc64"
        everybody = processes(running.guest_pid)
        console = Console(running.interactive("console", "guest", log=log), PROMPT)
        console.at_prompt(REGISTERED, "1")
        running.virsh("suspend", "guest")
        assert running.virsh("domstate", "guest", "--reason") == "paused (user)"
        running.virsh("resume", "guest")
        assert running.virsh("domstate", "guest") == "running"
        console.at_prompt("echo c >/proc/sysrq-trigger")
        console.at_prompt(REGISTERED, "1")
        running.virsh("reset", "guest")
        console.at_prompt(REGISTERED, "1")
        console.at_prompt("reboot -f")
        console.at_prompt(REGISTERED, "1")
        running.virsh("dump", "--memory-only", "guest", tmp_path / "memory")
        assert running.virsh("domstate", "guest") == "running"
        console.at_prompt("sync; poweroff -f")
        assert ended(*everybody)
        console.close()
    assert running.virsh("domstate", "guest", "--reason") == "shut off (shutdown)"
    assert len([line for line in running.guest_log.splitlines() if "the firmware has copied" in line]) == 1
    assert loads(tmp_path / "memory") == 1
    subprocess.run(["debugfs", "-R", f"dump {SAVED} {tmp_path / 'vmcore'}", disk], check=True, capture_output=True)
    assert loads(tmp_path / "vmcore") >= 2


def test_a_domain_ends_when_libvirt_says_so(host, tmp_path):
    running, _disk = host
    for options in ([], ["--autodestroy"]):
        shell = running.interactive(log=None)
        shell.sendline(" ".join(["start", "guest", *options]))
        shell.expect_exact("Domain 'guest' started")
        everybody = processes(running.guest_pid)
        if not options:
            running.virsh("destroy", "guest")
        shell.sendeof()
        assert ended(*everybody)
        shell.close()
        assert running.virsh("domstate", "guest", "--reason") == "shut off (destroyed)"


def loads(core):
    """How many pieces of memory an ELF core has."""
    printed = subprocess.run(["readelf", "-lW", core], capture_output=True, text=True, check=False).stdout
    assert "CORE (Core file)" in printed
    assert core.stat().st_size > 1 << 30
    return printed.count(PT_LOAD)

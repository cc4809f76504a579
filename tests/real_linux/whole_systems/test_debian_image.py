"""A real Debian from its packages to its prompt: `fadump image build`, then QEMU's own firmware boots the disk.

The machine is stock: SLOF, no firmware of ours. `make test-systems` runs this; the first time it builds a kernel.
"""

import json
import os
import re
import select
import subprocess
import sys
from pathlib import Path

import pytest

from fadump.kit.kernel import build_kernel

PROMPT = rb"root@fadump:~# $"
SILENCE_SECONDS = 300
MACHINE = [
    *("qemu-system-ppc64", "-machine", "pseries,cap-cfpc=broken,cap-sbbc=broken,cap-ibs=broken,cap-ccf-assist=off"),
    *("-cpu", "POWER9", "-smp", "2", "-m", "4G", "-nodefaults", "-display", "none", "-serial", "stdio", "-no-reboot"),
    *("-netdev", "user,id=net", "-device", "virtio-net-pci,netdev=net,romfile="),
]


class Console:
    """A machine's console, to which a test types."""

    def __init__(self, process):
        self.process = process
        self.said = b""

    def wait_for(self, pattern):
        """Read until the end of what was said matches; return what was said since the last time."""
        start = len(self.said)
        while not re.search(pattern, self.said[start:]):
            ready = select.select([self.process.stdout], [], [], SILENCE_SECONDS)[0]
            data = os.read(self.process.stdout.fileno(), 1 << 16) if ready else b""
            assert data, f"nothing more after:\n{self.said[-3000:].decode(errors='replace')}"
            self.said += data
        return self.said[start:].decode(errors="replace").replace("\r", "")

    def run(self, line):
        """What a command of the guest's shell prints."""
        self.process.stdin.write(f"{line}\n".encode())
        return "\n".join(self.wait_for(PROMPT).splitlines()[1:-1])


@pytest.fixture(scope="module")
def built():
    """The image, as the command's object describes it."""
    build_kernel()
    done = subprocess.run(
        [sys.executable, "-m", "fadump", "image", "build", "--json"], stdout=subprocess.PIPE, text=True, check=True
    )
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def guest(built):
    """The image's system at its prompt; nothing is written to the image."""
    drive = f"if=virtio,format=raw,snapshot=on,file={built['path']}"
    with subprocess.Popen(
        [*MACHINE, "-drive", drive], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, bufsize=0
    ) as process:
        console = Console(process)
        try:
            console.wait_for(PROMPT)
            console.run("stty -echo; bind 'set enable-bracketed-paste off'; export TERM=dumb SYSTEMD_PAGER=")
            yield console
        finally:
            process.kill()


def test_it_boots_by_its_own_boot_loader_and_initramfs(guest):
    said = guest.said.decode(errors="replace")
    assert "SLOF" in said
    assert "GNU GRUB" in said or "Loading Linux" in said
    assert "Loading initial ramdisk" in said


def test_the_image_gives_its_machines_no_id(built):
    for name in ("/etc/machine-id", "/var/lib/dbus/machine-id"):
        command = ["debugfs", "-R", f"cat {name}", f"{built['path']}?offset=9437184"]
        assert subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout == b""


def test_it_runs_the_kernel_and_the_command_line_that_it_was_built_with(guest, built):
    assert guest.run("uname -r") == built["release"]
    _image, root, _ro, *words = guest.run("cat /proc/cmdline").split()
    assert root.startswith("root=UUID=")
    assert words == built["command_line"].split()


def test_no_unit_has_failed(guest):
    assert guest.run("systemctl is-system-running --wait") == "running", guest.run("systemctl --failed --no-legend")


def test_the_network_is_up_by_dhcp(guest):
    assert re.search(r"inet 10\.0\.2\.\d+/24", guest.run("ip -4 address show scope global"))


def test_every_package_is_configured(guest, built):
    assert guest.run("dpkg --audit") == ""
    states = guest.run("dpkg-query -W -f '${db:Status-Abbrev}|${Package}=${Version}\\n'").splitlines()
    assert {state.split("|")[0] for state in states} == {"ii "}
    packages = json.loads(Path(built["facts"]).read_text())["packages"]
    assert dict(state.split("|")[1].split("=", 1) for state in states) == packages


def test_files_have_their_owners_and_modes(guest):
    assert guest.run("stat -c '%U:%G %a' /usr/bin/su /usr/bin/chage /etc/shadow /tmp /").splitlines() == [
        *("root:root 4755", "root:shadow 2755", "root:shadow 640", "root:root 1777", "root:root 755"),
    ]
    assert guest.run("find / -xdev -uid +999 -o -xdev -nouser -o -xdev -nogroup") == ""


def test_the_dump_tools_are_there(guest):
    assert "makedumpfile" in guest.run("makedumpfile --version | head -1")
    assert guest.run("kdump-config show | head -1") != ""
    assert "kexec-tools" in guest.run("kexec --version")
    assert guest.run("python3 -c 'print(6 * 7)'") == "42"


def test_it_powers_off(guest):
    guest.process.stdin.write(b"systemctl poweroff\n")
    assert guest.process.wait(SILENCE_SECONDS) == 0

"""A real Debian from its packages to its prompt: `fadump image build`, then the disk boots as the image is meant to.

The machine is `fadump vm`: SLOF starts the disk's own boot loader, and there is FADump. On a QEMU without it Debian
loads a kernel for kdump before it goes on, which takes an emulated machine minutes.
"""

import json
import re
import subprocess
from pathlib import Path

import pytest

from tests.real_linux.debian_guest import DebianGuest
from tests.real_linux.vm import vm


@pytest.fixture(scope="module")
def guest(tmp_path_factory, debian):
    """The image's system at its prompt; nothing is written to the image."""
    with vm(tmp_path_factory.mktemp("image"), "--disk", debian["path"], "--snapshot", "--net", "user") as machine:
        yield DebianGuest(machine)


def test_it_boots_by_its_own_boot_loader_and_initramfs(guest):
    assert "SLOF" in guest.boot
    assert "GNU GRUB" in guest.boot or "Loading Linux" in guest.boot
    assert "Loading initial ramdisk" in guest.boot


def test_the_image_gives_its_machines_no_id(debian):
    for name in ("/etc/machine-id", "/var/lib/dbus/machine-id"):
        command = ["debugfs", "-R", f"cat {name}", f"{debian['path']}?offset=9437184"]
        assert subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout == b""


def test_it_runs_the_kernel_and_the_command_line_that_it_was_built_with(guest, debian):
    assert guest.run("uname -r") == debian["release"]
    _image, root, _ro, *words = guest.run("cat /proc/cmdline").split()
    assert root.startswith("root=UUID=")
    assert words == debian["command_line"].split()


def test_no_unit_has_failed(guest):
    assert guest.run("systemctl is-system-running --wait") == "running", guest.run("systemctl --failed --no-legend")


def test_the_network_is_up_by_dhcp(guest):
    assert re.search(r"inet 10\.0\.2\.\d+/24", guest.run("ip -color=never -4 address show scope global"))


def test_every_package_is_configured(guest, debian):
    assert guest.run("dpkg --audit") == ""
    states = guest.run("dpkg-query -W -f '${db:Status-Abbrev}|${Package}=${Version}\\n'").splitlines()
    assert {state.split("|")[0] for state in states} == {"ii "}
    packages = json.loads(Path(debian["facts"]).read_text())["packages"]
    assert dict(state.split("|")[1].split("=", 1) for state in states) == packages


def test_files_have_their_owners_and_modes(guest):
    assert guest.run("stat -c '%U:%G %a' /usr/bin/su /usr/bin/chage /etc/shadow /tmp /").splitlines() == [
        *("root:root 4755", "root:shadow 2755", "root:shadow 640", "root:root 1777", "root:root 755"),
    ]
    assert guest.run("find / -xdev \\( -uid +999 -o -nouser -o -nogroup \\)") == ""


def test_the_dump_tools_are_there(guest):
    assert "makedumpfile" in guest.run("makedumpfile -v 2>&1 | head -1")
    assert guest.run("kdump-config show | head -1").split() == ["DUMP_MODE:", "fadump"]
    assert "registered" in guest.machine.events
    assert "kexec-tools" in guest.run("kexec --version")
    assert guest.run("python3 -c 'print(6 * 7)'") == "42"


def test_it_powers_off(guest):
    guest.machine.child.sendline("systemctl poweroff")
    assert guest.machine.end() == 0

"""A Debian with the capture service whose target is another machine with a real sshd, and what may go wrong on the way.

The guest's network is QEMU's own, within a network of the test's in which that machine is. Whether a dump is whole is
said by `fadump check`, and of which crash it is by the machine's memory and registers.
"""

import pytest

from fadump.firmware.contract import State
from tests.real_linux.image_files import UNITS, copy_of, enabled
from tests.real_linux.server import server
from tests.service.targets.ssh_server import host_line, ssh_server

SERVICE = "fadump-capture-network.service"
GUARD = "fadump-capture-guard.service"
SENT_BYTES = 1 << 20
"""So much of a dump is a part of it."""
PART = {"fadump.json", "vmcore-dmesg.txt", "vmcore.incomplete"}
DISK = """
[[target]]
type = "directory"
"""
WAIT_ONLINE = """[Service]
ExecStart=
ExecStart=/usr/lib/systemd/systemd-networkd-wait-online --timeout=600
"""


@pytest.fixture
def dumps(tmp_path):
    """Another machine for dumps."""
    with ssh_server(tmp_path, disk="1g") as running:
        yield running


def ssh_target(dumps, key="key", known_hosts="known_hosts"):
    """That machine as a target."""
    return f"""
[[target]]
type = "ssh"
url = "ssh://root@{dumps.host}:{dumps.port}{dumps.dumps}"
key = "/etc/fadump/{key}"
known_hosts = "/etc/fadump/{known_hosts}"
timeout = 20
"""


def test_wrong_keys_a_killed_sshd_and_a_network_that_goes_down(tmp_path, packaged_debian, kernel, dumps):
    wrong = ssh_target(dumps, known_hosts="other_known_hosts") + ssh_target(dumps, key="other_key")
    files = {
        "/etc/fadump.toml": wrong + ssh_target(dumps),
        "/etc/fadump/disk_too.toml": ssh_target(dumps) + DISK,
        "/etc/fadump/key": dumps.key.read_text(),
        "/etc/fadump/other_key": (tmp_path / "another_key").read_text(),
        "/etc/fadump/known_hosts": dumps.known_hosts.read_text(),
        "/etc/fadump/other_known_hosts": host_line(tmp_path / "another_key.pub"),
        f"{UNITS}/systemd-networkd-wait-online.service.d/timeout.conf": WAIT_ONLINE,
    }
    links = [enabled(SERVICE, "multi-user.target"), enabled(GUARD, "basic.target")]
    disk = copy_of(packaged_debian["path"], tmp_path / "server.img", files, links=links)
    with server(tmp_path, kernel.bootable, disk, user_network=True) as system:
        system.log_in()
        system.run("chmod 600 /etc/fadump/*key")
        system.crash()

        # Another host key than is known, then a key that isn't taken: nothing is sent. Then sshd is killed in the
        # middle, and what is there says that it is a part. The firmware has the dump: kdump-tools, which would save it
        # to a disk and reboot before there is a network, isn't started.
        system.until(lambda: sent_bytes(dumps) > SENT_BYTES, "a part of the dump there", look_seconds=0.1)
        dumps.kill_connections()
        host = f"ssh://root@{dumps.host}:{dumps.port}{dumps.dumps}"
        system.see(
            "the dump is not saved, and nothing is released: "
            f"{host}: .*: its host key is another than /etc/fadump/other_known_hosts has.*"
            f"{host}: .*: it doesn't take the key /etc/fadump/other_key.*"
            f"{host}: .*the connection was lost"
        )
        system.log_in()
        assert (system.state, names(dumps)) == (State.ACTIVE, PART)
        assert system.run("systemctl is-enabled kdump-tools; systemctl is-active kdump-tools") == "enabled\ninactive"

        # The network goes down in the middle: the second target has the dump.
        part(dumps).unlink()
        start = f"systemctl reset-failed {SERVICE}; systemctl start --no-block {SERVICE}"
        system.run(
            f"cp /etc/fadump.toml /etc/fadump/three.toml; cp /etc/fadump/disk_too.toml /etc/fadump.toml; {start}"
        )
        system.until(lambda: sent_bytes(dumps) > SENT_BYTES, "a part of the dump there", look_seconds=0.1)
        system.machine.monitor("set_link net off")
        system.see(f"not saved to {host}: ")
        system.see("saved: /var/crash/.*/vmcore, .*; proven: every page and checksum")
        system.see("released; registered again")
        assert (system.state, names(dumps)) == (State.REGISTERED, PART)

        # All is well with the last of three targets, and nobody sits there.
        system.machine.monitor("set_link net on")
        system.run("cp /etc/fadump/three.toml /etc/fadump.toml; sync")
        resets = system.session.record.resets
        system.crash()
        system.see(f"saved: {host}/.*/vmcore, .*; proven: its checksum and, by fadump check, every page")
        system.see("released; registered again")
        system.log_in()
        assert (system.state, system.session.record.resets - resets) == (State.REGISTERED, 1)
        system.power_off()
        assert [system.crashes.number_of(path) for path in dumps.files.glob("*/vmcore")] == [1]
        assert system.saved(tmp_path / "out") == [0]


def names(dumps):
    """What is in the dumps' directories there."""
    return {path.name for path in dumps.files.glob("*/*")}


def part(dumps):
    """The part of a dump that is there."""
    (path,) = dumps.files.glob("*/vmcore.incomplete")
    return path


def sent_bytes(dumps):
    """How much of a dump is there that isn't whole."""
    return sum(path.stat().st_size for path in dumps.files.glob("*/vmcore.incomplete"))

"""A real sshd on another machine of the test's network, with keys of its own."""

import os
import signal
import subprocess
import sys
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.service.targets.network import THERE, OtherMachine, network, other_machine

_PORT = 2222
_CONFIG = """
Port {port}
HostKey {directory}/host_key
AuthorizedKeysFile {directory}/user_key.pub
PasswordAuthentication no
KbdInteractiveAuthentication no
PermitRootLogin prohibit-password
StrictModes no
UsePAM no
PidFile none
SetEnv PATH={path} HOME=/run
"""
_SMALL_DISK = 'mkdir /run/sshd; mount -t tmpfs -o "size=$1,mode=700" tmpfs "$2"; shift 2; exec "$@"'


@dataclass(frozen=True, slots=True)
class SshServer:
    """``dumps`` is a directory there, ``key`` and ``known_hosts`` are files here."""

    machine: OtherMachine
    dumps: Path
    key: Path
    known_hosts: Path
    port: int = _PORT
    host: str = THERE

    @property
    def files(self):
        """The directory there, as it can be looked into from here."""
        return Path(f"/proc/{self.machine.init}/root{self.dumps}")

    def kill_connections(self):
        """Kill the sshd of each connection."""
        for connection in self.machine.connections():
            os.kill(connection, signal.SIGKILL)


@contextmanager
def ssh_server(directory, *, disk="64m", with_fadump=True):
    """An sshd whose disk for dumps has so much room, and fadump if wanted."""
    for name in ("host_key", "user_key", "another_key"):
        make_key(directory / name)
    path = "/usr/sbin:/usr/bin:/sbin:/bin"
    if with_fadump:
        path = f"{Path(sys.executable).parent}:{path}"
    config = directory / "sshd_config"
    config.write_text(_CONFIG.format(port=_PORT, directory=directory, path=path))
    known_hosts = directory / "known_hosts"
    known_hosts.write_text(host_line(directory / "host_key.pub"))
    dumps = directory / "dumps"
    dumps.mkdir()
    sshd = ["sh", "-ec", _SMALL_DISK, "sh", disk, str(dumps), "/usr/sbin/sshd", "-D", "-e", "-f", str(config)]
    with network(), other_machine(*sshd, ready="Server listening on") as machine:
        yield SshServer(machine, dumps, directory / "user_key", known_hosts)


def make_key(path):
    """A key, and beside it its public half."""
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", path.name, "-f", path], check=True)


def host_line(public_key):
    """The line of a list of known hosts that has the server by this key."""
    return f"[{THERE}]:{_PORT} {public_key.read_text()}"

"""A server of the tests as a target, and what the service does with one, without a dump."""

import os
from pathlib import Path

from fadump.service.crash import Crash
from fadump.service.root import HOST
from fadump.service.targets.ssh import SshSettings
from fadump.service.targets.urls import RemotePlace

CRASH = Crash("0123456789abcdef" * 2, 1_700_000_000, "6.12")
NAMED = "20231114T221320Z"  # date --utc --date=@1700000000
OTHER_CRASH = Crash("fedcba9876543210" * 2, 1_700_000_000, "6.12")


def target_of(server, **changed):
    values = {"user": "root", "host": server.host, "port": server.port, "path": str(server.dumps)}
    values |= {"key": server.key, "known_hosts": server.known_hosts, "timeout": 60} | changed
    address = RemotePlace(**{name: values.pop(name) for name in ("user", "host", "port", "path")})
    return SshSettings(address, **values).target(HOST)


def told(_done, _total):
    """Who is told how far a proof is, and doesn't care."""


def feed(stream, data):
    rest = memoryview(data)
    while rest:
        rest = rest[stream.files.write(stream.fd, rest) :]


def send(target, data, crash=CRASH):
    feed(target.open(crash), data)
    target.settle()


def ssh_processes():
    """The ssh that this process has started."""
    children = Path(f"/proc/{os.getpid()}/task/{os.getpid()}/children").read_text().split()
    return [child for child in children if Path(f"/proc/{child}/comm").read_text() == "ssh\n"]

"""A directory that another machine exports, with the kernel's own NFS client and server; test_nfs.py runs these."""

from pathlib import Path

import pytest

from fadump.capture.destination import Destination
from fadump.capture.options import SaveOptions
from fadump.capture.save import save_dump
from fadump.capture.target import SaveError
from fadump.linux.system import open_system
from fadump.service.crash import read_crash
from fadump.service.root import HOST
from fadump.service.targets import device
from fadump.service.targets.contract import TargetError
from fadump.service.targets.nfs import NfsSettings
from fadump.service.targets.urls import RemotePlace
from fadump.vmcore.check import check_dump
from fadump.vmcore.dump import open_dump
from tests.capture.contents import differing_pages
from tests.service.targets.nfs_server import nfs_server

SHORT_SECONDS = 6


@pytest.fixture(scope="module")
def server():
    with nfs_server() as server:
        yield server


@pytest.fixture
def doomed():
    """A server that something is going to happen to."""
    with nfs_server() as server:
        yield server


def target_of(server, path="/", **changed):
    return NfsSettings(RemotePlace(server.host, path), **changed).target(HOST)


@pytest.fixture
def target(server):
    target = target_of(server)
    yield target
    target.close()


def mounted():
    """What of ours is mounted, or is left of it."""
    points = [line.split()[1] for line in Path("/proc/self/mounts").read_text().splitlines()]
    return [point for point in points if "fadump-" in point] + [*Path("/run").glob("fadump-*")]


def save(target, vmcore, tell=None):
    """What a capture does with a target."""
    target.prepare()
    with open_system([str(vmcore)]) as system:
        place = target.open(read_crash(system))
        options = SaveOptions(registers=False)
        save_dump(system, Destination.take(place.vmcore, options), options, tell=tell)
    return target.settle()


def told(_done, _total):
    """Who is told how far a proof is, and doesn't care."""


def test_a_dump_is_there_whole_and_nothing_stays_mounted(server, target, vmcore):
    stored = save(target, vmcore)
    options = next(line.split()[3] for line in Path("/proc/self/mounts").read_text().splitlines() if "fadump-" in line)
    assert {"soft", "nosuid", "nodev", "noexec", "timeo=100", "retrans=2"} <= set(options.split(","))
    assert target.prove(told, complete=True) == "every page and checksum"
    target.close()
    assert mounted() == []
    directory, name = stored.where.removeprefix(f"nfs://{server.host}/").split("/")
    with open_dump([server.files / directory / name]) as dump, open_dump([vmcore]) as source:
        assert check_dump(dump).whole and not differing_pages(dump, source)


def test_a_dump_that_is_there_is_found(server, target, vmcore):
    target.prepare()
    with open_system([str(vmcore)]) as system:
        assert target.find(read_crash(system)) is not None
    assert target.prove(told, complete=True) == "every page and checksum"


def test_what_is_not_exported(server):
    with pytest.raises(TargetError, match=rf"^nfs://{server.host}/elsewhere can't be mounted: .*No such file"):
        target_of(server, "/elsewhere").prepare()
    assert mounted() == []


def test_a_server_that_serves_nothing(doomed):
    doomed.stop()
    with pytest.raises(TargetError, match="can't be mounted: .*Connection refused"):
        target_of(doomed).prepare()
    assert mounted() == []


def test_a_network_that_swallows_everything(doomed):
    doomed.machine.vanish()
    with pytest.raises(TargetError, match="can't be mounted: .*Connection timed out"):
        target_of(doomed, timeout=SHORT_SECONDS).prepare()
    assert mounted() == []


@pytest.mark.parametrize(
    "end", [lambda server: server.stop(), lambda server: server.machine.vanish()], ids=["server", "network"]
)
def test_what_is_gone_in_the_middle_leaves_no_dump_that_looks_whole(doomed, vmcore, end, monkeypatch):
    target = target_of(doomed, timeout=SHORT_SECONDS)
    ended = []

    def end_it(_done, _total):
        if not ended:
            ended.append(end(doomed))

    with pytest.raises(SaveError, match="Input/output error|Connection timed out"):
        save(target, vmcore, end_it)
    monkeypatch.setattr(device, "_TOOL_SECONDS", 5)  # less than umount would ask the server for
    target.close()
    assert mounted() == []
    (directory,) = doomed.files.iterdir()
    assert "vmcore" not in [path.name for path in directory.iterdir()]


def test_a_disk_that_is_full(vmcore):
    with nfs_server(disk="1m") as server:
        target = target_of(server)
        with pytest.raises(SaveError, match="No space left on device"):
            save(target, vmcore)
        target.close()
    assert mounted() == []

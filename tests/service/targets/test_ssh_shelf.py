"""Dumps in a directory on another machine: which are removed there, and which never are, whatever lies beside them."""

import os

import pytest

from fadump.service.capture import capture
from fadump.service.config import Config, KeepSettings
from fadump.service.crash import Crash
from fadump.service.record import Record
from fadump.service.retention import remove_parts, retain
from fadump.service.targets.contract import TargetError
from fadump.service.targets.ssh import SshSettings
from fadump.service.targets.urls import RemotePlace
from tests.mount.mounted import Mounted, emptied
from tests.service.conftest import root_of
from tests.service.targets.ssh_server import ssh_server
from tests.service.targets.ssh_target import CRASH, NAMED, OTHER_CRASH, feed, send, ssh_processes, target_of, told

DISK = 64 << 20


@pytest.fixture
def bare_server(tmp_path):
    """One that has no fadump."""
    with ssh_server(tmp_path, disk=str(DISK), with_fadump=False) as server:
        yield server


@pytest.fixture
def server(tmp_path):
    with ssh_server(tmp_path, disk="512m") as server:
        yield server


def names(server):
    return sorted(path.name for path in (server.files / NAMED).iterdir())


def lay(server, directory, crash, *names):
    """A dump's directory as one that we have made."""
    path = server.files / directory
    path.mkdir(mode=0o700)
    (path / "fadump.json").write_bytes(Record(crash).encode())
    for name in names:
        (path / name).write_bytes(bytes(1 << 20))
    return path


def kept(target, keep):
    return retain(target.shelf(), keep)


def there(server):
    return sorted(path.name for path in server.files.iterdir())


def test_the_oldest_dumps_are_removed_there_too_and_never_the_newest(bare_server):
    target = target_of(bare_server)
    send(target, b"newest")
    target.prove(told, complete=True)
    for number in range(3):
        beside = ["vmcore", "vmcore.sha256", "vmcore-dmesg.txt", "opalcore"] if number else ["vmcore.incomplete"]
        lay(bare_server, f"2030010{number}T000000Z", Crash(f"{number}" * 32, 1_900_000_000 + number), *beside)
    retained = kept(target, KeepSettings(dumps=3))
    assert (there(bare_server), retained.remarks) == ([NAMED, "20300101T000000Z", "20300102T000000Z"], ())
    assert retained.removed == (f"{target.name}/20300100T000000Z",)
    kept(target, KeepSettings(bytes=5 << 20))
    assert there(bare_server) == [NAMED, "20300102T000000Z"]
    assert kept(target, KeepSettings(dumps=1, bytes=1)).removed == (f"{target.name}/20300102T000000Z",)
    assert there(bare_server) == [NAMED] and names(bare_server) == ["fadump.json", "vmcore", "vmcore.sha256"]


HOSTILE = ['it\'s $(touch x) `y`; "z" ! \\', "-rf", "a b", "x\nwhole 1 20000101T000000Z {}", "*"]


def test_nothing_that_is_not_ours_is_removed_or_counted_there(bare_server, tmp_path):
    target = target_of(bare_server)
    send(target, b"newest")
    target.prove(told, complete=True)
    for name in HOSTILE:
        lay(bare_server, name, OTHER_CRASH, "vmcore")
    elsewhere = lay(bare_server, "elsewhere", OTHER_CRASH, "vmcore")
    (elsewhere / "fadump.json").unlink()
    (bare_server.files / "20000102T000000Z").symlink_to("elsewhere")
    linked = lay(bare_server, "20000103T000000Z", OTHER_CRASH, "vmcore")
    (linked / "fadump.json").rename(elsewhere / "record")
    (linked / "fadump.json").symlink_to("../elsewhere/record")
    (lay(bare_server, "20000104T000000Z", OTHER_CRASH) / "fadump.json").write_text("{}")
    (bare_server.files / "-rf" / "fadump.json").write_text("[" * 100_000)
    noted = lay(bare_server, "20000105T000000Z", OTHER_CRASH, "vmcore", "notes\nvmcore")
    directory = lay(bare_server, "20000106T000000Z", OTHER_CRASH)
    (directory / "vmcore").mkdir()
    theirs = lay(bare_server, "20000107T000000Z", OTHER_CRASH, "vmcore")
    (theirs / "fadump.json").write_bytes(Record(OTHER_CRASH, machine="0" * 32).encode())
    before = there(bare_server)
    retained = kept(target, KeepSettings(dumps=1))
    assert there(bare_server) == before and retained.removed == ()
    assert retained.remarks == (
        f"{target.name}/{directory.name} stays, as vmcore in it is none of ours",
        f"{target.name}/{noted.name} stays, as notes in it is none of ours",
    )
    assert sorted(path.name for path in noted.iterdir()) == ["fadump.json", "notes\nvmcore", "vmcore"]


def test_a_part_of_a_dump_that_another_target_has_taken_is_removed_there(bare_server):
    target = target_of(bare_server)
    feed(target.open(CRASH), b"the beginning")
    lay(bare_server, "20000101T000000Z", OTHER_CRASH, "vmcore.incomplete")
    removed = remove_parts([target.shelf()], CRASH)
    assert (removed.removed, there(bare_server)) == ((f"{target.name}/{NAMED}",), ["20000101T000000Z"])
    assert ssh_processes() == []


def test_what_a_connection_has_left_empty_is_removed_and_nobody_elses_directory(bare_server):
    for name in ("20000101T000000Z", "20000101T000000Z-2", "20000101", "mine"):
        (bare_server.files / name).mkdir(mode=0o700)
    (bare_server.files / "20000101T000000Z-2" / "fadump.json.incomplete").touch()
    (bare_server.files / "20000102T000000Z").mkdir(mode=0o755)
    (bare_server.files / "20000103T000000Z").symlink_to("mine")
    (lay(bare_server, "20000104T000000Z", OTHER_CRASH) / "fadump.json").rename(bare_server.files / "mine" / "file")
    (bare_server.files / "20000104T000000Z" / ".hidden").touch()
    target_of(bare_server).prepare()
    assert there(bare_server) == [
        *("20000101", "20000102T000000Z", "20000103T000000Z", "20000104T000000Z", "mine"),
    ]


def test_a_file_is_copied_beside_the_dump(bare_server, tmp_path):
    (tmp_path / "core").write_bytes(os.urandom(3 << 20))
    target = target_of(bare_server)
    send(target, b"dump")
    target.prove(told, complete=True)
    target.add_file("opalcore", tmp_path / "core")
    assert (bare_server.files / NAMED / "opalcore").read_bytes() == (tmp_path / "core").read_bytes()
    assert (bare_server.files / NAMED / "opalcore").stat().st_mode & 0o777 == 0o600
    (tmp_path / "core").write_bytes(bytes(2 * DISK))
    target.add_file("opalcore", tmp_path / "core")  # it is there already
    with pytest.raises((TargetError, OSError), match="No space left on device"):
        target.add_file("another", tmp_path / "core")
    assert "another" not in names(bare_server)
    assert ssh_processes() == []


def test_opals_own_core_goes_along_and_is_released(server, tmp_path):
    settings = SshSettings(
        RemotePlace(server.host, str(server.dumps), "root", server.port), server.key, server.known_hosts
    )
    with (
        emptied(tmp_path / "machine") as directory,
        Mounted(directory, "--platform", "powernv", "--memory", "4G") as it,
    ):
        it.crash()
        core = it.path("/sys/firmware/opal/mpipl/core").read_bytes()
        captured = capture(root_of(it, tmp_path), Config(targets=(settings,)))
        assert captured.released and captured.registered and captured.error is None and captured.remarks == []
        assert not it.path("/sys/firmware/opal/mpipl/core").exists()
    (saved,) = server.files.glob("*/opalcore")
    assert saved.read_bytes() == core and captured.where.endswith(f"/{saved.parent.name}/vmcore")

"""A directory for dumps: what is in it at each moment, and what is taken for one of ours."""

import json
import os
import stat

import pytest

from fadump.capture.destination import Destination
from fadump.capture.options import SaveOptions
from fadump.capture.save import save_dump
from fadump.linux.pages.page_class import DumpLevel
from fadump.linux.system import open_system
from fadump.service.crash import Crash, identity, read_crash
from fadump.service.record import Record, dump_directories
from fadump.service.targets.contract import TargetError
from fadump.service.targets.directory import DirectorySettings
from fadump.vmcore.dump import open_dump

LEVEL_31 = SaveOptions(levels=[DumpLevel(31)])
AT = 1_700_000_000  # 2023-11-14 22:13:20 UTC
CRASH = Crash("0" * 32, AT, "6.12")


def nothing(_done, _total):
    pass


def save(target, vmcore, options=LEVEL_31):
    """What the service does with a target."""
    target.prepare()
    with open_system(vmcore) as system:
        place = target.open(read_crash(system))
        saved = save_dump(system, Destination.take(place.vmcore, options), options)
    stored = target.settle()
    target.close()
    return stored, saved


@pytest.fixture(scope="session")
def saved(crashed, tmp_path_factory):
    """A dump that the target has; it may not be changed."""
    path = tmp_path_factory.mktemp("saved") / "crash"
    stored, _saved = save(DirectorySettings(path).target(None), crashed.path("/proc/vmcore"))
    return stored.path


def copied(saved, tmp_path):
    """A copy of it, in a directory of its own, as a cp -a makes it."""
    directory = tmp_path / "crash" / saved.parent.name
    directory.mkdir(parents=True)
    for path in saved.parent.iterdir():
        (directory / path.name).write_bytes(path.read_bytes())
    return directory


def test_a_dump_is_private_whole_and_named_after_its_crash(saved, vmcore):
    with open_system(vmcore) as system:
        crash = read_crash(system)
    assert saved.parent.name == crash.name(0)
    assert {path.name for path in saved.parent.iterdir()} == {"vmcore", "vmcore-dmesg.txt", "fadump.json"}
    assert all(stat.S_IMODE(path.stat().st_mode) == 0o600 for path in saved.parent.iterdir())
    assert [stat.S_IMODE(path.stat().st_mode) for path in (saved.parent, saved.parent.parent)] == [0o700, 0o700]
    assert json.loads((saved.parent / "fadump.json").read_text())["crash"]["identity"] == crash.identity


def test_a_crash_is_named_by_its_time_in_utc():
    assert CRASH.name(0) == "20231114T221320Z" == Crash("0").name(AT + 0.5)


@pytest.mark.parametrize("kind", ["kdump", "elf"])
def test_a_dump_has_the_same_identity_in_every_format(vmcore, tmp_path, kind):
    options = SaveOptions(levels=[DumpLevel(31)], format=kind)
    with open_system(vmcore) as system:
        save_dump(system, Destination.take(tmp_path / "vmcore", options), options)
        with open_dump(tmp_path / "vmcore") as saved:
            assert identity(saved) == identity(system.dump)


def test_a_dump_that_is_there_is_found_and_proven(saved, vmcore):
    target = DirectorySettings(saved.parent.parent).target(None)
    target.prepare()
    with open_system(vmcore) as system:
        assert target.find(read_crash(system)).path == saved
    assert target.prove(nothing, complete=True) == "every page and checksum"
    assert target.find(CRASH) is None


def test_a_record_that_lies_is_not_believed_and_its_dump_stays(saved, tmp_path):
    """The record is of another crash than the dump beside it: that crash is not saved yet."""
    directory = copied(saved, tmp_path)
    (directory / "fadump.json").write_bytes(Record(CRASH, "every page", complete=True).encode())
    target = DirectorySettings(directory.parent).target(None)
    assert target.find(CRASH) is None
    assert target.open(CRASH).path != directory and (directory / "vmcore").read_bytes() == saved.read_bytes()


def test_a_directory_in_the_place_of_a_file_does_not_keep_a_dump_from_being_saved(saved, vmcore, tmp_path):
    directory = copied(saved, tmp_path)
    (directory / "vmcore").unlink()
    (directory / "vmcore").mkdir()
    target = DirectorySettings(directory.parent).target(None)
    stored, _ = save(target, vmcore)
    assert stored.path.parent == directory.with_name(f"{directory.name}-2") and (directory / "vmcore").is_dir()
    with open_system(vmcore) as system:
        assert target.find(read_crash(system)).path == stored.path


@pytest.mark.parametrize("at", [0, 4096, 100_000, -1])
def test_a_byte_that_is_not_what_was_written_is_no_proof(saved, vmcore, tmp_path, at):
    directory = copied(saved, tmp_path)
    with (directory / "vmcore").open("r+b") as file:
        file.seek(at, os.SEEK_SET if at >= 0 else os.SEEK_END)
        was = file.read(1)
        file.seek(-1, os.SEEK_CUR)
        file.write(bytes([was[0] ^ 1]))
    target = DirectorySettings(directory.parent).target(None)
    with open_system(vmcore) as system:
        target.find(read_crash(system))
    with pytest.raises(TargetError, match=f"{directory}/vmcore "):
        target.prove(nothing, complete=True)


def test_an_attempt_that_broke_off_is_begun_again_in_the_same_directory(saved, vmcore, tmp_path):
    directory = copied(saved, tmp_path)
    (directory / "vmcore").rename(directory / "vmcore.incomplete")
    target = DirectorySettings(directory.parent).target(None)
    with open_system(vmcore) as system:
        assert target.find(read_crash(system)) is None
    stored, _ = save(target, vmcore)
    assert stored.path == directory / "vmcore" and not (directory / "vmcore.incomplete").exists()
    assert target.prove(nothing, complete=True)


def test_nobody_elses_directory_is_taken_for_ours(tmp_path):
    target = DirectorySettings(tmp_path).target(None)
    name = CRASH.name(0)
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / name).symlink_to("elsewhere")
    (tmp_path / f"{name}-2").mkdir()
    assert target.find(CRASH) is None
    assert target.open(CRASH).path == tmp_path / f"{name}-3"
    assert not [*(tmp_path / "elsewhere").iterdir()] and not [*(tmp_path / f"{name}-2").iterdir()]
    assert [*dump_directories(tmp_path)] == [tmp_path / f"{name}-3"]


def test_what_a_power_cut_has_left_empty_is_removed_and_nobody_elses_directory(tmp_path):
    for name in ("20000101T000000Z", "20000101T000000Z-2", "20000101", "mine"):
        (tmp_path / name).mkdir(mode=0o700)
    (tmp_path / "20000101T000000Z-2" / "fadump.json.incomplete").touch()
    for name, file in (("20000102T000000Z", ".hidden"), ("20000103T000000Z", "fadump.json")):
        (tmp_path / name).mkdir(mode=0o700)
        (tmp_path / name / file).touch()
    (tmp_path / "20000104T000000Z").mkdir(mode=0o755)
    (tmp_path / "20000105T000000Z").symlink_to("mine")
    (tmp_path / "20000106T000000Z").touch()
    target = DirectorySettings(tmp_path).target(None)
    target.prepare()
    target.close()
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        *("20000101", "20000102T000000Z", "20000103T000000Z", "20000104T000000Z", "20000105T000000Z"),
        *("20000106T000000Z", "mine"),
    ]


def test_a_directory_that_another_machine_takes_for_one_that_was_left_empty_is_made_again(tmp_path, monkeypatch):
    """In a directory that they share: between mkdir(2) and the record."""
    target = DirectorySettings(tmp_path).target(None)
    add_text, removed = target.add_text, []

    def too_late(name, text):
        if not removed:
            removed.extend(tmp_path.iterdir())
            removed[0].rmdir()
        add_text(name, text)

    monkeypatch.setattr(target, "add_text", too_late)
    place = target.open(CRASH)
    assert [place.path] == removed and [path.name for path in place.path.iterdir()] == ["fadump.json"]


def test_a_directory_is_one_captures_at_a_time(tmp_path):
    first, second = (DirectorySettings(tmp_path).target(None) for _ in range(2))
    first.prepare()
    with pytest.raises(TargetError, match=f"^another fadump capture is saving to {tmp_path}: wait until it is done$"):
        second.prepare()
    first.close()
    second.prepare()
    second.close()


@pytest.mark.parametrize("record", ["", "[]", "{}", "[" * 100_000, '{"made_by": "fadump capture", "crash": 1}'])
def test_a_record_that_is_not_ours_is_none(tmp_path, record):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "fadump.json").write_text(record)
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "fadump.json").symlink_to("../a/fadump.json")
    assert not [*dump_directories(tmp_path)]


def test_a_directory_that_cannot_be_made_is_one_sentence(tmp_path):
    (tmp_path / "file").touch()
    for path in (tmp_path / "file", tmp_path / "none" / "crash"):
        with pytest.raises(TargetError, match=f"^{path} is no directory: make it"):
            DirectorySettings(path).target(None).prepare()


def test_the_room_is_the_file_systems(tmp_path):
    there = os.statvfs(tmp_path)
    assert DirectorySettings(tmp_path).target(None).room() == pytest.approx(there.f_bavail * there.f_frsize, rel=0.1)

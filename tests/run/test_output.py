"""The directory of a run, without a machine. With one: tests/run/test_embedded_cycle.py and tests/linux."""

import os
import signal
import stat
from pathlib import Path

import numpy as np
import pytest

from fadump.cli import main
from fadump.errors import DiskError, MachineError, SetupError
from fadump.machine.channel import Saved, Saving
from fadump.observer import Milestone, Unwatched
from fadump.run.earlier import put_back, set_aside
from fadump.run.output import OutputDirectory
from fadump.signals import EndedBySignal
from tests.capture.disk import Disk, Fault, chooser

LOGS = ("console.log", "firmware.log", "timeline.json")
ROOM_BYTES = 1 << 20


def test_one_run_at_a_time_until_it_has_left_its_directory(tmp_path):
    with OutputDirectory(tmp_path, ROOM_BYTES) as first:
        first.note_vmcore_bytes(4096)
        assert first.publish_saved() == tmp_path / "vmcore"
        with pytest.raises(SetupError, match="another run is writing to .*: wait for it, or name another --out"):
            OutputDirectory(tmp_path, ROOM_BYTES).__enter__()
        assert (tmp_path / "vmcore").stat().st_size == 4096
    with OutputDirectory(tmp_path, ROOM_BYTES):
        pass


def test_files_are_anew_and_the_owners_only(tmp_path):
    for name in ("vmcore.incomplete", "console.log", "opalcore"):
        (tmp_path / name).write_text("an earlier run's")
        (tmp_path / name).chmod(0o644)
    with OutputDirectory(tmp_path, ROOM_BYTES) as output:
        assert output.opalcore is None
        modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir() if path.is_file()}
        assert modes == {"vmcore.incomplete": 0o600, "console.log": 0o600, "firmware.log": 0o600}
        assert output.vmcore_on_disk.read_bytes() == bytes(ROOM_BYTES)
        output.note_milestone(Milestone.POWER_ON, 0.0)
    assert not (tmp_path / "vmcore.incomplete").exists()


def test_what_can_not_be_a_directory_is_a_sentence(tmp_path):
    path = tmp_path / "file"
    path.touch()
    with pytest.raises(SetupError, match=f"can't write to {path}: File exists"):
        OutputDirectory(path, ROOM_BYTES).__enter__()


def dump(seed, size_bytes=0x6000):
    return np.random.default_rng(seed).bytes(size_bytes)


def write(disk, output, content, offset=0):
    """As a guest does to its disk."""
    disk.pwrite(output.vmcore_fd, content, offset)


@pytest.mark.parametrize("seed", range(8))
def test_a_published_dump_outlives_a_power_cut(tmp_path, seed):
    disk = Disk(tmp_path)
    with OutputDirectory(tmp_path, ROOM_BYTES, files=disk) as output:
        write(disk, output, dump(1))
        output.note_vmcore_bytes(len(dump(1)) - 100)
        vmcore = output.publish_saved()
    disk.lose_power(chooser(seed))
    assert vmcore.read_bytes() == dump(1)[:-100]


@pytest.mark.parametrize("seed", range(8))
def test_a_dump_without_its_name_is_never_taken_for_a_whole_one(tmp_path, seed):
    disk = Disk(tmp_path)
    with OutputDirectory(tmp_path, ROOM_BYTES, files=disk) as output:
        write(disk, output, dump(1))
    disk.lose_power(chooser(seed))
    assert not (tmp_path / "vmcore").exists()


@pytest.mark.parametrize("seed", range(8))
def test_each_cycles_files_outlive_a_power_cut_as_soon_as_they_are_kept(tmp_path, seed):
    disk = Disk(tmp_path)
    with OutputDirectory(tmp_path, ROOM_BYTES, cycles=2, files=disk) as output:
        write(disk, output, dump(1))
        write(disk, output, dump(2), 0x40000)
        output.take_opalcore(0x40000, len(dump(2)))
        assert output.opalcore == tmp_path / "opalcore.1"
        output.note_vmcore_bytes(0x8000)
        assert output.next_cycle(0x8000) == tmp_path / "vmcore.1"
        assert os.pread(output.vmcore_fd, ROOM_BYTES + 1, 0) == bytes(ROOM_BYTES)  # an empty disk for the next one
        assert (output.opalcore, output.publish_saved()) == (None, None)
    disk.lose_power(chooser(seed))
    assert (tmp_path / "vmcore.1").read_bytes() == dump(1) + bytes(0x8000 - len(dump(1)))
    assert (tmp_path / "opalcore.1").read_bytes() == dump(2)


def test_a_dump_is_copied_with_its_holes(tmp_path):
    size_bytes = 1 << 40
    with OutputDirectory(tmp_path, size_bytes + 4096, cycles=2) as output:
        os.pwrite(output.vmcore_fd, b"begin", 0)
        os.pwrite(output.vmcore_fd, b"end", size_bytes - 3)
        output.note_vmcore_bytes(size_bytes)
        vmcore = output.next_cycle(size_bytes)
    with vmcore.open("rb") as file:
        assert (file.read(5), file.seek(-3, os.SEEK_END), file.read()) == (b"begin", size_bytes - 3, b"end")
    assert vmcore.stat().st_blocks * 512 < 1 << 20


def test_a_dump_that_was_saved_before_a_later_cycle_failed_has_its_cycles_name(tmp_path):
    with OutputDirectory(tmp_path, ROOM_BYTES, cycles=3) as output:
        output.note_vmcore_bytes(4096)
        assert output.publish_saved() == tmp_path / "vmcore.1"


class EndedWhileTheDiskIsEmptied(Disk):
    """A host whose SIGTERM comes when the guest's disk has just been cut to nothing."""

    def truncate(self, fd, length):
        super().truncate(fd, length)
        if length == 0:
            raise EndedBySignal(signal.SIGTERM)


def test_a_dump_that_was_kept_stays_as_it_is_when_the_run_is_ended_before_the_next_cycle(tmp_path):
    disk = EndedWhileTheDiskIsEmptied(tmp_path)
    with OutputDirectory(tmp_path, ROOM_BYTES, cycles=2, files=disk) as output:
        write(disk, output, dump(1))
        output.note_vmcore_bytes(len(dump(1)))
        with pytest.raises(EndedBySignal):
            output.next_cycle(len(dump(1)))
        assert output.publish_saved() is None
    assert (tmp_path / "vmcore.1").read_bytes() == dump(1)


def test_a_core_that_ends_behind_the_disk_is_refused(tmp_path):
    with OutputDirectory(tmp_path, ROOM_BYTES) as output:
        with pytest.raises(MachineError, match="OPAL's core ends at 0x100001, behind its disk"):
            output.take_opalcore(1, ROOM_BYTES)
        assert output.opalcore is None


def test_what_a_guest_calls_saved_is_kept_only_once_the_cycle_has_found_it_so(tmp_path):
    with OutputDirectory(tmp_path, ROOM_BYTES) as output:
        observer = output.watch(Unwatched())
        os.pwrite(output.vmcore_fd, dump(1), 0)
        observer.report(Saving(ROOM_BYTES))
        observer.report(Saved(4096))
        assert output.publish_saved() is None
        observer.milestone(Milestone.SAVED, 1.0)
        assert output.publish_saved() == tmp_path / "vmcore"


def test_a_dump_that_ends_behind_the_disk_is_refused(tmp_path):
    with OutputDirectory(tmp_path, ROOM_BYTES) as output:
        observer = output.watch(Unwatched())
        for size_bytes in (ROOM_BYTES + 1, 10**20 - 1):
            observer.report(Saved(size_bytes))
            with pytest.raises(MachineError, match=f"its dump has {size_bytes:#x} bytes, more than its disk"):
                observer.milestone(Milestone.SAVED, 1.0)
        assert output.publish_saved() is None


def test_sets_are_counted_and_nothing_else_is_moved(tmp_path):
    theirs = {"notes", "vmcore.flat", "vmcore.txt", "small"}
    ours = {"vmcore.1", "vmcore.12-dmesg.txt", "opalcore.2", "vmcore.kdump", "vmcore.kdump-dmesg.txt", "console.log"}
    for number in (1, 2):
        for name in theirs | ours:
            (tmp_path / name).write_text(f"{number}")
        assert set_aside(tmp_path) == tmp_path / f"earlier-{number}"
        assert {path.name for path in tmp_path.iterdir() if path.is_file()} == theirs
    for number in (1, 2):
        moved = {path.name: path.read_text() for path in (tmp_path / f"earlier-{number}").iterdir()}
        assert moved == dict.fromkeys(ours, f"{number}")
    assert set_aside(tmp_path) is None


def test_a_run_that_never_begins_leaves_what_was_there(tmp_path):
    before = {"vmcore": "a dump", "console.log": "a log", "notes": "mine"}
    for name, text in before.items():
        (tmp_path / name).write_text(text)
    with OutputDirectory(tmp_path, ROOM_BYTES) as output:
        assert output.earlier == tmp_path / "earlier-1"
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == before
    with OutputDirectory(tmp_path, ROOM_BYTES) as output:
        output.note_milestone(Milestone.POWER_ON, 0.0)
    assert {path.name for path in tmp_path.iterdir()} == {"earlier-1", "notes", *LOGS}


@pytest.mark.parametrize("operation", [0, 1, 2], ids=["open", "truncate", "fsync"])
def test_a_directory_that_fails_is_as_it_was_and_can_be_used_again(tmp_path, operation):
    before = {"vmcore": "a dump", "vmcore.incomplete": "another", "console.log": "a log", "notes": "mine"}
    for name, text in before.items():
        (tmp_path / name).write_text(text)
    with pytest.raises(DiskError, match="Input/output error"):
        OutputDirectory(tmp_path, ROOM_BYTES, files=Disk(tmp_path, (Fault.IO_ERROR_ONCE, operation))).__enter__()
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == before
    with OutputDirectory(tmp_path, ROOM_BYTES):
        pass


def test_what_the_console_says_of_a_machine_that_was_never_powered_on_is_kept(tmp_path):
    with OutputDirectory(tmp_path, ROOM_BYTES) as output:
        output.console_log.write(b"no such CPU")
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"console.log": b"no such CPU"}


def test_a_set_that_was_interrupted_is_completed_by_the_next_run(tmp_path):
    (tmp_path / "earlier-1").mkdir()
    (tmp_path / "earlier-2.incomplete").mkdir()
    (tmp_path / "earlier-2.incomplete" / "console.log").write_text("moved")
    (tmp_path / "vmcore").write_text("not yet")
    assert set_aside(tmp_path) == tmp_path / "earlier-2"
    assert {path.name for path in (tmp_path / "earlier-2").iterdir()} == {"console.log", "vmcore"}
    assert [path.name for path in sorted(tmp_path.iterdir())] == ["earlier-1", "earlier-2"]


def write_set(directory, **texts):
    directory.mkdir()
    for name, text in texts.items():
        (directory / name).write_text(text)


def texts(directory):
    return {str(path.relative_to(directory)): path.read_text() for path in directory.rglob("*") if path.is_file()}


def test_a_hash_page_table_that_can_not_be_read_to_its_end_leaves_no_part_of_it(tmp_path):
    def pieces():
        yield b"a group"
        raise EndedBySignal(signal.SIGTERM)

    with OutputDirectory(tmp_path, ROOM_BYTES) as output:
        with pytest.raises(EndedBySignal):
            output.take_hash_table(pieces())
        assert not [*tmp_path.glob("hpte*")]
        output.take_hash_table([b"a group", b", another one"])
    assert (tmp_path / "hpte").read_bytes() == b"a group, another one"


def test_a_set_that_was_interrupted_gets_another_number_if_its_own_is_taken(tmp_path):
    write_set(tmp_path / "earlier-1", vmcore="first")
    write_set(tmp_path / "earlier-1.incomplete", vmcore="second")
    (tmp_path / "timeline.json").write_text("second's")
    assert set_aside(tmp_path) == tmp_path / "earlier-2"
    assert texts(tmp_path) == {
        "earlier-1/vmcore": "first", "earlier-2/vmcore": "second", "earlier-2/timeline.json": "second's"
    }  # fmt: skip


def test_a_set_that_was_interrupted_is_not_mixed_with_another_runs(tmp_path):
    write_set(tmp_path / "earlier-9.incomplete", opalcore="first")
    write_set(tmp_path / "earlier-10.incomplete", vmcore="second")
    (tmp_path / "vmcore").write_text("third")
    assert set_aside(tmp_path) == tmp_path / "earlier-11"
    assert texts(tmp_path) == {
        "earlier-9/opalcore": "first", "earlier-10/vmcore": "second", "earlier-11/vmcore": "third"
    }  # fmt: skip


@pytest.mark.parametrize("name", ["earlier-1", "earlier-1.incomplete"])
def test_a_file_that_is_called_as_a_set_stays_where_it_is(tmp_path, name):
    (tmp_path / name).write_text("mine")
    (tmp_path / "vmcore").write_text("a dump")
    assert set_aside(tmp_path) == tmp_path / "earlier-2"
    assert texts(tmp_path) == {name: "mine", "earlier-2/vmcore": "a dump"}


def test_putting_back_that_was_interrupted_leaves_one_set(tmp_path, monkeypatch):
    write_set(tmp_path / "earlier-1", vmcore="first")
    for name in ("console.log", "timeline.json", "vmcore"):
        (tmp_path / name).write_text("second")
    earlier = set_aside(tmp_path)
    rename = Path.rename

    def ended(path, target):
        if path.name == "timeline.json":
            raise EndedBySignal(signal.SIGTERM)
        return rename(path, target)

    with monkeypatch.context() as patched:
        patched.setattr(Path, "rename", ended)
        with pytest.raises(EndedBySignal):
            put_back(earlier)
    assert set_aside(tmp_path) == earlier
    assert texts(tmp_path) == {
        "earlier-1/vmcore": "first",
        **dict.fromkeys(("earlier-2/console.log", "earlier-2/timeline.json", "earlier-2/vmcore"), "second"),
    }


def test_why_a_run_can_not_begin_is_told_even_if_nothing_can_be_put_back(tmp_path):
    def begin():
        with OutputDirectory(tmp_path, ROOM_BYTES):
            (tmp_path / "vmcore").mkdir()
            raise MachineError("why")

    (tmp_path / "vmcore").write_text("a dump")
    with pytest.raises(MachineError, match="why"):
        begin()
    assert texts(tmp_path) == {"earlier-1.incomplete/vmcore": "a dump"}


def test_a_disk_that_is_full_is_told_with_the_files_name(tmp_path):
    disk = Disk(tmp_path)
    with OutputDirectory(tmp_path, ROOM_BYTES, cycles=2, files=disk) as output:
        write(disk, output, dump(1))
        output.note_vmcore_bytes(len(dump(1)))
        disk.plan((Fault.NO_SPACE_ONCE, 1))
        with pytest.raises(OSError, match="No space left on device") as raised:
            output.next_cycle(len(dump(1)))
        assert raised.value.filename == str(tmp_path / "vmcore.1")
        disk.plan((Fault.IO_ERROR_ONCE, 0))
        with pytest.raises(OSError, match="Input/output error") as raised:
            output.publish_saved()
        assert raised.value.filename == str(tmp_path / "vmcore.incomplete")
        disk.plan()
    assert [path.name for path in tmp_path.glob("vmcore*")] == ["vmcore.incomplete"]
    assert (tmp_path / "vmcore.incomplete").read_bytes()[: len(dump(1))] == dump(1)


def test_the_console_is_shown_if_it_is_wanted(tmp_path, capfd):
    assert main(["run", "--out", str(tmp_path / "quiet")]) == 0
    assert "Linux version" not in capfd.readouterr().err
    assert main(["run", "-v", "--out", str(tmp_path / "verbose")]) == 0
    assert (tmp_path / "verbose/console.log").read_text() in capfd.readouterr().err

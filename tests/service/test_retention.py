"""Which dumps are removed, and which never are."""

import fcntl
import json
import os
from pathlib import Path

import pytest

from fadump.service.config import KeepSettings
from fadump.service.crash import Crash
from fadump.service.record import Record
from fadump.service.retention import remove_parts, retain
from fadump.service.shelf import DirectoryShelf

KIB = 1 << 10
DUMP_BYTES = 64 * KIB


def dump(directory, time, *, whole=True, size_bytes=DUMP_BYTES, **more):
    """A dump's directory, named and dated by its time."""
    path = directory / f"{time}"
    path.mkdir()
    (path / "fadump.json").write_bytes(Record(Crash(f"{time:032}", time)).encode())
    (path / ("vmcore" if whole else "vmcore.incomplete")).write_bytes(os.urandom(size_bytes))
    for name in more.get("others", ["vmcore-dmesg.txt"]):
        (path / name).touch()
    return path


def kept(newest, keep):
    """What keeping does beside the dump that has just been saved."""
    return retain(DirectoryShelf(newest.parent, str(newest.parent), newest), keep)


def left(directory):
    return sorted(path.name for path in directory.iterdir())


@pytest.mark.parametrize(
    ("keep", "stays"),
    [
        (KeepSettings(), ["1", "2", "3", "4"]),
        (KeepSettings(dumps=4), ["1", "2", "3", "4"]),
        (KeepSettings(dumps=2), ["3", "4"]),
        (KeepSettings(dumps=1), ["4"]),
        (KeepSettings(bytes=1), ["4"]),
        (KeepSettings(bytes=3 * (DUMP_BYTES + 8 * KIB)), ["2", "3", "4"]),
        (KeepSettings(dumps=3, bytes=2 * (DUMP_BYTES + 8 * KIB)), ["3", "4"]),
    ],
)
def test_the_oldest_are_removed_until_it_is_enough(tmp_path, keep, stays):
    paths = [dump(tmp_path, time) for time in (3, 1, 2, 4)]
    retained = kept(paths[-1], keep)
    assert left(tmp_path) == stays and not retained.remarks
    assert sorted(retained.removed) == sorted(f"{tmp_path}/{name}" for name in {"1", "2", "3", "4"} - {*stays})


def test_incomplete_ones_are_removed_first(tmp_path):
    newest = dump(tmp_path, 1)
    dump(tmp_path, 2)
    dump(tmp_path, 3, whole=False)
    kept(newest, KeepSettings(dumps=2))
    assert left(tmp_path) == ["1", "2"]


def test_what_is_newest_is_what_has_just_been_saved_not_what_the_clock_says(tmp_path):
    dump(tmp_path, 9)
    newest = dump(tmp_path, 1)
    kept(newest, KeepSettings(dumps=1))
    assert left(tmp_path) == ["1"]


def test_nothing_that_is_not_ours_is_removed_or_counted(tmp_path):
    newest = dump(tmp_path, 4)
    dump(tmp_path, 3)
    dump(tmp_path, 2)
    (tmp_path / "127.0.0.1-2026-11-29-12:00:00").mkdir()
    (tmp_path / "127.0.0.1-2026-11-29-12:00:00" / "vmcore").touch()
    (tmp_path / "link").symlink_to("2")
    (tmp_path / "kexec_cmd").touch()
    retained = kept(newest, KeepSettings(dumps=2))
    assert retained.removed == (f"{tmp_path}/2",)
    assert left(tmp_path) == ["127.0.0.1-2026-11-29-12:00:00", "3", "4", "kexec_cmd", "link"]


def test_another_machines_dumps_in_a_shared_directory_stay_and_do_not_count(tmp_path):
    newest = dump(tmp_path, 5)
    for time in (1, 3, 4):
        dump(tmp_path, time)
    theirs = dump(tmp_path, 2, whole=False)
    (theirs / "fadump.json").write_bytes(Record(Crash(f"{2:032}", 2), machine="0" * 32).encode())
    kept(newest, KeepSettings(dumps=3))
    assert left(tmp_path) == ["2", "3", "4", "5"]
    assert not remove_parts([DirectoryShelf(tmp_path, "there", None)], Crash(f"{2:032}")).removed


def test_a_record_that_names_no_machine_is_ours(tmp_path):
    newest = dump(tmp_path, 2)
    older = dump(tmp_path, 1)
    record = json.loads((older / "fadump.json").read_text())
    del record["machine"]
    (older / "fadump.json").write_text(json.dumps(record))
    assert kept(newest, KeepSettings(dumps=1)).removed == (str(older),)


def test_a_directory_with_somebodys_own_file_stays_as_it_is(tmp_path):
    newest = dump(tmp_path, 3)
    dump(tmp_path, 2)
    noted = dump(tmp_path, 1, others=["analysis.txt"])
    retained = kept(newest, KeepSettings(dumps=1))
    assert left(tmp_path) == ["1", "3"] and left(noted) == ["analysis.txt", "fadump.json", "vmcore"]
    assert retained.remarks == (f"{noted} stays, as analysis.txt in it is none of ours",)


@pytest.mark.parametrize("name", ["vmcore", "vmcore-dmesg.txt"])
@pytest.mark.parametrize("make", [Path.mkdir, os.mkfifo, lambda path: path.symlink_to("/dev/null")])
def test_what_is_called_as_ours_and_is_no_file_stays_with_all_that_is_beside_it(tmp_path, name, make):
    newest = dump(tmp_path, 2)
    old = dump(tmp_path, 1)
    (old / name).unlink()
    make(old / name)
    retained = kept(newest, KeepSettings(dumps=1))
    assert left(old) == ["fadump.json", "vmcore", "vmcore-dmesg.txt"]
    assert retained.remarks == (f"{old} stays, as {name} in it is none of ours",)


def test_a_dump_that_another_capture_is_writing_stays(tmp_path):
    newest = dump(tmp_path, 2)
    other = dump(tmp_path, 1, whole=False)
    with (other / "vmcore.incomplete").open() as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        retained = kept(newest, KeepSettings(dumps=1))
    assert left(tmp_path) == ["1", "2"]
    assert retained.remarks == (f"{other} stays, as vmcore.incomplete in it is being written",)


def test_an_interrupted_removal_is_gone_on_with(tmp_path):
    """The record goes last, so that a directory is ours until it is empty."""
    newest, half = dump(tmp_path, 2), dump(tmp_path, 1)
    (half / "vmcore").unlink()
    kept(newest, KeepSettings(dumps=1))
    assert left(tmp_path) == ["2"]


def test_what_another_service_has_saved_is_removed_once_it_has_a_record(tmp_path):
    newest = dump(tmp_path, 3)
    theirs = dump(tmp_path, 2, others=["dump.202611291605", "dmesg.202611291605"])
    (theirs / "vmcore").unlink()
    dump(tmp_path, 1, whole=False)
    assert kept(newest, KeepSettings(dumps=2)).removed == (f"{tmp_path}/1",)
    assert kept(newest, KeepSettings(dumps=1)).removed == (f"{tmp_path}/2",)


def test_a_part_of_the_dump_that_is_whole_elsewhere_is_removed_and_nothing_else(tmp_path):
    dump(tmp_path, 1, whole=False)
    dump(tmp_path, 2, whole=False)
    dump(tmp_path, 3)
    retained = remove_parts([DirectoryShelf(tmp_path, "there", None)], Crash(f"{2:032}"))
    assert (left(tmp_path), retained.removed, retained.remarks) == (["1", "3"], ("there/2",), ())
    assert not remove_parts([DirectoryShelf(tmp_path, "there", None)], Crash(f"{3:032}")).removed


def test_a_place_that_cannot_be_read_is_said(tmp_path):
    gone = DirectoryShelf(tmp_path / "gone", "there", None)
    assert retain(gone, KeepSettings(dumps=1)).remarks == (
        "there can't be looked through, so that every dump stays: No such file or directory",
    )
    assert remove_parts([gone], Crash("0" * 32)).remarks == (
        "there can't be looked through for a part of this dump: No such file or directory",
    )

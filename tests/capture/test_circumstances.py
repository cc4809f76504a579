"""What a dump's surroundings may be like: no room for its log, long names, too many open files."""

import errno
import os
import resource

import pytest

from fadump.capture.destination import Destination
from fadump.capture.files import HostFiles
from fadump.capture.options import SaveOptions
from fadump.capture.target import FileTarget, incomplete_name
from fadump.errors import SetupError
from fadump.linux.pages.page_class import DumpLevel
from fadump.vmcore.check import check_dump
from fadump.vmcore.dump import open_dump
from tests.capture.saving import save_file

OPTIONS = SaveOptions(levels=(DumpLevel(31),))


def saved(vmcore, path, **more):
    with open_dump(vmcore) as dump:
        found = save_file(dump, path, OPTIONS, **more)
    with open_dump(path) as dump:
        assert check_dump(dump).whole
    return found


class NoLog(HostFiles):
    """Files of which no log can be opened."""

    def open(self, path, flags, mode):
        if "dmesg" in path.name:
            raise OSError(errno.EACCES, os.strerror(errno.EACCES))
        return super().open(path, flags, mode)


def test_a_log_that_cannot_be_written_does_not_cost_the_dump(vmcore, tmp_path):
    found = saved(vmcore, tmp_path / "out", files=NoLog())
    assert found.dmesg is None
    assert found.remarks[0] == (
        f"the log isn't beside the dump: {tmp_path / 'out-dmesg.txt'} can't be written: Permission denied"
    )
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_something_else_in_the_logs_place_does_not_cost_the_dump(vmcore, tmp_path):
    (tmp_path / "out-dmesg.txt.incomplete").mkdir()
    assert saved(vmcore, tmp_path / "out").dmesg is None


@pytest.mark.parametrize("length", [235, 244])
def test_a_name_that_is_too_long_for_the_log_alone_is_taken(vmcore, tmp_path, length):
    found = saved(vmcore, tmp_path / ("n" * length))
    assert "File name too long" in found.remarks[0]


@pytest.mark.parametrize(("name", "split", "too_many"), [("n" * 245, 1, 1), ("n" * 300, 1, 56), ("ü" * 122, 2, 2)])
def test_a_name_that_is_too_long_for_the_dump_is_refused_before(tmp_path, name, split, too_many):
    with pytest.raises(SetupError, match=f" is {too_many} bytes too long for a name, to which .incomplete is added"):
        Destination.take(tmp_path / name, SaveOptions(split=split))
    assert not list(tmp_path.iterdir())


def test_too_many_open_files_are_told_from_a_bad_place(tmp_path):
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))
    try:
        with pytest.raises(SetupError) as refused:
            FileTarget(tmp_path / "out", HostFiles())
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    name = incomplete_name(tmp_path / "out")
    assert str(refused.value) == f"can't make {name}: Too many open files: raise the limit (ulimit -n)"


def test_who_begins_at_the_same_time_is_not_told_to_remove_what_the_other_writes(tmp_path):
    first = FileTarget(tmp_path / "out", HostFiles())
    try:
        with pytest.raises(SetupError) as refused:
            FileTarget(tmp_path / "out", HostFiles())
    finally:
        first.close()
    name = incomplete_name(tmp_path / "out")
    assert str(refused.value) == f"{name} has just been made by another process: wait, or name another file"


def test_a_lock_that_fails_leaves_nothing(tmp_path, monkeypatch):
    def fail(*_arguments):
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr("fadump.capture.target.lock_at_once", fail)
    with pytest.raises(OSError, match="Input/output error"):
        FileTarget(tmp_path / "out", HostFiles())
    assert not list(tmp_path.iterdir())

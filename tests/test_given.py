"""Files that a user names by an option."""

import os
from pathlib import Path

import pytest

from fadump.errors import DiskError
from fadump.given import write_whole
from tests.small_disk import run_on_a_small_disk


def test_a_picture_that_does_not_fit_leaves_no_file(tmp_path):
    status, told, left = run_on_a_small_disk(tmp_path, "size=4k", "plan", "--svg", "plan.svg")
    assert (status, told["error"]) == (1, "--svg plan.svg can't be written: No space left on device")
    assert left == {}


def test_what_can_not_be_written_whole_leaves_the_earlier_file(tmp_path, monkeypatch):
    place = tmp_path / "report.html"
    write_whole("--out", place, b"earlier")
    monkeypatch.setattr(os, "fdopen", lambda fd, _mode: _full(fd))
    with pytest.raises(DiskError, match=r"^--out .*/report.html can't be written: No space left on device$"):
        write_whole("--out", place, b"later")
    assert place.read_bytes() == b"earlier" and list(tmp_path.iterdir()) == [place]


def _full(fd):
    os.close(fd)
    return Path("/dev/full").open("wb", buffering=0)


@pytest.mark.parametrize(("mode", "is_readable"), [([], False), ([0o666], True)])
def test_a_file_is_its_owners_alone_unless_it_may_be_seen(tmp_path, mode, is_readable):
    write_whole("--junit", tmp_path / "file", b"", *mode)
    assert bool((tmp_path / "file").stat().st_mode & 0o044) == is_readable

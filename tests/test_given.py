"""Files that a user names by an option."""

import os
from pathlib import Path

import pytest

from fadump.errors import DiskError
from fadump.given import is_same_file, write_whole
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


def test_links_in_a_circle_are_a_file_s_place_as_others_are(tmp_path):
    circle, other = tmp_path / "circle", tmp_path / "other"
    circle.symlink_to(circle)
    assert is_same_file(circle, circle) and not is_same_file(circle, other)
    write_whole("--out", circle, b"whole")
    assert circle.read_bytes() == b"whole"


def test_a_file_is_the_same_by_each_of_its_names(tmp_path):
    file, link, hard = (tmp_path / name for name in ("file", "link", "hard"))
    link.symlink_to(file)
    assert is_same_file(link, file)
    file.touch()
    hard.hardlink_to(file)
    assert is_same_file(hard, file) and not is_same_file(file, tmp_path)


def _full(fd):
    os.close(fd)
    return Path("/dev/full").open("wb", buffering=0)


@pytest.mark.parametrize(("mode", "is_readable"), [([], False), ([0o666], True)])
def test_a_file_is_its_owners_alone_unless_it_may_be_seen(tmp_path, mode, is_readable):
    write_whole("--junit", tmp_path / "file", b"", *mode)
    assert bool((tmp_path / "file").stat().st_mode & 0o044) == is_readable

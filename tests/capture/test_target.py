"""Whether somebody is writing to a file just now."""

import fcntl
import os

import pytest

from fadump.capture.target import is_being_written


@pytest.mark.parametrize(("held", "writing"), [(None, False), (fcntl.LOCK_SH, False), (fcntl.LOCK_EX, True)])
def test_only_who_writes_holds_the_lock_alone(tmp_path, held, writing):
    path = tmp_path / "out.incomplete"
    path.touch()
    with path.open("rb") as file:
        if held is not None:
            fcntl.flock(file, held)
        assert is_being_written(path) is writing
    assert not is_being_written(path)


def test_what_is_no_file_is_not_being_written(tmp_path):
    assert not is_being_written(tmp_path / "nothing")
    (tmp_path / "link").symlink_to(tmp_path)
    assert not is_being_written(tmp_path / "link")
    os.mkfifo(tmp_path / "pipe")
    assert not is_being_written(tmp_path / "pipe")

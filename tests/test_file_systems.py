"""File systems without locks, or without fsync(2) of directories, on a real one of each kind."""

import errno
import fcntl
import os
import subprocess

import pytest

from fadump.file_systems import fsync_directory, lock_at_once, wait_for_lock
from tests.odd_file_system import odd_file_system
from tests.real_linux.fadump_command import COMMAND

NO_LOCKS = [errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EBADF]
NO_FSYNC = [errno.EINVAL, errno.EBADF, errno.ENOSYS, errno.EOPNOTSUPP]
by_name = pytest.mark.parametrize(
    ("flock_error", "fsyncdir_error"), list(zip(NO_LOCKS, NO_FSYNC, strict=True)), ids=errno.errorcode.get
)


def fadump(*words):
    done = subprocess.run([*COMMAND, *map(str, words)], capture_output=True, text=True, check=False)
    assert "Traceback" not in done.stderr
    return done


@pytest.fixture(scope="module")
def vmcore(tmp_path_factory):
    out = tmp_path_factory.mktemp("run")
    assert not fadump("run", "--out", out).returncode
    return out / "vmcore"


@by_name
def test_a_dump_is_saved_where_there_are_no_locks_and_no_durable_names(tmp_path, vmcore, flock_error, fsyncdir_error):
    with odd_file_system(tmp_path, flock_error, fsyncdir_error) as mounted:
        with (mounted / "file").open("w") as file, pytest.raises(OSError, match=os.strerror(flock_error)):
            fcntl.flock(file, fcntl.LOCK_EX)
        (mounted / "file").unlink()
        done = fadump("save", vmcore, mounted / "saved", "--level", 31)
        assert not done.returncode, done.stderr
        assert sorted(path.name for path in mounted.iterdir()) == ["saved", "saved-dmesg.txt"]
        assert not fadump("check", mounted / "saved").returncode


def test_a_machine_runs_where_there_are_no_locks_and_no_durable_names(tmp_path):
    with odd_file_system(tmp_path, errno.ENOLCK, errno.EINVAL) as mounted:
        done = fadump("run", "--out", mounted / "run")
        assert not done.returncode, done.stderr
        assert not list((mounted / "run").glob("*incomplete*"))


def test_a_lock_that_another_process_has_is_not_given(tmp_path):
    path = tmp_path / "lock"
    with path.open("w") as one, path.open("w") as other:
        wait_for_lock(one.fileno())
        assert not lock_at_once(other.fileno())
        assert not lock_at_once(other.fileno(), fcntl.LOCK_SH)
        fcntl.flock(one, fcntl.LOCK_UN)
        assert lock_at_once(other.fileno())


def test_a_file_system_that_fails_is_an_error(tmp_path):
    with odd_file_system(tmp_path, errno.EIO, errno.EIO) as mounted:
        (mounted / "file").touch()
        with (mounted / "file").open() as file, pytest.raises(OSError, match=os.strerror(errno.EIO)):
            lock_at_once(file.fileno())
        with pytest.raises(OSError, match=os.strerror(errno.EIO)):
            fsync_directory(mounted)

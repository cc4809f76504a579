"""A directory mounted by FUSE whose file system refuses locks and fsync(2) of directories, with errors as asked for.

    python -m tests.odd_file_system DIRECTORY MOUNTPOINT FLOCK_ERROR FSYNCDIR_ERROR

It passes all else on to DIRECTORY; an error is a number of errno.h, 0: none.
"""

import contextlib
import os
import subprocess
import sys
from pathlib import Path

import mfusepy

ROOT = Path(__file__).parent.parent


class _Passed(mfusepy.Operations):
    use_ns = True

    def __init__(self, directory, flock_error, fsyncdir_error):
        self._directory, self._flock_error, self._fsyncdir_error = directory, flock_error, fsyncdir_error

    def init(self, path):
        print("mounted", flush=True)

    def _of(self, path):
        return Path(self._directory + path)

    def getattr(self, path, fh=None):
        found = self._of(path).lstat()
        names = ("st_mode", "st_nlink", "st_size", "st_uid", "st_gid", "st_blocks", "st_ino")
        return {name: getattr(found, name) for name in names}

    def readdir(self, path, fh):
        return [".", "..", *(child.name for child in self._of(path).iterdir())]

    def create(self, path, mode, fi=None):
        return os.open(self._of(path), os.O_RDWR | os.O_CREAT, mode)

    def open(self, path, flags):
        return os.open(self._of(path), flags & ~os.O_EXCL)

    def read(self, path, size, offset, fh):
        return os.pread(fh, size, offset)

    def write(self, path, data, offset, fh):
        return os.pwrite(fh, data, offset)

    def truncate(self, path, length, fh=None):
        os.truncate(self._of(path), length)

    def release(self, path, fh):
        os.close(fh)

    def fsync(self, path, datasync, fh):
        os.fsync(fh)

    def rename(self, old, new):
        self._of(old).rename(self._of(new))

    def unlink(self, path):
        self._of(path).unlink()

    def mkdir(self, path, mode):
        self._of(path).mkdir(mode)

    def chmod(self, path, mode):
        self._of(path).chmod(mode)

    def flock(self, path, fh, op):
        self._refuse(self._flock_error)
        return 0

    def fsyncdir(self, path, datasync, fh):
        self._refuse(self._fsyncdir_error)
        return 0

    def _refuse(self, number):
        if number:
            raise mfusepy.FuseOSError(number)


@contextlib.contextmanager
def odd_file_system(directory, flock_error=0, fsyncdir_error=0):
    """The mount of an empty directory in ``directory``."""
    backing, mounted = directory / "backing", directory / "mounted"
    backing.mkdir()
    mounted.mkdir()
    words = [str(backing), str(mounted), str(flock_error), str(fsyncdir_error)]
    command = [sys.executable, "-m", "tests.odd_file_system", *words]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE) as process:
        assert process.stdout.readline() == b"mounted\n"
        try:
            yield mounted
        finally:
            subprocess.run(["fusermount3", "-u", str(mounted)], check=True)


if __name__ == "__main__":
    backing_, mounted_, flock_, fsyncdir_ = sys.argv[1:]
    mfusepy.FUSE(_Passed(backing_, int(flock_), int(fsyncdir_)), mounted_, foreground=True, nothreads=True)

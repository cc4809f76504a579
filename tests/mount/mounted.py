"""The machine's files mounted by ``fadump mount``, as a user does it; used by several tests."""

import contextlib
import os
import signal
import subprocess
from pathlib import Path

from tests.real_linux.fadump_command import COMMAND, END_SECONDS


class Mounted:
    """A running ``fadump mount``; ends with the block."""

    def __init__(self, directory, *options, where=None, cwd=None, before=()):
        """``where`` is how the command names the directory; ``before`` it, another command."""
        self.root = directory
        self._where, self._cwd, self._before, self._options = str(where or directory), cwd, before, options

    def __enter__(self):
        self.process = subprocess.Popen(
            [*self._before, *COMMAND, "mount", "--memory", "1G", *self._options, "--", self._where], cwd=self._cwd,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        line = self.process.stdout.readline()
        if "mounted" not in line:
            self.process.kill()
            raise AssertionError(line + self.process.communicate(timeout=END_SECONDS)[1])
        return self

    def __exit__(self, *error):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        self.process.communicate(timeout=END_SECONDS)

    def end(self, number):
        """End it by a signal; returns (status, stdout, stderr)."""
        self.process.send_signal(number)
        stdout, stderr = self.process.communicate(timeout=END_SECONDS)
        return self.process.returncode, stdout, stderr

    def children(self):
        """What it has started."""
        task = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        return [int(pid) for pid in task.read_text().split()]

    def path(self, absolute):
        return self.root / absolute.lstrip("/")

    def read(self, absolute):
        return self.path(absolute).read_text()

    def write(self, absolute, text):
        fd = os.open(self.path(absolute), os.O_WRONLY)
        try:
            return os.write(fd, text.encode())
        finally:
            os.close(fd)

    def crash(self):
        self.write("/proc/sysrq-trigger", "c")


def mounts():
    """Where anything of ours is mounted."""
    lines = Path("/proc/self/mounts").read_text().splitlines()
    return [line.split()[1] for line in lines if line.startswith("fadump ")]


@contextlib.contextmanager
def emptied(directory):
    """Whatever a failed test leaves mounted there is unmounted."""
    directory.mkdir()
    try:
        yield directory
    finally:
        if str(directory) in mounts():
            subprocess.run(["fusermount3", "-u", "-z", directory], check=True)

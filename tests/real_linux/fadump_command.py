"""Runs the ``fadump`` command as a user does."""

import json
import os
import select
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

RUN_SECONDS = 900
END_SECONDS = 60
COMMAND = [sys.executable, "-m", "fadump"]
RUN = ["run", "--machine", "qemu"]


@dataclass(frozen=True)
class Done:
    """A finished command; ``out`` is its output directory, ``json`` the object on its stdout."""

    status: int
    stdout: str
    stderr: str
    out: Path

    @property
    def json(self):
        return json.loads(self.stdout)

    def file(self, name):
        return (self.out / name).read_text(errors="replace")

    def as_text(self):
        return json.dumps([self.status, self.stdout, self.stderr, str(self.out)])

    @classmethod
    def of_text(cls, text):
        *ended, out = json.loads(text)
        return cls(*ended, Path(out))


def fadump_run(out, *options):
    """``fadump run --json`` with real Linux; its files stay in ``out``, for whoever looks why a test failed."""
    command = [*COMMAND, *RUN, "--json", "--out", str(out), *options]
    done = subprocess.run(command, capture_output=True, text=True, timeout=RUN_SECONDS, check=False)
    return Done(done.returncode, done.stdout, done.stderr, out)


class StartedRun:
    """A run that a test interferes with; ends with the test."""

    def __init__(self, out, *options):
        self.out = out
        self.process = subprocess.Popen(
            [*COMMAND, *RUN, "--out", str(out), *options], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.process.kill()
        self.process.communicate()

    def wait_for(self, text):
        """Read what the run prints until it says this."""
        for line in self.process.stdout:
            if text in line:
                return
        raise AssertionError(f"the run ended without saying {text!r}: {self.process.stderr.read()}")

    def children(self):
        """Process ids of QEMU and whatever else the run has started."""
        task = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        return [int(pid) for pid in task.read_text().split()]

    def send(self, signal_number):
        self.process.send_signal(signal_number)

    def end(self):
        """Wait for the end; returns (status, stderr)."""
        _stdout, stderr = self.process.communicate(timeout=END_SECONDS)
        return self.process.returncode, stderr


def wait_until_gone(pids):
    """Wait for processes to end, whoever's children they are by now."""
    for pid in pids:
        try:
            pidfd = os.pidfd_open(pid)
        except ProcessLookupError:
            continue
        try:
            ready, _, _ = select.select([pidfd], [], [], END_SECONDS)  # readable when the process has ended
            assert ready, f"process {pid} is still there"
        finally:
            os.close(pidfd)

"""A network of the test's own, with one other machine in it: namespaces, so that nothing of it stays, however it ends.

This thread, and what it starts, is at one end of a cable, ``HERE``; the other machine is at the other end, ``THERE``,
with processes, mounts and /run of its own. When its first process ends, all of it is gone.
"""

import ctypes
import os
import signal
import subprocess
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

HERE = "198.18.0.1"
THERE = "198.18.0.2"
_CLONE_NEWNET = 0x40000000
_LIBC = ctypes.CDLL(None, use_errno=True)

_UNSHARE = ["unshare", "--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "--"]
_MACHINE = ["setpriv", "--pdeathsig", "KILL", "--", *_UNSHARE]
_START = f"""
mount -t tmpfs -o mode=755 tmpfs /run
echo started
read -r cable
ip link set lo up
ip address add {THERE}/30 dev "$cable"
ip link set "$cable" up
exec "$@"
"""


@dataclass(frozen=True, slots=True)
class OtherMachine:
    """A machine that runs one program. ``process`` is the one that this system knows it by."""

    process: subprocess.Popen

    @property
    def init(self):
        """The number of its first process, as this system counts."""
        return _children(self.process.pid)[0]

    def connections(self):
        """What its first process has started: of an sshd, one for each connection."""
        return _children(self.init)

    def inside(self, *command):
        """Run a command there; what it says."""
        namespaces = [f"--{kind}" for kind in ("net", "mount", "pid")]
        enter = ["nsenter", f"--target={self.init}", *namespaces, "--", *command]
        return subprocess.run(enter, check=True, capture_output=True, text=True).stdout

    def vanish(self):
        """Have the network swallow everything that goes to it, and say nothing."""
        self.inside("ip", "route", "add", "blackhole", f"{HERE}/32")


@contextmanager
def network():
    """Within the block this thread is in a network of its own."""
    before = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        _checked(_LIBC.unshare(_CLONE_NEWNET))
        try:
            _ip("link", "set", "lo", "up")
            yield
        finally:
            _checked(_LIBC.setns(before, _CLONE_NEWNET))
    finally:
        os.close(before)


@contextmanager
def other_machine(*program, ready):
    """Another machine that runs ``program``, once a line of what it says has ``ready`` in it."""
    with subprocess.Popen(
        [*_MACHINE, "sh", "-ec", _START, "sh", *program],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        try:
            said = process.stdout.readline()
            assert said == "started\n", said
            _ip("link", "add", "here", "type", "veth", "peer", "name", "there", "netns", str(process.pid))
            _ip("address", "add", f"{HERE}/30", "dev", "here")
            _ip("link", "set", "here", "up")
            process.stdin.write("there\n")
            process.stdin.flush()
            lines = []
            for line in process.stdout:
                lines.append(line)
                if ready in line:
                    break
            else:
                raise AssertionError("".join(lines))
            yield OtherMachine(process)
        finally:
            for child in _children(process.pid):  # with its first process all others end
                os.kill(child, signal.SIGKILL)
            process.stdin.close()
            process.wait()


def _children(pid):
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def _ip(*words):
    subprocess.run(["ip", *words], check=True, capture_output=True, text=True)


def _checked(result):
    if result:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))

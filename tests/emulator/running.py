"""The emulator as whoever uses it starts it: a program with QEMU's arguments, and a monitor of the caller's own."""

import json
import os
import select
import socket
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

SECONDS = 60


def program(directory):
    """The console script, as it is installed, in a file of its own."""
    script = directory / "fadump-qemu-system-ppc64"
    if not script.exists():
        script.write_text(f"#!{sys.executable}\nfrom fadump.emulator.start import main\n\nmain()\n")
        script.chmod(0o755)
    return script


class Monitor:
    """QMP on a socket that QEMU inherits. ``commands`` can be waiting there before it starts."""

    def __init__(self, *commands):
        self._ours, self.theirs = socket.socketpair()
        self._ours.settimeout(SECONDS)
        self._file = self._ours.makefile("rw", encoding="utf-8")
        self.events = []
        self._sent = 0
        for command in ("qmp_capabilities", *commands):
            self._send(command, {})
        self.words = [
            *("-chardev", f"socket,id=caller,fd={self.theirs.fileno()}"),
            *("-mon", "chardev=caller,mode=control"),
        ]

    def ask(self, command, **arguments):
        """Run a command; its answer."""
        self._send(command, arguments)
        while "id" not in (message := self._read()) or message["id"] != self._sent:
            pass
        return message["return"]

    def wait_for(self, name, count=1):
        """Wait until so many events of this name have come."""
        while self.events.count(name) < count:
            self._read()

    def wait_until_running(self):
        """Wait until the guest runs, and is not stopped by the firmware to look at it."""
        while self.ask("query-status")["status"] != "running":
            self.wait_for("RESUME", self.events.count("RESUME") + 1)

    def close(self):
        """Be of no more use."""
        self._file.close()
        self._ours.close()
        self.theirs.close()

    def _send(self, command, arguments):
        self._sent += 1
        self._file.write(json.dumps({"execute": command, "arguments": arguments, "id": self._sent}))
        self._file.flush()

    def _read(self):
        message = json.loads(self._file.readline())
        if "event" in message:
            self.events.append(message["event"])
        return message


@contextmanager
def running(directory, *words, monitor=None, environment=None, fds=(), terminal=None):
    """The emulator's process; it is gone, with all that it has started, when the context ends."""
    fds = [*fds] if monitor is None else [*fds, monitor.theirs.fileno()]
    with subprocess.Popen(
        [program(directory), *map(str, words), *([] if monitor is None else monitor.words)],
        stdin=subprocess.DEVNULL if terminal is None else terminal,
        stdout=subprocess.PIPE if terminal is None else terminal,
        stderr=subprocess.PIPE if terminal is None else terminal,
        env=os.environ | (environment or {}),
        pass_fds=fds,
    ) as process:
        if monitor is not None:
            monitor.theirs.close()
        try:
            yield process
        finally:
            process.kill()
            if monitor is not None:
                monitor.close()


def children(pid):
    """The processes that a process has started."""
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def ended(*pids):
    """Wait for processes that aren't ours; False if one goes on."""
    for pid in pids:
        try:
            fd = os.pidfd_open(pid)
        except ProcessLookupError:
            continue
        try:
            if not select.select([fd], [], [], SECONDS)[0]:
                return False
        finally:
            os.close(fd)
    return True

"""A ``fadump vm`` on a terminal of its own, which a test types on and reads, and its events."""

import gzip
import io
import json
import sys
from contextlib import contextmanager

import pexpect

from fadump.kit.initramfs import build_initramfs
from fadump.kit.newc import NewcWriter

SECONDS = 240
PROMPT = "@guest> "
SHELL = f"""#!/fadump/busybox sh
/fadump/busybox mkdir -p /proc /sys /bin
/fadump/busybox mount -t proc proc /proc
/fadump/busybox mount -t sysfs sys /sys
/fadump/busybox mount -t devtmpfs dev /dev
/fadump/busybox --install -s /bin
export PATH=/bin PS1='{PROMPT}'
exec setsid cttyhack sh
"""
"""An init that is no more than a shell on the console: nothing in it knows of the guest channel."""


class Vm:
    """A running machine. ``log`` is the file that has its whole console."""

    def __init__(self, child, events):
        self.child = child
        self._events = events

    def expect(self, text):
        """Read the console up to a text; fails at once if the machine ends instead."""
        self.child.expect_exact(text, timeout=SECONDS)

    def at_prompt(self, *commands):
        """Give the shell these commands, one after the other, each once it asks for one."""
        for command in commands:
            self.expect(PROMPT)
            self.child.sendline(command)
            self.expect("\n")

    def press(self, key):
        """A key behind Ctrl-a."""
        self.child.send(f"\x01{key}")

    def end(self):
        """Wait for the command's end; its exit status."""
        self.child.expect(pexpect.EOF, timeout=SECONDS)
        self.child.close()
        return self.child.exitstatus

    @property
    def events(self):
        """The names of what the firmware has seen so far, in order."""
        return [json.loads(line)["event"] for line in self._events.read_text().splitlines()]


@contextmanager
def vm(directory, *options, told_on_terminal=False):
    """The machine of ``fadump vm`` with these options; it is ended with the context. Its console is kept."""
    events = directory / "events.jsonl"
    events_to = [] if told_on_terminal else ["--events", str(events)]
    words = ["-m", "fadump", "vm", *events_to, *map(str, options)]
    with (directory / "console.log").open("wb") as log:
        child = pexpect.spawn(sys.executable, words, logfile=log, timeout=SECONDS, dimensions=(24, 200))
        try:
            yield Vm(child, events)
        finally:
            child.close(force=True)


def shell_initrd(directory):
    """An initramfs whose init is a shell; it is started with rdinit=/shell."""
    ours = build_initramfs().read_bytes()
    stream = io.BytesIO()
    writer = NewcWriter(stream)
    writer.add_file("shell", SHELL.encode(), 0o755)
    writer.close()
    initrd = directory / "shell.cpio.gz"
    initrd.write_bytes(ours + bytes(-len(ours) % 4) + gzip.compress(stream.getvalue()))
    return initrd

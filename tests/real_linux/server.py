"""A Debian with the capture service on a machine of the test's own: its console is read and typed at, its firmware
watched, its power cut at will. Each wait has a deadline, and ends at once when the system is beyond hope.
"""

import math
import re
import subprocess
import sys
import time
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from typing import Any

from fadump.firmware.pseries import PseriesFirmware
from fadump.machine.qemu.machine import QemuMachine
from fadump.observer import Seen, Unwatched
from fadump.proof.verify import Verifier
from fadump.session import PoweredOffError, Session
from fadump.systems.console import WatchedConsole
from fadump.systems.disks import open_drives
from fadump.systems.evidence import take_out
from fadump.systems.vm import VmOptions, machine_config
from fadump.vmcore.dump import open_dump

CMDLINE = "console=hvc0 root=/dev/vda2 ro fadump=on crashkernel=512M systemd.default_device_timeout_sec=600"
WITHOUT_NETWORK = "".join(
    f" systemd.mask={unit}"
    for unit in (
        *("systemd-networkd.service", "systemd-networkd.socket", "systemd-networkd-wait-online.service"),
        *("systemd-network-generator.service", "systemd-resolved.service", "systemd-logind.service"),
        *("e2scrub_reap.service", "grub2-common.service", "getty@tty1.service", "dbus.service", "dbus.socket"),
        *(f"modprobe@{module}.service" for module in ("configfs", "drm", "efi_pstore", "fuse")),
    )
)
"""What a boot is quicker without, where nothing of it has a part in the story."""
MEMORY_BYTES = 2 << 30
SECONDS = 1200
LEAST_BYTES = 20 << 20
"""What a dump of this system has at least."""
PROMPT = r"root@[\w-]+:~# "
_CONTROL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)|\r")
_BEYOND_HOPE = re.compile(
    r".*(?:Kernel panic - not syncing|Out of memory: Killed|emergency mode|rescue mode|Unable to mount root fs).*"
)
_QUIET = "dmesg -n 1; kill -s RTMIN+21 1; stty -echo"
"""Nothing but answers comes on the console after it: no kernel, no systemd, no echo."""


class Transcript:
    """A console's text without control sequences; the file has it as it came."""

    def __init__(self, file):
        self._file = file
        self._lines = ""
        self._rest = ""

    @property
    def text(self):
        return self._lines + _CONTROL.sub("", self._rest)

    def write(self, data):
        self._file.write(data)
        whole, newline, self._rest = (self._rest + data.decode(errors="replace")).rpartition("\n")
        self._lines += _CONTROL.sub("", whole + newline)
        return len(data)

    def flush(self):
        self._file.flush()


class Crashes:
    """The machine at each crash whose dump the firmware takes, beside that dump as the firmware has preserved it."""

    def __init__(self, ends):
        self._ends = ends
        self.verifiers = []
        self.preserved = []

    def crashed(self, machine, cpus, crashing_cpu):
        verifier = self._ends.enter_context(Verifier())
        verifier.crashed(machine, cpus, crashing_cpu)
        self.verifiers.append(verifier)

    def released(self, machine, dump):
        self.verifiers[-1].released(machine, dump)

    def number_of(self, path):
        """Which crash, counted from 0, a dump has all of; it is whole by fadump check, and equal to the machine."""
        checked = subprocess.run(
            [sys.executable, "-m", "fadump", "check", path], capture_output=True, text=True, check=False
        )
        assert checked.returncode == 0, f"{path}: {checked.stdout}{checked.stderr}"
        said = []
        for number, (verifier, preserved) in enumerate(zip(self.verifiers, self.preserved, strict=True)):
            with open_dump(path) as dump:
                verdict = verifier.judge_saved(dump, preserved)
            if verdict.same and verdict.memory.bytes_compared > LEAST_BYTES:
                return number
            said.append(f"{verdict.memory.bytes_different} of {verdict.memory.bytes_compared}, {verdict.registers[:1]}")
        raise AssertionError(f"{path} is of no crash; bytes and registers that differ: {said}")


@dataclass(slots=True)
class Server:
    """The running system. ``at`` is how much of its console has been read, ``boot_from`` where this boot's begins."""

    machine: QemuMachine
    session: Session
    transcript: Transcript
    crashes: Crashes
    drives: tuple[Any, ...]
    started: float
    at: int = 0
    hope_from: int = 0
    boot_from: int = 0

    def until(self, done, what, seconds=SECONDS, look_seconds=1.0):
        """Serve the machine until something is so, and return that."""
        deadline = time.monotonic() + seconds
        while not (found := done()):
            if time.monotonic() > deadline:
                raise AssertionError(self.told(f"{what}: not within {seconds} s"))
            self.machine.call_after(look_seconds)
            self.session.serve()
            if lost := _BEYOND_HOPE.search(self.transcript.text, self.hope_from):
                raise AssertionError(self.told(f"{what}: {lost[0]}"))
        return found

    def told(self, sentence):
        """A sentence with the console's last lines."""
        return "\n  | ".join([sentence, *self.transcript.text.splitlines()[-40:]])

    def see(self, pattern, seconds=SECONDS):
        """Read the console up to the end of what this matches, and return the match."""
        match = self.find(pattern, seconds)
        self.at = match.end()
        return match

    def find(self, pattern, seconds=SECONDS):
        """Wait for what this matches, and leave it unread."""
        return self.until(lambda: self.found(pattern), pattern, seconds)

    def found(self, pattern):
        """What this matches of what has not been read, or None."""
        return re.compile(pattern, re.MULTILINE).search(self.transcript.text, self.at)

    def serve_for(self, seconds):
        """Let the system do what it does for a while."""
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            self.machine.call_after(left)
            self.session.serve()

    def count(self, seen):
        """How often the firmware has seen this."""
        return self.session.record.counts[seen]

    def wait_for(self, seen, before, seconds=SECONDS):
        """Until the firmware has seen this more often than ``before``."""
        self.until(lambda: self.count(seen) > before, f"{seen} by the firmware", seconds)

    @property
    def state(self):
        """Where the firmware stands."""
        return self.session.firmware_state

    def prompt(self):
        """Read up to root's prompt."""
        self.until(lambda: self.found(PROMPT), "a prompt of root's")
        self.at = len(self.transcript.text)

    def run(self, command, seconds=SECONDS):
        """What a command prints."""
        self.machine.type(f"echo begin-$((40+2)); {command}; echo end-$((40+2))\n".encode())
        self.see(r"^begin-42\n", seconds)
        start = self.at
        end = self.see(r"^end-42\n", seconds).start()
        self.prompt()
        return self.transcript.text[start:end].rstrip("\n")

    def log_in(self):
        """Wait for this boot's prompt, and have nothing else on the console but answers."""
        prompt = re.compile(PROMPT)
        self.until(lambda: prompt.search(self.transcript.text, self.boot_from), "a prompt of root's")
        self.at = len(self.transcript.text)
        self.run(_QUIET)

    def crash(self):
        """Crash the kernel by what is typed at the prompt, until the firmware has the dump."""
        self.run("sync")
        self.crash_by(lambda: self.machine.type(b"echo c >/proc/sysrq-trigger\n"))

    def crash_by(self, do):
        """Crash the kernel in some way, until the firmware has a dump: of this crash, or the one that it had before."""
        before = self.count(Seen.PRESERVED)
        self.hope_from = sys.maxsize
        do()
        self.wait_for(Seen.PRESERVED, before)
        self.crashes.preserved[len(self.crashes.verifiers) - 1 :] = [self.session.record.dump]
        self._begin_boot()

    def cut_power(self):
        """Reset the machine at once, whatever it does."""
        before = self.count(Seen.RESET)
        self.machine.press_reset()
        self.wait_for(Seen.RESET, before)
        self._begin_boot()

    def _begin_boot(self):
        self.at = self.hope_from = self.boot_from = len(self.transcript.text)

    def power_off(self):
        """Have the system power its machine off."""
        self.machine.type(b"poweroff\n")
        try:
            self.until(lambda: False, "the machine's end")
        except PoweredOffError:
            return

    def saved(self, directory):
        """End the machine; the crashes whose dumps are on its disks, whatever is called ``vmcore`` there."""
        self.machine.close()
        directory.mkdir()
        taken = take_out(self.drives, "/var/crash", self.started, directory)
        assert not taken.unread
        return sorted(self.crashes.number_of(path) for path in directory.rglob("vmcore"))


@contextmanager
def server(directory, kernel, *disks, user_network=False):
    """That system, on the first of these disks, being booted. What it writes to them is gone with it."""
    vm = VmOptions(
        kernel=kernel,
        cmdline=CMDLINE if user_network else CMDLINE + WITHOUT_NETWORK,
        disks=disks,
        snapshot=True,
        memory_bytes=MEMORY_BYTES,
        user_network=user_network,
    )
    started = time.time()
    with ExitStack() as ends:
        drives = ends.enter_context(open_drives(disks, snapshot=True))
        transcript = Transcript(ends.enter_context((directory / "console.log").open("wb", buffering=0)))
        crashes = Crashes(ends)
        console = WatchedConsole(transcript)
        config = replace(machine_config(vm, drives), vof=True)
        machine = ends.enter_context(QemuMachine(config, None, console))
        console.changed = machine.call
        session = Session(machine, PseriesFirmware(), Unwatched(), crashes, silence_seconds=math.inf)
        yield Server(machine, session, transcript, crashes, drives, started)

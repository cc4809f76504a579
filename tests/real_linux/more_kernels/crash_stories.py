"""Machines that are crashed again and again, in the ways of Linux's own module for that and in others.

Each dump is kept as an administrator's is: filtered, and without debug information.
"""

import json
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

from fadump.capture.options import SaveOptions
from fadump.capture.packers import Compression
from fadump.linux.pages.page_class import DumpLevel
from fadump.machine.channel import Hello, Release, Released, RunScript
from fadump.vmcore.dump import open_dump
from tests.capture.saving import save_file
from tests.real_linux.fadump_command import COMMAND
from tests.real_linux.scenario import Scenario

LEVEL = DumpLevel(31)
PROVOKE = "echo {} >/sys/kernel/debug/provoke-crash/DIRECT"
NFS = ("dns_resolver", "sunrpc", "grace", "lockd", "nfs", "nfsv4")
"""In the order in which they can be loaded."""
FUSE_IS_MUTE = r"""
waits_in() { until grep -q $1 /proc/$2/stack; do usleep 100000; done; }
mkdir -p /answered
(
    exec 3<>/dev/fuse; mount -t fuse -o fd=3,rootmode=40000,user_id=0,group_id=0 mute /answered
    dd bs=65536 count=1 <&3 >/hello 2>/dev/null
    { printf '\120\0\0\0\0\0\0\0'; dd if=/hello bs=8 skip=1 count=1 2>/dev/null; printf '\7\0\0\0\37\0\0\0'
      head -c 56 /dev/zero; } >/answer
    dd if=/answer bs=80 count=1 >&3 2>/dev/null
    exec sleep 1000
) &
until [ -s /answer ]; do usleep 100000; done
touch /answered/a &
waits_in request_wait_answer $!
touch /answered/b &
waits_in fuse_ $!
until grep -q 'State:.D' /proc/$!/status; do usleep 100000; done
"""
"""A server that answers the first request and no other; who waits for it, and who waits for that one."""


@dataclass(frozen=True)
class Story:
    """A crash: what a script does, and what the report must say of it.

    ``function`` is what the crash was provoked in, as drgn must find it on the stack too; of the module lkdtm if
    ``in_module``.
    """

    script: str
    what: str
    blame: str
    certainty: str = "likely"
    function: str = ""
    in_module: bool = True


def provoked(kind, what, certainty="likely", function=None, before=""):
    """A crash by lkdtm: its functions are called as the kinds are."""
    function = function or f"lkdtm_{kind}"
    return Story(before + PROVOKE.format(kind), what, f"the module lkdtm, in {function}()", certainty, function)


@dataclass
class CrashingMachine:
    """One machine that has these modules loaded; ``dumps`` are what is kept of its crashes."""

    directory: Path
    scenario: Scenario
    modules: tuple = ()
    has_crashed: bool = field(default=False, init=False)

    def crash(self, name, script):
        """The filtered dump of a crash by a script.

        Each begins with a boot: with a dump Linux gives away its area for parameters, too, and whatever is there at the
        next crash is the capture kernel's command line (3. in docs/linux-bugs.md).
        """
        if self.has_crashed:
            self.scenario.reboot()
        else:
            self.scenario.hello()
        self.scenario.register()
        self.has_crashed = True
        self.scenario.session.ask(RunScript(script, may_crash=True), Hello)
        self.scenario.save()
        kept = self.directory / name
        with open_dump(self.directory / "vmcore.incomplete") as dump:
            save_file(dump, kept, SaveOptions(levels=(LEVEL,), compression=Compression.ZLIB))
        self.scenario.session.ask(Release(), Released)
        return kept

    def dump_of(self, name, script):
        """The same dump again, or of such a crash now."""
        kept = self.directory / name
        return kept if kept.exists() else self.crash(name, script)


def in_order(directory, files):
    """The same modules by names that sort in this order, as the guest's init loads them."""
    directory.mkdir()
    for number, file in enumerate(files):
        (directory / f"{number:02}-{file.name}").symlink_to(file)
    return sorted(directory.iterdir())


def reported(dump, *options, exit_code=0):
    """What ``fadump report --json`` says of a dump."""
    done = subprocess.run([*COMMAND, "report", "--json", *options, dump], capture_output=True, text=True, check=False)
    assert done.returncode == exit_code, done.stdout + done.stderr
    return json.loads(done.stdout)

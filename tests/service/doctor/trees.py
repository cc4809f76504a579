"""Systems as trees of files, for doctor to look at: /proc and /sys of the modelled kernel, the rest written by hand."""

import gzip
from functools import cache

from fadump.abi.platform import Platform
from fadump.kernel.files.sysfs import KernelLink
from fadump.machine.channel import Crash, Crashing, Hello, Register, Registered
from fadump.memory.devicetree import encode_strings
from fadump.memory.ranges import Range
from fadump.service.doctor.files import SystemFiles
from tests.machine.embedded.bench import bench

GIB = 1 << 30
FOUR_GIB = (Range(0, 4 * GIB),)
RELEASE = "6.12.0-model"
CONFIG = """\
CONFIG_FA_DUMP=y
CONFIG_CRASH_DUMP=y
CONFIG_PROC_VMCORE=y
CONFIG_PPC_64K_PAGES=y
CONFIG_NR_CPUS=64
# CONFIG_PRESERVE_FA_DUMP is not set
"""
KDUMP_TOOLS = """\
# kdump-tools configuration
USE_KDUMP=1
KDUMP_KERNEL=/var/lib/kdump/vmlinuz
KDUMP_COREDIR="/var/crash"
#MAKEDUMP_ARGS="-c -d 31"
"""
RULES = """\
SUBSYSTEM=="memory", ACTION=="online", PROGRAM="/usr/sbin/kdump-config try-reload"
SUBSYSTEM=="cpu", ACTION=="add", PROGRAM="/usr/sbin/kdump-config try-reload"
"""
RULES_FILE = "/usr/lib/udev/rules.d/50-kdump-tools.rules"
WANTS = "/etc/systemd/system/basic.target.wants"
UNITS = "/usr/lib/systemd/system"


class Tree:
    """A system's files below a directory."""

    def __init__(self, directory):
        self.directory = directory
        self.files = SystemFiles(directory, is_running_system=False)

    def put(self, name, content):
        path = self.directory / name.lstrip("/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())

    def link(self, name, target):
        path = self.directory / name.lstrip("/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.symlink_to(target)

    def remove(self, name):
        (self.directory / name.lstrip("/")).unlink()

    def unit(self, name, *, enabled=True):
        """A unit that is installed, and wanted by a target or not."""
        self.put(f"{UNITS}/{name}", "[Service]\n")
        if enabled:
            self.link(f"{WANTS}/{name}", f"{UNITS}/{name}")

    def kdump_tools(self, settings=KDUMP_TOOLS, *, enabled=True):
        """Debian's kdump-tools as its package installs it."""
        self.unit("kdump-tools.service", enabled=enabled)
        self.put("/etc/default/kdump-tools", settings)
        (self.directory / "var/crash").mkdir(parents=True, exist_ok=True)


def _shown(entry):
    """What a file of the modelled kernel shows; of the dump its beginning."""
    if entry.show is not None:
        return entry.show()
    return b"" if entry.read_at is None else entry.read_at(0, min(entry.size_bytes, 4096))


def as_it_is(_tree):
    """Leaves a device tree alone."""


@cache
def _kernel_files(cmdline, platform, on_tree, memory, *, crash):
    """The modelled kernel's files by name: what they show, or where they point to as links."""
    others = {} if memory is None else {"memory": memory}
    with bench(platform, cmdline, **others) as machine:
        machine.on_tree = on_tree
        machine.until(Hello)
        if crash:
            machine.ask(Register(), Registered)
            machine.ask(Crash(0), Crashing)
            machine.until(Hello)
        files = machine.machine.files()
        return {name: file if isinstance(file, KernelLink) else _shown(file) for name, file in files.items()}


def booted(directory, cmdline="fadump=on", platform=Platform.PSERIES, on_tree=as_it_is, memory=None, *, crash=False):
    """A modelled system that has booted, and has registered with the firmware if it could."""
    tree = Tree(directory)
    for name, content in _kernel_files(cmdline, platform, on_tree, memory, crash=crash).items():
        if isinstance(content, KernelLink):
            tree.link(name, content.target)
        else:
            tree.put(name, content)
    tree.put("/proc/sys/kernel/osrelease", f"{RELEASE}\n")
    tree.put("/proc/sys/kernel/panic", "180\n")
    tree.put("/proc/sys/kernel/panic_on_oops", "1\n")
    tree.put("/proc/config.gz", gzip.compress(CONFIG.encode()))
    return tree


def crashed(directory):
    """One in its capture boot."""
    return booted(directory, crash=True)


def powervm(tree):
    """Makes a device tree a partition's of PowerVM."""
    tree.root.properties["model"] = encode_strings("IBM,9105-22A")


def without_fadump(tree):
    """Takes FADump out of a device tree."""
    for node in (tree.find("/rtas"), tree.find("/ibm,opal")):
        if node is not None:
            node.properties.pop("ibm,configure-kernel-dump", None)
            node.children = [child for child in node.children if child.name != "dump"]

"""What is known of a Power system: its firmware, its kernel, and how far that has come with FADump. Each is read once.

Linux Documentation/arch/powerpc/firmware-assisted-dump.rst names the files; which of them there are tells kernels
apart.
"""

import gzip
import io
import re
import zlib
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from enum import StrEnum

from fadump.errors import FormatError, SetupError, reason
from fadump.kernel.plan.cmdline import CommandLine, parse_command_line
from fadump.kernel.plan.plan import Plan, make_plan
from fadump.kernel.plan.read_memory import read_tree
from fadump.kernel.plan.system import cpu_names, system_of
from fadump.kernel.traits import KIB, LINUX_6_1, LINUX_6_12, LINUX_7_2, KernelTraits
from fadump.memory.devicetree import DeviceTree
from fadump.service.doctor.files import SystemFiles
from fadump.service.doctor.savers import saves_in_initrd

FADUMP = "/sys/kernel/fadump"
REGISTERED = f"{FADUMP}/registered"
RELEASE_MEM = f"{FADUMP}/release_mem"
VMCORE = "/proc/vmcore"
_TREES = ("/sys/firmware/devicetree/base", "/proc/device-tree")
_MOST_CONFIG_BYTES = 4 << 20
_OPTION = re.compile(r"^(CONFIG_\w+)=(.+)$", re.MULTILINE)
_MEMINFO = re.compile(r"^(\S+):\s+(\d+) kB$", re.MULTILINE)
_REGION = re.compile(r"^DUMP: .*Size: (0x[0-9a-f]+)", re.MULTILINE)
_WARN = 4


class Firmware(StrEnum):
    """Whose firmware it is, in words."""

    POWERVM = "a PowerVM partition"
    KVM = "a KVM guest"
    OTHER_GUEST = "a guest"
    OPAL = "a machine with OPAL"


@dataclass(frozen=True, slots=True)
class Machine:
    """A Power system. A fact that its files don't say is None.

    ``plan`` is what a kernel with these ``traits`` makes of the device tree and the command line. ``config`` are the
    kernel's options, without those that aren't set. ``initrd_bytes`` is what the boot loader has loaded,
    ``saves_in_initrd`` whether dumps are saved there.
    ``enabled``, ``registered``, ``reserved_bytes``, ``hotplug_ready`` are the kernel's files of that name.
    ``registered_bytes`` is boot memory as it is registered, by debugfs. ``kdump_loaded`` and ``kdump_bytes`` are
    whether a kernel is loaded for kdump, and the memory reserved for it. ``complaint`` is the last thing that the
    kernel has said against FADump.
    """

    firmware: Firmware
    model: str | None
    release: str | None
    plan: Plan
    cpus: int
    config: Mapping[str, str] | None
    meminfo: Mapping[str, int]
    initrd_bytes: int | None
    saves_in_initrd: bool
    enabled: bool | None
    registered: bool | None
    reserved_bytes: int | None
    hotplug_ready: bool | None
    registered_bytes: int | None
    has_dump: bool
    kdump_loaded: bool
    kdump_bytes: int
    complaint: str | None

    @property
    def offers_fadump(self) -> bool:
        """Whether the firmware does."""
        return self.plan.system.supported

    @property
    def is_asked_for(self) -> bool:
        """Whether the command line asks for FADump."""
        return self.command_line.fadump

    @property
    def command_line(self) -> CommandLine:
        """The kernel's parameters."""
        return parse_command_line(self.plan.cmdline, self.plan.kernel)


_ADVICE = "--root DIR looks at what was copied from one, and --config FILE checks a configuration anywhere"
"""What else doctor can do."""


def look_at(files: SystemFiles, advice: str = _ADVICE) -> Machine:
    """What the files of a system say; ``advice`` is for who isn't on a Power system.

    :raises SetupError: it is no Power system, or what there is of one is not enough.
    """
    tree = _tree(files, advice)
    if tree.find("/rtas") is None and tree.find("/ibm,opal") is None:
        raise SetupError(f"{_whose(files)} is no Power system: its device tree has neither /rtas nor /ibm,opal")
    release = _line(files, "/proc/sys/kernel/osrelease")
    config = _config(files, release)
    cmdline = _line(files, "/proc/cmdline")
    try:
        found = system_of(tree)
    except FormatError as error:
        raise SetupError(f"{files.path(_TREES[0])} makes no sense: {error}") from error
    plan = make_plan(found.system, _traits(files, config), found.cmdline if cmdline is None else cmdline)
    initrd = tree.initrd()
    return Machine(
        firmware=_firmware(tree),
        model=_model(tree),
        release=release,
        plan=plan,
        cpus=len(cpu_names(tree)),
        config=config,
        meminfo={name: int(size) * KIB for name, size in _MEMINFO.findall(files.text("/proc/meminfo") or "")},
        initrd_bytes=None if initrd is None else initrd.size_bytes,
        saves_in_initrd=saves_in_initrd(files),
        enabled=_flag(files, f"{FADUMP}/enabled", "/sys/kernel/fadump_enabled"),
        registered=_flag(files, REGISTERED, "/sys/kernel/fadump_registered"),
        reserved_bytes=files.number(f"{FADUMP}/mem_reserved"),
        hotplug_ready=_flag(files, f"{FADUMP}/hotplug_ready"),
        registered_bytes=_registered_bytes(files),
        has_dump=files.exists(VMCORE),
        kdump_loaded=_flag(files, "/sys/kernel/kexec_crash_loaded") is True,
        kdump_bytes=files.number("/sys/kernel/kexec_crash_size") or 0,
        complaint=_complaint(files),
    )


def _tree(files: SystemFiles, advice: str) -> DeviceTree:
    for name in _TREES:
        if files.is_directory(name):
            try:
                return read_tree(files.path(name))
            except (OSError, FormatError) as error:
                raise SetupError(f"{files.path(name)} can't be read as a device tree: {reason(error)}") from error
    raise SetupError(f"{_whose(files)} is no Power system, as it has no /proc/device-tree; {advice}")


def _whose(files: SystemFiles) -> str:
    return "this" if files.is_running_system else f"what {files.directory} was copied from"


def _firmware(tree: DeviceTree) -> Firmware:
    if tree.find("/ibm,opal") is not None:
        return Firmware.OPAL
    if "linux,kvm" in _strings(tree, "/hypervisor", "compatible"):
        return Firmware.KVM
    if any(text.startswith("IBM,") for text in _strings(tree, "/", "model")):
        return Firmware.POWERVM
    return Firmware.OTHER_GUEST


def _model(tree: DeviceTree) -> str | None:
    return next(iter(_strings(tree, "/", "model")), None)


def _strings(tree: DeviceTree, path: str, name: str) -> tuple[str, ...]:
    node = tree.find(path)
    if node is None or name not in node.properties:
        return ()
    with suppress(FormatError):
        return node.strings(name)
    return ()


def _traits(files: SystemFiles, config: Mapping[str, str] | None) -> KernelTraits:
    """A kernel of that kind. One without FADump has none of the files that tell; then it counts as a newer one."""
    older = files.is_directory(FADUMP) and not files.exists(f"{FADUMP}/hotplug_ready")
    newer = files.is_directory("/sys/kernel/kexec")
    traits = LINUX_6_1 if older else LINUX_7_2 if newer else LINUX_6_12
    if config is None:
        return traits
    page_bytes = 4 * KIB if "CONFIG_PPC_4K_PAGES" in config else 64 * KIB
    cpus = config.get("CONFIG_NR_CPUS", "")
    return replace(traits, page_bytes=page_bytes, nr_cpus=int(cpus) if cpus.isdecimal() else traits.nr_cpus)


def _config(files: SystemFiles, release: str | None) -> Mapping[str, str] | None:
    """The running kernel's own, or as its package has it; None if neither is there."""
    packed = files.data("/proc/config.gz", _MOST_CONFIG_BYTES)
    text = None
    if packed is not None:
        with suppress(OSError, EOFError, zlib.error), gzip.open(io.BytesIO(packed)) as unpacked:
            text = unpacked.read(_MOST_CONFIG_BYTES).decode(errors="replace")
    for name in (f"/boot/config-{release}", f"/lib/modules/{release}/config"):
        text = text or (files.text(name) if release else None)
    return None if not text else dict(_OPTION.findall(text))


def _registered_bytes(files: SystemFiles) -> int | None:
    """Boot memory by /sys/kernel/debug/powerpc/fadump_region, which only root can read."""
    sizes = [int(size, 16) for size in _REGION.findall(files.text("/sys/kernel/debug/powerpc/fadump_region") or "")]
    return sum(sizes) if sizes else None


def _complaint(files: SystemFiles) -> str | None:
    found = [text for level, text in files.kernel_log() if level <= _WARN and "fadump: " in text]
    return found[-1] if found else None


def _flag(files: SystemFiles, *names: str) -> bool | None:
    for name in names:
        number = files.number(name)
        if number is not None:
            return number == 1
    return None


def _line(files: SystemFiles, name: str) -> str | None:
    text = files.text(name)
    return None if text is None else text.rstrip("\n")

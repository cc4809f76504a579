"""What a user can ask of a run, what is refused and why, and the kernel's command line.

Everything here is decided before anything is built or started.
"""

import errno
import itertools
import os
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from fadump.abi.platform import Platform
from fadump.capture.options import SaveOptions
from fadump.cycle import CrashBy
from fadump.errors import SetupError
from fadump.firmware.faults import UnknownFaultError
from fadump.kit.initramfs import INIT_PATH
from fadump.machine.qemu.process import DEFAULT_QEMU, POWERNV_MACHINES, Dimm, Fault
from fadump.run.faults import Faults, parse_faults

MIB = 1 << 20
_LEAST_MEMORY = 1024 * MIB
_MOST_MEMORY = 16384 * MIB
_LEAST_POWERNV_MEMORY = 4096 * MIB
_MOST_EMBEDDED_MEMORY = 64 << 40
_MOST_POWERNV_CPUS = 4
_MEMORY_STEP = 256 * MIB
_MOST_CPUS = 8
_EMBEDDED_CPU_MODELS = ("POWER8", "POWER9", "POWER10")
_MOST_CYCLES = 1000
_LEAST_CRASHKERNEL_MEMORY = 1280 * MIB
"""Linux caps ``crashkernel=`` to a quarter of RAM, and FADump on pseries needs 320 MiB."""
_CRASHKERNEL = "crashkernel=512M"
_DISK_SLACK_BYTES = 128 * MIB
"""ELF headers and notes of /proc/vmcore, which is otherwise no larger than RAM; and OPAL's core at the disk's end."""
_KEPT_BYTES = 512 * MIB
"""About what a small Linux has written by the time it crashes, which is kept for the capture boot."""

NEWEST_QEMU = "newest"
"""Instead of a QEMU's name: the one that is fetched from a later Debian suite."""


class WhichMachine(StrEnum):
    """What a run runs on."""

    QEMU = "qemu"
    """Real Linux."""
    EMBEDDED = "embedded"
    """The model of Linux, in memory."""


class WhoseFirmware(StrEnum):
    """Who takes the dump."""

    OURS = "ours"
    QEMU = "qemu"
    """QEMU's own FADump, which ours only watches."""


@dataclass(frozen=True, slots=True)
class RunOptions:
    """What a user chooses. ``kernel`` and ``initrd`` None mean the default kernel and our own initramfs.

    ``qemu`` is a program's name or path, or "newest". ``kernel_version`` and ``page_size`` are the model's, None its
    defaults; with ``petitboot`` each boot goes through a small kernel that preserves dumps.
    ``save`` is how the dump is saved once it is there, None: as it is.
    ``fault_names`` are as :mod:`fadump.run.faults` has them.
    """

    out: Path
    machine: WhichMachine = WhichMachine.EMBEDDED
    platform: Platform = Platform.PSERIES
    memory_bytes: int = 2048 * MIB
    nodes: tuple[int, ...] = ()
    dimms: tuple[Dimm, ...] = ()
    cpus: int = 2
    smt: int = 1
    max_cpus: int | None = None
    cpu_model: str = "POWER9"
    cmdline: str = ""
    kernel_version: str | None = None
    page_size: str | None = None
    petitboot: bool = False
    kernel: Path | None = None
    initrd: Path | None = None
    qemu: str = DEFAULT_QEMU
    firmware: WhoseFirmware = WhoseFirmware.OURS
    crash_by: CrashBy = CrashBy.SYSRQ
    crash_cpu: int = 0
    cycles: int = 1
    verify: bool = False
    save: SaveOptions | None = None
    fault_names: tuple[str, ...] = ()

    @property
    def all_memory_bytes(self) -> int:
        """All RAM of the guest, DIMMs too."""
        return self.memory_bytes + sum(dimm.size_bytes for dimm in self.dimms)

    @property
    def faults(self) -> Faults:
        """What is to go wrong.

        :raises UnknownFaultError: a name is none on this platform.
        """
        return parse_faults(self.fault_names, self.platform)

    @property
    def disk_bytes(self) -> int:
        """How large the guest's disk is: its dump, and on powernv OPAL's core at the end."""
        return self.all_memory_bytes + _DISK_SLACK_BYTES


def check_options(options: RunOptions) -> None:
    """Refuse what can't work on any host.

    :raises SetupError: with the reason.
    """
    for refusal in _refusals(options):
        raise SetupError(refusal)


def _refusals(options: RunOptions) -> Iterator[str]:
    try:
        faults = options.faults
    except UnknownFaultError as error:
        yield f"--fault {error}"
        return
    yield from _fault_refusals(options, faults)
    yield from _memory_refusals(options)
    yield from _cpu_refusals(options)
    yield from _firmware_refusals(options)
    yield from _petitboot_refusals(options)
    if options.machine is WhichMachine.EMBEDDED:
        yield from _embedded_refusals(options)
    else:
        yield from _qemu_refusals(options)
    if options.platform is Platform.POWERNV:
        yield from _powernv_refusals(options)
    if not 1 <= options.cycles <= _MOST_CYCLES:
        yield f"--cycles must be from 1 to {_MOST_CYCLES}, {options.cycles} is not"
    for path in (options.kernel, options.initrd):
        if path is not None and not path.is_file():
            yield f"{path} is not a file"


def _memory_refusals(options: RunOptions) -> Iterator[str]:
    base, nodes = f"{options.memory_bytes / MIB:.12g} MiB", f"{sum(options.nodes) / MIB:.12g} MiB"
    sizes = [options.memory_bytes, *options.nodes]
    sizes += [size for dimm in options.dimms for size in (dimm.size_bytes, dimm.address)]
    if any(size % _MEMORY_STEP for size in sizes):
        yield "--memory, --node and --dimm take multiples of 256 MiB, the least that pseries can plug"
    if 0 in (*options.nodes, *(dimm.size_bytes for dimm in options.dimms)):
        yield "--node and --dimm take a size of 256 MiB or more, 0 is not"
    embedded = options.machine is WhichMachine.EMBEDDED
    most, from_to = (_MOST_EMBEDDED_MEMORY, "1 GiB to 64 TiB") if embedded else (_MOST_MEMORY, "1 to 16 GiB")
    if not _LEAST_MEMORY <= options.all_memory_bytes <= most:
        yield f"--memory must be from {from_to}, {options.all_memory_bytes / MIB:.12g} MiB is not"
    if options.nodes and sum(options.nodes) != options.memory_bytes:
        yield f"the --node sizes add up to {nodes}, --memory is {base}"
    for dimm in options.dimms:
        if dimm.address < options.memory_bytes:
            yield f"--dimm at {dimm.address:#x} lies in the {base} of --memory"
    if options.all_memory_bytes < _LEAST_CRASHKERNEL_MEMORY and "crashkernel=" in options.cmdline:
        yield (
            "crashkernel= needs at least 1280 MiB of guest memory: Linux caps it to a quarter of RAM and FADump "
            "takes no less than 320 MiB; leave it out, or give more --memory"
        )


def _cpu_refusals(options: RunOptions) -> Iterator[str]:
    if not 1 <= options.cpus <= _MOST_CPUS:
        yield f"--cpus must be from 1 to {_MOST_CPUS}, {options.cpus} is not"
    if options.smt not in (1, 2, 4, 8) or options.cpus % options.smt:
        yield f"--smt must be 1, 2, 4 or 8 and divide --cpus, {options.smt} is not"
    elif options.max_cpus is not None and (options.max_cpus < options.cpus or options.max_cpus % options.smt):
        yield f"--max-cpus must be at least --cpus and whole cores, {options.max_cpus} is not"
    if options.crash_by is not CrashBy.SYSRQ and options.crash_cpu:
        yield f"--crash-cpu goes with --crash-by sysrq: {options.crash_by} stops all CPUs alike"
    if not 0 <= options.crash_cpu < options.cpus:
        yield f"--crash-cpu must be a CPU of the guest, 0 to {options.cpus - 1}, {options.crash_cpu} is not"


def _embedded_refusals(options: RunOptions) -> Iterator[str]:
    for name, value in (("--kernel", options.kernel), ("--initrd", options.initrd)):
        if value is not None:
            yield f"{name} goes with --machine qemu: the embedded machine runs the model of Linux only"
    if options.cpu_model not in _EMBEDDED_CPU_MODELS:
        models = ", ".join(_EMBEDDED_CPU_MODELS)
        yield f"--machine embedded has --cpu-model {models}, {options.cpu_model} is not one"
    if options.qemu != DEFAULT_QEMU:
        yield "--qemu goes with --machine qemu"
    if options.firmware is WhoseFirmware.QEMU:
        yield "--firmware qemu goes with --machine qemu"
    if any(dimm.address + dimm.size_bytes > _MOST_EMBEDDED_MEMORY for dimm in options.dimms):
        yield "--dimm must end below 64 TiB"
    pieces = sorted((dimm.address, dimm.address + dimm.size_bytes) for dimm in options.dimms)
    if any(higher[0] < lower[1] for lower, higher in itertools.pairwise(pieces)):
        yield "--dimm is given twice for the same addresses"


def _qemu_refusals(options: RunOptions) -> Iterator[str]:
    for name, value in (("--kernel-version", options.kernel_version), ("--page-size", options.page_size)):
        if value is not None:
            yield f"{name} goes with --machine embedded: to real Linux, give a --kernel"


def _petitboot_refusals(options: RunOptions) -> Iterator[str]:
    if options.petitboot and (options.machine, options.platform) != (WhichMachine.EMBEDDED, Platform.POWERNV):
        yield "--petitboot goes with --machine embedded --platform powernv: no other machine here boots through it"


def _powernv_refusals(options: RunOptions) -> Iterator[str]:
    if not options.memory_bytes >= _LEAST_POWERNV_MEMORY:
        yield f"--platform powernv needs 4 GiB of --memory or more, {options.memory_bytes / MIB:.12g} MiB is not"
    if options.nodes or options.dimms:
        yield "--node and --dimm go with --platform pseries: powernv's memory is one piece"
    if options.max_cpus is not None:
        yield "--max-cpus goes with --platform pseries: powernv has no CPU hotplug"
    if options.cpus > _MOST_POWERNV_CPUS * options.smt:
        yield f"--platform powernv has 1 to {_MOST_POWERNV_CPUS} cores, {options.cpus // options.smt} are asked for"
    if options.cpu_model not in POWERNV_MACHINES:
        yield f"--platform powernv has --cpu-model {' and '.join(POWERNV_MACHINES)}, {options.cpu_model} is not one"
    if options.firmware is WhoseFirmware.QEMU:
        yield "--firmware qemu goes with --platform pseries: QEMU's own MPIPL does not come to its end"


def _fault_refusals(options: RunOptions, faults: Faults) -> Iterator[str]:
    if options.machine is WhichMachine.EMBEDDED and faults.machine:
        yield f"--fault {min(faults.machine)} is about QEMU's boot firmware: it goes with --machine qemu"
    if options.firmware is WhoseFirmware.QEMU:
        ours = [*sorted(faults.machine - {Fault.NO_RESERVED_RANGES}), *(fault.name for fault in faults.firmware)]
        if ours:
            yield f"--fault {ours[0]} is one of our firmware's, which --firmware qemu puts aside"


def _firmware_refusals(options: RunOptions) -> Iterator[str]:
    if options.firmware is WhoseFirmware.OURS:
        return
    if options.crash_by is CrashBy.PLATFORM:
        yield "--firmware qemu dumps when Linux asks for it, not --crash-by platform"


def check_host(options: RunOptions) -> None:
    """The capture boot reads all of RAM, so all of it comes to be; a copy of what had been written is kept; and a
    dump is about as large.

    On the embedded machine nothing comes to be that nobody has written to, and all that counts is whether a file can
    be as large as the dump.

    :raises SetupError: the host has less memory or disk than that.
    """
    if options.machine is WhichMachine.EMBEDDED:
        _check_file_size(options)
        return
    guest = f"a guest with {options.all_memory_bytes / MIB:.0f} MiB"
    meminfo = dict(line.split(":") for line in Path("/proc/meminfo").read_text().splitlines())
    available_bytes = int(meminfo["MemAvailable"].split()[0]) * 1024
    if available_bytes < options.all_memory_bytes + _KEPT_BYTES:
        raise SetupError(
            f"{guest} needs about that and {_KEPT_BYTES / MIB:.12g} MiB more "
            f"of this machine, which has {available_bytes / MIB:.0f} MiB available: give less --memory"
        )
    directory = _directory(options)
    free_bytes = shutil.disk_usage(directory).free
    if free_bytes < options.all_memory_bytes:
        raise SetupError(
            f"the dump of {guest} may be as large, and {directory} has {free_bytes / MIB:.0f} MiB free: make room "
            "there, name another --out, or give less --memory"
        )


def _directory(options: RunOptions) -> Path:
    return next(path for path in (options.out, *options.out.absolute().parents) if path.is_dir())


def _check_file_size(options: RunOptions) -> None:
    directory = _directory(options)
    try:
        with tempfile.TemporaryFile(dir=directory) as file:
            os.ftruncate(file.fileno(), options.disk_bytes)
    except OSError as error:
        if error.errno not in (errno.EFBIG, errno.EINVAL, errno.ENOSPC):
            raise SetupError(f"can't write to {directory}: {error.strerror}") from error
        raise SetupError(
            f"the file system of {directory} can't hold a dump of {options.all_memory_bytes / MIB:.0f} MiB, even with "
            "holes: name an --out on another one, such as tmpfs or xfs, or give less --memory"
        ) from error


def kernel_command_line(options: RunOptions) -> str:
    """What the machine needs, then what the user adds: of two, Linux takes the later."""
    words = ["console=hvc0", f"rdinit={INIT_PATH}", "panic=5", "fadump=on"]
    if options.machine is WhichMachine.EMBEDDED:
        words.remove(f"rdinit={INIT_PATH}")
    if options.platform is Platform.PSERIES and options.all_memory_bytes >= _LEAST_CRASHKERNEL_MEMORY:
        words.append(_CRASHKERNEL)
    return " ".join([*words, options.cmdline]).strip()

"""The options of a run, and which of them are refused.

Nothing here looks at the host, builds or starts anything: :mod:`fadump.run.host` does, and :mod:`fadump.run.parts`
turns the options into what each part needs.
"""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from fadump.abi.platform import Platform
from fadump.capture.options import SaveOptions
from fadump.errors import UsageError
from fadump.firmware.pseries import Offer
from fadump.kernel.traits import DISTRIBUTIONS_NR_CPUS
from fadump.kit.kexec import Kexec
from fadump.machine.contract import StopAt
from fadump.machine.hotplug import Change
from fadump.machine.qemu.config import DEFAULT_QEMU, POWERNV_MACHINES, Dimm, Fault
from fadump.memory.ranges import Range, RangeSet
from fadump.observer import CrashBy
from fadump.run.changes import Present, cpus_needed, plugged_memory
from fadump.run.faults import Faults
from fadump.run.section_sizes import section_refusals

MIB = 1 << 20
_LEAST_MEMORY = 1024 * MIB
_MOST_MEMORY = 256 * 1024 * MIB
_LEAST_POWERNV_MEMORY = 4096 * MIB
_MOST_EMBEDDED_MEMORY = 64 << 40
_MEMORY_STEP = 256 * MIB
MOST_CPUS = 32
"""That QEMU takes in reasonable time."""
MOST_EMBEDDED_CPUS = DISTRIBUTIONS_NR_CPUS
_MOST_MAX_CPUS = 4096
"""As many as QEMU's pseries can have (query-machines, cpu-max)."""
_MOST_POWERNV_THREADS = 4
"""Per core (QEMU: hw/ppc/pnv.c, max_smt_threads)."""
_EMBEDDED_CPU_MODELS = ("POWER8", "POWER9", "POWER10", "POWER11")
_MOST_CYCLES = 1000
_LARGEST_PAGE = 0x1_0000
LEAST_CRASHKERNEL_MEMORY = 1280 * MIB
"""Linux limits ``crashkernel=`` to a quarter of RAM, and FADump on pseries needs 320 MiB."""
_DISK_SLACK_BYTES = 128 * MIB
"""Room for what /proc/vmcore has besides RAM, ELF headers and notes, and for OPAL's core at the disk's end."""

STOP_WITHOUT_GDB = "--stop-at needs --gdb: the machine would stand still for ever"
NEWEST_QEMU = "newest"
"""A QEMU that is fetched from a later Debian suite, in place of a program's name."""


class WhichMachine(StrEnum):
    """The machine of a run."""

    QEMU = "qemu"
    """Real Linux."""
    EMBEDDED = "embedded"
    """The model of Linux, in memory."""


class WhoseFirmware(StrEnum):
    """The firmware that takes the dump."""

    OURS = "ours"
    QEMU = "qemu"
    """QEMU's own FADump, which ours only watches."""


@dataclass(frozen=True, slots=True)
class RunOptions:
    """What a user chooses. ``kernel`` and ``initrd`` None mean the default kernel and our own initramfs.

    With ``source`` the kernel is built from that tree, with the options in the file ``config`` on top of our own.

    ``qemu`` is a program's name or path, or "newest". ``kernel_version`` and ``page_size`` are the model's, None its
    defaults. With ``petitboot`` each boot goes through a small kernel that preserves dumps; with QEMU that is
    ``petitboot_kernel``, None our own one, which loads the system's by ``kexec``.
    A ``strict`` firmware does what its specification says, and doesn't protect the dump from Linux's bugs.
    ``changes`` are what comes and goes before the first crash.
    ``interactive`` lets somebody into the guest, on its console, before the crash and before the dump is saved.
    ``offer`` is what our firmware offers on pseries, if not what the machine needs.
    ``save`` is how each dump is saved after its cycle, None: it isn't. ``faults`` are this platform's.
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
    bare_cmdline: bool = False
    """Whether nothing about FADump is added to ``cmdline``."""
    kernel_version: str | None = None
    page_size: str | None = None
    petitboot: bool = False
    petitboot_kernel: Path | None = None
    kexec: Kexec = Kexec.LOAD
    kernel: Path | None = None
    source: Path | None = None
    config: Path | None = None
    initrd: Path | None = None
    qemu: str = DEFAULT_QEMU
    firmware: WhoseFirmware = WhoseFirmware.OURS
    strict: bool = False
    offer: Offer = field(default_factory=Offer)
    crash_by: CrashBy = CrashBy.SYSRQ
    crash_cpu: int = 0
    changes: tuple[Change, ...] = ()
    cycles: int = 1
    interactive: bool = False
    gdb_port: int | None = None
    stop_at: StopAt | None = None
    verify: bool = False
    save: SaveOptions | None = None
    faults: Faults = field(default_factory=Faults)

    @property
    def all_memory_bytes(self) -> int:
        """All RAM of the guest, including DIMMs."""
        return self.memory_bytes + sum(dimm.size_bytes for dimm in self.dimms)

    @property
    def later_dimms(self) -> tuple[Dimm, ...]:
        """Those that are plugged, and not there at the first boot."""
        plugged = (Dimm(piece.size_bytes, piece.start) for piece in plugged_memory(self.changes))
        return tuple(dimm for dimm in plugged if dimm not in self.dimms)

    @property
    def most_memory_bytes(self) -> int:
        """All RAM of the guest when everything is plugged."""
        return self.all_memory_bytes + sum(dimm.size_bytes for dimm in self.later_dimms)

    @property
    def most_cpus(self) -> int | None:
        """The CPUs that there is to be room for; None: no more than there are."""
        needed = cpus_needed(self.changes, self.cpus, self.smt)
        return needed if self.max_cpus is None and needed > self.cpus else self.max_cpus

    @property
    def disk_bytes(self) -> int:
        """The size of the guest's disk, for the dump and, on powernv, OPAL's core at the end."""
        return self.most_memory_bytes + _DISK_SLACK_BYTES


def check_options(options: RunOptions) -> None:
    """Refuse options that can't work on any host.

    :raises UsageError: with the reason.
    """
    for refusal in _refusals(options):
        raise UsageError(refusal)


def _refusals(options: RunOptions) -> Iterator[str]:
    yield from _fault_refusals(options, options.faults)
    yield from _memory_refusals(options)
    yield from _cpu_refusals(options)
    yield from _change_refusals(options)
    yield from _firmware_refusals(options)
    yield from _offer_refusals(options)
    yield from _petitboot_refusals(options)
    if options.machine is WhichMachine.EMBEDDED:
        yield from _embedded_refusals(options)
    else:
        yield from _qemu_refusals(options)
        if options.platform is Platform.POWERNV:
            yield from powernv_thread_refusals(options.smt)
    if options.platform is Platform.POWERNV:
        yield from _powernv_refusals(options)
    if options.config is not None and options.source is None:
        yield "--config goes with --source: a kernel that has been built is configured"
    if options.stop_at is not None and options.gdb_port is None:
        yield STOP_WITHOUT_GDB
    if not 1 <= options.cycles <= _MOST_CYCLES:
        yield f"--cycles must be from 1 to {_MOST_CYCLES}, {options.cycles} is not"


def _memory_refusals(options: RunOptions) -> Iterator[str]:
    base, nodes = f"{options.memory_bytes / MIB:.12g} MiB", f"{sum(options.nodes) / MIB:.12g} MiB"
    sizes = [options.memory_bytes, *options.nodes]
    sizes += [size for dimm in options.dimms for size in (dimm.size_bytes, dimm.address)]
    if any(size % _MEMORY_STEP for size in sizes):
        yield "--memory, --node and --dimm take multiples of 256 MiB, the least that pseries can plug"
    if 0 in (*options.nodes, *(dimm.size_bytes for dimm in options.dimms)):
        yield "--node and --dimm take a size of 256 MiB or more, 0 is not"
    embedded = options.machine is WhichMachine.EMBEDDED
    most, from_to = (_MOST_EMBEDDED_MEMORY, "1 GiB to 64 TiB") if embedded else (_MOST_MEMORY, "1 to 256 GiB")
    if not _LEAST_MEMORY <= options.all_memory_bytes <= most:
        yield f"--memory must be from {from_to}, {options.all_memory_bytes / MIB:.12g} MiB is not"
    if options.nodes and sum(options.nodes) != options.memory_bytes:
        yield f"the --node sizes add up to {nodes}, --memory is {base}"
    for dimm in options.dimms:
        if dimm.address < options.memory_bytes:
            yield f"--dimm at {dimm.address:#x} lies in the {base} of --memory"
    if options.all_memory_bytes < LEAST_CRASHKERNEL_MEMORY and "crashkernel=" in options.cmdline:
        yield (
            "crashkernel= needs at least 1280 MiB of guest memory: Linux caps it to a quarter of RAM and FADump "
            "takes no less than 320 MiB; leave it out, or give more --memory"
        )


def _cpu_refusals(options: RunOptions) -> Iterator[str]:
    embedded = options.machine is WhichMachine.EMBEDDED
    most, where = (MOST_EMBEDDED_CPUS, "") if embedded else (MOST_CPUS, " with --machine qemu")
    if not 1 <= options.cpus <= most:
        yield f"--cpus must be from 1 to {most}{where}, {options.cpus} is not"
    if options.smt not in (1, 2, 4, 8) or options.cpus % options.smt:
        yield f"--smt must be 1, 2, 4 or 8 and divide --cpus, {options.smt} is not"
    elif options.max_cpus is not None and (options.max_cpus < options.cpus or options.max_cpus % options.smt):
        yield f"--max-cpus must be at least --cpus and whole cores, {options.max_cpus} is not"
    elif options.max_cpus is not None and options.max_cpus > _MOST_MAX_CPUS:
        yield f"--max-cpus must be at most {_MOST_MAX_CPUS}, as many as QEMU's pseries has, {options.max_cpus} is not"
    if options.crash_by is not CrashBy.SYSRQ and options.crash_cpu:
        yield f"--crash-cpu goes with --crash-by sysrq: {options.crash_by} stops all CPUs alike"
    at_opal = (WhichMachine.QEMU, Platform.POWERNV)
    if options.crash_by is CrashBy.OPAL and (options.machine, options.platform) != at_opal:
        yield "--crash-by opal goes with --machine qemu --platform powernv: no other machine here runs an OPAL"
    most_cpus = cpus_needed(options.changes, options.cpus, options.smt)
    if not 0 <= options.crash_cpu < most_cpus:
        yield f"--crash-cpu must be a CPU of the guest, 0 to {most_cpus - 1}, {options.crash_cpu} is not"


def _change_refusals(options: RunOptions) -> Iterator[str]:
    embedded = options.machine is WhichMachine.EMBEDDED
    most_memory, most_cpus = (_MOST_EMBEDDED_MEMORY, MOST_EMBEDDED_CPUS) if embedded else (_MOST_MEMORY, MOST_CPUS)
    present = Present(
        platform=options.platform,
        lasting=Range(0, options.memory_bytes),
        dimms=[dimm.range for dimm in options.dimms],
        cpus=options.cpus,
        smt=options.smt,
        max_cpus=min(options.max_cpus or most_cpus, most_cpus),
        advice="" if options.max_cpus is None else ": give more --max-cpus",
        keeps_lasting=embedded,
    )
    yield from present.refusals(options.changes)
    if any(dimm.address + dimm.size_bytes > _MOST_EMBEDDED_MEMORY for dimm in options.later_dimms):
        yield "--plug takes memory that ends below 64 TiB"
    if options.most_memory_bytes > most_memory:
        most = f"{most_memory >> 30:,} GiB"
        yield f"--plug must leave the guest with {most} at most, {options.most_memory_bytes >> 30:,} GiB are more"
    if options.crash_by is CrashBy.SYSRQ and not present.is_online(options.crash_cpu):
        yield f"--crash-cpu {options.crash_cpu} is not online by then: name another"


def _embedded_refusals(options: RunOptions) -> Iterator[str]:
    for name, value in (("--kernel", options.kernel), ("--source", options.source), ("--initrd", options.initrd)):
        if value is not None:
            yield f"{name} goes with --machine qemu: the embedded machine runs the model of Linux only"
    if options.cpu_model not in _EMBEDDED_CPU_MODELS:
        models = ", ".join(_EMBEDDED_CPU_MODELS)
        yield f"--machine embedded has --cpu-model {models}, {options.cpu_model} is not one"
    if options.gdb_port is not None:
        yield "--gdb goes with --machine qemu: there is nothing to attach to in the model of Linux"
    if options.interactive:
        yield "--interactive goes with --machine qemu: the model of Linux has no console; try fadump shell"
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
    if options.source is not None and options.kernel is not None:
        yield "--source is a kernel to be built, and --kernel one that has been: give one of them"


def _petitboot_refusals(options: RunOptions) -> Iterator[str]:
    if options.petitboot and options.platform is not Platform.POWERNV:
        yield "--petitboot goes with --platform powernv: no pseries machine boots through it"
    if options.petitboot_kernel is not None and options.machine is WhichMachine.EMBEDDED:
        yield "--petitboot KERNEL goes with --machine qemu: the embedded machine has a model of such a kernel"
    if options.kexec is not Kexec.LOAD and not (options.petitboot and options.machine is WhichMachine.QEMU):
        yield "--kexec goes with --machine qemu and --petitboot, which starts Linux by it"


def _powernv_refusals(options: RunOptions) -> Iterator[str]:
    if not options.memory_bytes >= _LEAST_POWERNV_MEMORY:
        yield f"--platform powernv needs 4 GiB of --memory or more, {options.memory_bytes / MIB:.12g} MiB is not"
    if options.nodes or options.dimms:
        yield "--node and --dimm go with --platform pseries: powernv's memory is one piece"
    if options.max_cpus is not None:
        yield "--max-cpus goes with --platform pseries: powernv has no CPU hotplug"
    yield from powernv_model_refusals(options.cpu_model)
    if options.firmware is WhoseFirmware.QEMU:
        yield "--firmware qemu goes with --platform pseries: QEMU's own MPIPL does not come to its end"


def powernv_thread_refusals(smt: int) -> Iterator[str]:
    """QEMU's powernv has no cores with so many threads."""
    if smt > _MOST_POWERNV_THREADS:
        yield f"QEMU's powernv has {_MOST_POWERNV_THREADS} threads per core at most, --smt {smt} is more"


def powernv_model_refusals(cpu_model: str) -> Iterator[str]:
    """There is no powernv with such a CPU."""
    if cpu_model not in POWERNV_MACHINES:
        yield f"--platform powernv has --cpu-model {', '.join(POWERNV_MACHINES)}, {cpu_model} is not one"


def _fault_refusals(options: RunOptions, faults: Faults) -> Iterator[str]:
    if faults.names and faults.platform is not options.platform:
        yield f"--fault {faults.names[0]} is one of --platform {faults.platform}, not of {options.platform}"
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


def _offer_refusals(options: RunOptions) -> Iterator[str]:
    offer = options.offer
    if offer != Offer() and options.firmware is WhoseFirmware.QEMU:
        yield "--hpte-size, --cpu-state-size and --reserved are our firmware's, which --firmware qemu puts aside"
    ram = RangeSet([Range(0, options.memory_bytes), *(dimm.range for dimm in options.dimms)])
    yield from offer_refusals(offer, options.platform, ram)


def offer_refusals(offer: Offer, platform: Platform, ram: RangeSet) -> Iterator[str]:
    """What no firmware of a guest with this memory can offer."""
    if offer != Offer() and platform is Platform.POWERNV:
        yield "--hpte-size, --cpu-state-size and --reserved go with --platform pseries: OPAL offers no such sections"
    yield from section_refusals(offer.hpte_bytes, offer.cpu_state_bytes, max(piece.end for piece in ram))
    for piece in offer.reserved:
        if piece.start % _LARGEST_PAGE or piece.end % _LARGEST_PAGE or not ram.contains(piece):
            yield f"--reserved takes memory of the guest, in pages of 64 KiB, {piece.start:#x}..{piece.end:#x} is not"

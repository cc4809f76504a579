"""A run's options, turned once into what each part needs: the machine, its firmware, the cycle, the output.

The options aren't used after this.
"""

import itertools
import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from fadump.abi.platform import Platform
from fadump.capture.options import SaveOptions
from fadump.cycle import CycleRequest
from fadump.firmware.contract import Firmware
from fadump.firmware.powernv import PowernvFirmware
from fadump.firmware.pseries import PseriesFirmware, WatchedFirmware
from fadump.kernel.model import KernelConfig
from fadump.kernel.plan.boot_memory import LARGEST_SHARE
from fadump.kernel.plan.cmdline import parse_crashkernel
from fadump.kernel.plan.memory_map import MemoryBlock, MemoryMap
from fadump.kernel.plan.plan import make_plan
from fadump.kernel.plan.reserve import System
from fadump.kernel.traits import DEFAULT_VERSION, KERNEL_VERSIONS, PAGE_BYTES, size_text
from fadump.kit.command_line import INIT_PATH, petitboot_command_line
from fadump.machine.contract import ConsoleLog, Machine
from fadump.machine.embedded.config import EmbeddedConfig
from fadump.machine.embedded.machine import EmbeddedMachine
from fadump.machine.hotplug import Act
from fadump.machine.qemu.config import KernelInFront, QemuConfig
from fadump.memory.ranges import Range, RangeSet
from fadump.run.changes import cpus_needed
from fadump.run.faults import Faults, with_faults
from fadump.run.host import qemu_machine
from fadump.run.options import LEAST_CRASHKERNEL_MEMORY, RunOptions, WhichMachine, WhoseFirmware
from fadump.run.output import OutputDirectory
from fadump.session import SILENCE_SECONDS

if TYPE_CHECKING:
    from fadump.run.qemu_files import QemuFiles

MakeMachine = Callable[[int, ConsoleLog], AbstractContextManager[Machine]]
"""Makes a machine, given its disk and its console's log."""
_HASH_ONLY_CPU = "POWER8"
_CRASHKERNEL = "crashkernel=512M"
_MOVABLE = "movable_node memhp_default_state=online_movable"
"""Nothing is in a DIMM that can't be moved when it is to go."""


@dataclass(frozen=True, slots=True)
class Parts:
    """What a run is made of: ``cycles`` times ``request`` on one machine.

    ``vmlinux`` is the kernel with debug information, if known. ``save`` is how each dump is saved after its cycle,
    None: it isn't. ``remarks`` are sentences about the options.
    """

    make_machine: MakeMachine
    firmware: Firmware
    faults: Faults
    request: CycleRequest
    cycles: int
    verify: bool
    output: OutputDirectory
    save: SaveOptions | None
    vmlinux: Path | None
    remarks: Sequence[str]


def make_parts(options: RunOptions) -> Parts:
    """The parts for these options; for real Linux, missing files are built or fetched.

    :raises SetupError: something is missing and can't be built or fetched.
    """
    vmlinux, make_machine = _embedded(options) if options.machine is WhichMachine.EMBEDDED else _qemu(options)
    request = CycleRequest(
        options.crash_by,
        options.crash_cpu,
        changes=options.changes,
        silence_seconds=math.inf if options.interactive else SILENCE_SECONDS,
        shells=options.interactive,
        faults=options.faults.cycle,
    )
    return Parts(
        make_machine=make_machine,
        firmware=make_firmware(options),
        faults=options.faults,
        request=request,
        cycles=options.cycles,
        verify=options.verify,
        output=OutputDirectory(options.out, options.disk_bytes, options.cycles),
        save=options.save,
        vmlinux=vmlinux,
        remarks=[*_cmdline_remarks(options), *_hole_remarks(options)],
    )


def _embedded(options: RunOptions) -> tuple[None, MakeMachine]:
    return None, partial(EmbeddedMachine, embedded_config(options))


def _qemu(options: RunOptions) -> tuple[Path | None, MakeMachine]:
    machine = qemu_machine()
    from fadump.run.qemu_files import find_qemu_files  # noqa: PLC0415 - fetches and builds, which the model does not

    files = find_qemu_files(options)
    return files.vmlinux, partial(machine, qemu_config(options, files))


def qemu_config(options: RunOptions, files: "QemuFiles") -> QemuConfig:
    """The QEMU machine for these options, with these files."""
    cmdline = kernel_command_line(options)
    in_front = None
    if files.petitboot is not None:
        in_front = KernelInFront(*files.petitboot, petitboot_command_line(cmdline))
    return QemuConfig(
        kernel=files.kernel,
        initrd=files.initrd,
        cmdline=cmdline,
        in_front=in_front,
        platform=options.platform,
        cpus=options.cpus,
        smt=options.smt,
        max_cpus=options.most_cpus,
        nodes=options.nodes or (options.memory_bytes,),
        dimms=(*options.dimms, *options.later_dimms),
        absent=frozenset(options.later_dimms),
        unplugs_cpus=any(change.act is Act.UNPLUG and isinstance(change.what, int) for change in options.changes),
        cpu_model=options.cpu_model,
        qemu=files.qemu,
        faults=options.faults.machine,
        gdb_port=options.gdb_port,
        stop_at=options.stop_at,
    )


def embedded_config(options: RunOptions) -> EmbeddedConfig:
    """The embedded machine for these options."""
    return EmbeddedConfig(
        cmdline=kernel_command_line(options),
        platform=options.platform,
        memory=(*_nodes(options), *(dimm.range for dimm in options.dimms)),
        nodes=len(_nodes(options)),
        cpus=options.cpus,
        smt=options.smt,
        max_cpus=options.most_cpus,
        spare_cpus=cpus_needed(options.changes, options.cpus, options.smt) - options.cpus,
        petitboot=options.petitboot,
        radix=options.cpu_model != _HASH_ONLY_CPU,
        kernel=KernelConfig.of_version(
            options.kernel_version or DEFAULT_VERSION,
            cpus=cpus_needed(options.changes, options.cpus, options.smt),
            page_bytes=None if options.page_size is None else PAGE_BYTES[options.page_size],
            epoch_seconds=int(time.time()),
        ),
    )


def _nodes(options: RunOptions) -> Sequence[Range]:
    ends = itertools.accumulate(options.nodes or (options.memory_bytes,))
    return [Range(start, end) for start, end in itertools.pairwise([0, *ends])]


def make_firmware(options: RunOptions) -> Firmware:
    """The firmware for these options, with its faults."""
    if options.firmware is WhoseFirmware.QEMU:
        return WatchedFirmware()
    powernv = options.platform is Platform.POWERNV
    return with_faults(
        PowernvFirmware() if powernv else PseriesFirmware(strict=options.strict, offer=options.offer), options.faults
    )


def kernel_command_line(options: RunOptions) -> str:
    """What the machine needs, then what the user adds: of two equal options, Linux uses the last.

    A ``crashkernel=`` of the user's takes the place of ours, as Linux doesn't use the last of each kind.
    """
    words = ["console=hvc0", f"rdinit={INIT_PATH}", "panic=5"]
    if options.machine is WhichMachine.EMBEDDED:
        words.remove(f"rdinit={INIT_PATH}")
    if not options.bare_cmdline:
        words.append("fadump=on")
        enough = options.all_memory_bytes >= LEAST_CRASHKERNEL_MEMORY
        if options.platform is Platform.PSERIES and enough and "crashkernel=" not in options.cmdline:
            words.append(_CRASHKERNEL)
        if options.machine is WhichMachine.QEMU and any(
            change.act is Act.UNPLUG and isinstance(change.what, Range) for change in options.changes
        ):
            words.append(_MOVABLE)
    return " ".join([*words, options.cmdline]).strip()


def _cmdline_remarks(options: RunOptions) -> Iterator[str]:
    """How Linux will read the user's ``crashkernel=``, if it differs from what it seems to say."""
    if "crashkernel=" not in options.cmdline:
        return
    traits = KERNEL_VERSIONS[options.kernel_version or DEFAULT_VERSION]
    asked = parse_crashkernel(options.cmdline, options.all_memory_bytes, traits)
    most_bytes = options.all_memory_bytes // LARGEST_SHARE
    if asked.problem is not None:
        yield f"{asked.problem}: Linux takes its own size of boot memory instead"
    elif asked.size_bytes > most_bytes:
        wanted, most = size_text(asked.size_bytes), size_text(most_bytes)
        yield f"crashkernel= asks for {wanted}: Linux cuts that to {most}, a quarter of RAM"


def _hole_remarks(options: RunOptions) -> Iterator[str]:
    """Linux's own bug about holes below boot memory top, if this memory meets it."""
    blocks = [*map(MemoryBlock, _nodes(options)), *(MemoryBlock(dimm.range) for dimm in options.dimms)]
    system = System(options.platform, MemoryMap.of(blocks, RangeSet(), RangeSet()))
    kernel = KERNEL_VERSIONS[options.kernel_version or DEFAULT_VERSION]
    plan = make_plan(system, kernel, kernel_command_line(options))
    if plan.reservation is not None:
        yield from plan.reservation.boot_memory.warnings

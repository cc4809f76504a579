"""``fadump run``: set a machine up, take it through one cycle, and leave its files.

The story of the crash itself is in :mod:`fadump.cycle`; this is what surrounds it.
"""

import itertools
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import BinaryIO

from fadump.abi.platform import Platform
from fadump.capture.in_place import save_in_place
from fadump.capture.save import Saved
from fadump.cycle import CycleRequest, CycleResult, Observer, run_cycle
from fadump.errors import SetupError
from fadump.firmware.contract import Firmware, PreservedDump
from fadump.firmware.powernv import PowernvFirmware
from fadump.firmware.pseries import PseriesFirmware, WatchedFirmware
from fadump.kernel.model import DEFAULT_VERSION, KernelConfig
from fadump.kernel.traits import PAGE_BYTES
from fadump.kit import initramfs, kernel, packages
from fadump.kit.qemu import fetch_qemu
from fadump.machine.contract import Machine
from fadump.machine.embedded.config import EmbeddedConfig
from fadump.machine.embedded.machine import EmbeddedMachine
from fadump.machine.qemu.process import DEFAULT_QEMU, QemuConfig
from fadump.memory.ranges import Range
from fadump.proof.verify import Verdict, Verifier
from fadump.run.faults import NeverStruck, never_struck, with_faults
from fadump.run.options import (
    NEWEST_QEMU,
    RunOptions,
    WhichMachine,
    WhoseFirmware,
    check_host,
    check_options,
    kernel_command_line,
)
from fadump.run.output import OutputDirectory

MakeMachine = Callable[[int, BinaryIO], AbstractContextManager[Machine]]
"""Makes a machine of its disk and its console's log."""
_HASH_ONLY_CPU = "POWER8"


@dataclass(frozen=True, slots=True)
class JudgedCycle:
    """A finished cycle and, if it was asked for, the verdict about its dump."""

    cycle: CycleResult
    verdict: Verdict | None

    @property
    def good(self) -> bool:
        """The dump is saved, and nothing in it is known to be wrong."""
        return self.verdict is None or self.verdict.same


@dataclass(frozen=True, slots=True)
class RunResult:
    """The cycles of a run; ``vmcore`` is the last one's, ``vmlinux`` the kernel with debug information, if known.

    ``saved`` says how the dump was saved, None: as it was. ``never_struck`` are faults that were asked for in vain.
    """

    cycles: Sequence[JudgedCycle]
    vmcore: Path | None
    vmlinux: Path | None
    saved: Saved | None = None
    never_struck: Sequence[NeverStruck] = ()

    @property
    def good(self) -> bool:
        """Every cycle is."""
        return all(judged.good for judged in self.cycles)


def run(options: RunOptions, observer: Observer) -> RunResult:
    """Run one cycle, or several on the same machine, which is not reset between them.

    ``observer`` sees what happens as it happens; the output directory keeps it.

    :raises SetupError: something is missing, or asked for more than the machine can be; the sentence says what.
    :raises MachineError: a cycle did not come to its end.
    """
    check_options(options)
    vmlinux, make_machine = (
        (None, partial(EmbeddedMachine, embedded_config(options)))
        if options.machine is WhichMachine.EMBEDDED
        else _prepare_qemu(options)
    )
    check_host(options)
    firmware = make_firmware(options)
    with OutputDirectory(options.out, options.disk_bytes) as output:
        try:
            with make_machine(output.vmcore_fd, output.console_log) as machine:
                cycles = _run_cycles(machine, firmware, options, output, output.watch(observer))
        finally:  # a dump that was saved is kept, whatever failed after it
            vmcore = output.publish_saved()
        saved = None if vmcore is None or options.save is None else save_in_place(vmcore, options.save, vmlinux)
        in_vain = never_struck(options.faults, firmware, [judged.cycle for judged in cycles])
        return RunResult(cycles, vmcore, vmlinux, saved, in_vain)


def _prepare_qemu(options: RunOptions) -> tuple[Path | None, MakeMachine]:
    """The kernel with debug information, if known, and the machine that runs it."""
    try:
        from fadump.machine.qemu.machine import QemuMachine  # noqa: PLC0415 - the other machine does without
    except ModuleNotFoundError as error:
        raise SetupError(f"--machine qemu needs the Python package {error.name}: install fadump[qemu]") from error
    qemu = _qemu(options)
    vmlinux, bootable = _kernel(options)
    config = QemuConfig(
        kernel=bootable,
        initrd=initramfs.build_initramfs(options.initrd),
        cmdline=kernel_command_line(options),
        platform=options.platform,
        cpus=options.cpus,
        smt=options.smt,
        max_cpus=options.max_cpus,
        nodes=options.nodes or (options.memory_bytes,),
        dimms=options.dimms,
        cpu_model=options.cpu_model,
        qemu=qemu,
        faults=options.faults.machine,
    )
    return vmlinux, partial(QemuMachine, config)


def embedded_config(options: RunOptions) -> EmbeddedConfig:
    """The embedded machine that is asked for."""
    ends = itertools.accumulate(options.nodes or (options.memory_bytes,))
    nodes = [Range(start, end) for start, end in itertools.pairwise([0, *ends])]
    return EmbeddedConfig(
        cmdline=kernel_command_line(options),
        platform=options.platform,
        memory=(*nodes, *(dimm.range for dimm in options.dimms)),
        nodes=len(nodes),
        cpus=options.cpus,
        smt=options.smt,
        max_cpus=options.max_cpus,
        petitboot=options.petitboot,
        radix=options.cpu_model != _HASH_ONLY_CPU,
        kernel=KernelConfig.of_version(
            options.kernel_version or DEFAULT_VERSION,
            page_bytes=None if options.page_size is None else PAGE_BYTES[options.page_size],
            epoch_seconds=int(time.time()),
        ),
    )


def _run_cycles(
    machine: Machine, firmware: Firmware, options: RunOptions, output: OutputDirectory, observer: Observer
) -> Sequence[JudgedCycle]:
    request = CycleRequest(options.crash_by, options.crash_cpu, faults=options.faults.cycle)
    done: list[JudgedCycle] = []
    for _cycle in range(options.cycles):
        before = done[-1].cycle if done else None
        if options.verify:
            with Verifier() as verifier:
                result = run_cycle(machine, firmware, request, observer, verifier, before)
                done.append(JudgedCycle(result, verifier.judge(output.vmcore_on_disk, _dump(result), output.opalcore)))
        else:
            done.append(JudgedCycle(run_cycle(machine, firmware, request, observer, before=before), None))
    return done


def make_firmware(options: RunOptions) -> Firmware:
    """The firmware that is asked for, with its faults."""
    if options.firmware is WhoseFirmware.QEMU:
        return WatchedFirmware()
    firmware = PowernvFirmware() if options.platform is Platform.POWERNV else PseriesFirmware()
    return with_faults(firmware, options.faults, options.platform)


def _dump(result: CycleResult) -> PreservedDump:
    assert result.dump is not None  # noqa: S101 - the cycle has come to its end
    return result.dump


def _qemu(options: RunOptions) -> str:
    """The QEMU to run; the distribution's own is installed and the newest one fetched, if they can be."""
    if options.qemu == NEWEST_QEMU:
        return str(fetch_qemu().path)
    if options.qemu == DEFAULT_QEMU:
        packages.require("running a guest", {DEFAULT_QEMU: "qemu-system-ppc"})
    return options.qemu


def _kernel(options: RunOptions) -> tuple[Path | None, Path]:
    """The kernel with debug information, if there is one, and the one to boot."""
    if options.kernel is not None:
        return None, options.kernel
    default = kernel.find_kernel() or kernel.build_kernel()
    return default.vmlinux, default.bootable

"""``fadump run``: set a machine up, take it through one cycle, and leave its files.

The story of the crash itself is in :mod:`fadump.cycle`; this is what surrounds it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from fadump.abi.pseries.dump_structure import SectionType
from fadump.cycle import CycleRequest, CycleResult, Observer, run_cycle
from fadump.errors import SetupError
from fadump.firmware.pseries import PseriesFirmware
from fadump.kit import initramfs, kernel, packages
from fadump.kit.initramfs import INIT_PATH
from fadump.machine.core import Machine
from fadump.machine.qemu.machine import QemuMachine
from fadump.machine.qemu.process import DEFAULT_QEMU, Fault, QemuConfig
from fadump.output import OutputDirectory
from fadump.verify import Verdict, Verifier

MIB = 1 << 20
_LEAST_MEMORY = 1024 * MIB
_MOST_MEMORY = 8192 * MIB
_MEMORY_STEP = 256 * MIB
_MOST_CPUS = 8
_MOST_CYCLES = 1000
_LEAST_CRASHKERNEL_MEMORY = 1280 * MIB
"""Linux caps ``crashkernel=`` to a quarter of RAM, and FADump on pseries needs 320 MiB."""
_CRASHKERNEL = "crashkernel=512M"
_DISK_SLACK_BYTES = 64 * MIB
"""ELF headers and notes of /proc/vmcore, which is otherwise no larger than RAM."""


@dataclass(frozen=True, slots=True)
class RunOptions:
    """What a user chooses. ``kernel`` and ``initrd`` None mean the default kernel and our own initramfs."""

    out: Path
    memory_bytes: int = 2048 * MIB
    cpus: int = 2
    cpu_model: str = "POWER9"
    cmdline: str = ""
    kernel: Path | None = None
    initrd: Path | None = None
    qemu: str = DEFAULT_QEMU
    crash_cpu: int = 0
    cycles: int = 1
    verify: bool = False
    faults: frozenset[Fault] = frozenset()


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
    """The cycles of a run; ``vmcore`` is the last one's. ``vmlinux`` is the kernel with debug information, if known."""

    cycles: Sequence[JudgedCycle]
    vmcore: Path | None
    vmlinux: Path | None

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
    if options.qemu == DEFAULT_QEMU:
        packages.require("running a guest", {DEFAULT_QEMU: "qemu-system-ppc"})
    vmlinux, bootable = _kernel(options)
    config = QemuConfig(
        kernel=bootable,
        initrd=initramfs.build_initramfs(options.initrd),
        cmdline=kernel_command_line(options),
        cpus=options.cpus,
        memory_bytes=options.memory_bytes,
        cpu_model=options.cpu_model,
        qemu=options.qemu,
        faults=options.faults,
    )
    with OutputDirectory(options.out, options.memory_bytes + _DISK_SLACK_BYTES) as output:
        try:
            with QemuMachine(config, output.vmcore_fd, output.console_log) as machine:
                cycles = _run_cycles(machine, options, output, output.watch(observer))
        finally:  # a dump that was saved is kept, whatever failed after it
            vmcore = output.publish_saved()
        return RunResult(cycles, vmcore, vmlinux)


def _run_cycles(
    machine: Machine, options: RunOptions, output: OutputDirectory, observer: Observer
) -> Sequence[JudgedCycle]:
    firmware = PseriesFirmware()
    request = CycleRequest(options.crash_cpu)
    done: list[JudgedCycle] = []
    for _cycle in range(options.cycles):
        before = done[-1].cycle if done else None
        if options.verify:
            with Verifier() as verifier:
                result = run_cycle(machine, firmware, request, observer, verifier, before)
                done.append(JudgedCycle(result, verifier.judge(output.vmcore_on_disk, _crash_info_address(result))))
        else:
            done.append(JudgedCycle(run_cycle(machine, firmware, request, observer, before=before), None))
    return done


def _crash_info_address(result: CycleResult) -> int:
    """Linux puts its crash-info header behind the copies of boot memory (rtas_fadump_update_config())."""
    assert result.dump is not None  # noqa: S101 - the cycle has come to its end
    regions = [region for region in result.dump.regions if region.type == SectionType.REAL_MODE_REGION]
    return min(region.destination for region in regions) + sum(region.requested_bytes for region in regions)


def check_options(options: RunOptions) -> None:
    """Refuse what can't work before anything is built or started.

    :raises SetupError: with the reason.
    """
    if not _LEAST_MEMORY <= options.memory_bytes <= _MOST_MEMORY or options.memory_bytes % _MEMORY_STEP:
        raise SetupError(
            f"--memory must be a multiple of 256 MiB from 1 to 8 GiB, {options.memory_bytes / MIB:g} MiB is not"
        )
    if not 1 <= options.cpus <= _MOST_CPUS:
        raise SetupError(f"--cpus must be from 1 to {_MOST_CPUS}, {options.cpus} is not")
    if not 1 <= options.cycles <= _MOST_CYCLES:
        raise SetupError(f"--cycles must be from 1 to {_MOST_CYCLES}, {options.cycles} is not")
    if not 0 <= options.crash_cpu < options.cpus:
        raise SetupError(f"--crash-cpu must be a CPU of the guest, 0 to {options.cpus - 1}, {options.crash_cpu} is not")
    if options.memory_bytes < _LEAST_CRASHKERNEL_MEMORY and _words(options.cmdline, "crashkernel="):
        raise SetupError(
            "crashkernel= needs at least 1280 MiB of guest memory: Linux caps it to a quarter of RAM and FADump "
            "takes no less than 320 MiB; leave it out, or give more --memory"
        )
    for path in (options.kernel, options.initrd):
        if path is not None and not path.is_file():
            raise SetupError(f"{path} is not a file")


def kernel_command_line(options: RunOptions) -> str:
    """What the machine needs, then what the user adds: of two, Linux takes the later."""
    words = ["console=hvc0", f"rdinit={INIT_PATH}", "panic=5", "fadump=on"]
    if options.memory_bytes >= _LEAST_CRASHKERNEL_MEMORY:
        words.append(_CRASHKERNEL)
    return " ".join([*words, options.cmdline]).strip()


def _kernel(options: RunOptions) -> tuple[Path | None, Path]:
    """The kernel with debug information, if there is one, and the one to boot."""
    if options.kernel is not None:
        return None, options.kernel
    default = kernel.find_kernel() or kernel.build_kernel()
    return default.vmlinux, default.bootable


def _words(cmdline: str, prefix: str) -> list[str]:
    return [word for word in cmdline.split() if word.startswith(prefix)]

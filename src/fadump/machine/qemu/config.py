"""What a machine in QEMU is made of, and what it can be told to do wrong. Nothing is started here."""

import itertools
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING

from fadump.abi.platform import Platform
from fadump.machine.contract import StopAt
from fadump.memory.ranges import Range

if TYPE_CHECKING:
    from fadump.machine.qemu.started import StartedQemu

KERNEL_ADDRESS = 0x400000
"""Where QEMU's pseries machine loads a ``-kernel`` image, and where it is entered."""

POWERNV_MACHINES = {"POWER9": "powernv9", "POWER10": "powernv10", "POWER11": "powernv11"}
"""QEMU's machine for each CPU model."""

DEFAULT_QEMU = "qemu-system-ppc64"


class Fault(StrEnum):
    """What the machine can be told to do wrong, to see that it is noticed."""

    NO_PUT_BACK = "no-put-back"
    NO_RESERVED_RANGES = "no-reserved-ranges"


FAULT_TEXTS = {
    Fault.NO_PUT_BACK: "memory that the boot firmware overwrites before the capture kernel starts is not put back",
    Fault.NO_RESERVED_RANGES: "Linux is not told where RTAS is, and puts its dump area on top of it",
}


@dataclass(frozen=True, slots=True)
class Dimm:
    """A memory module; ``address`` is where it starts, above the machine's other memory, maybe with a hole."""

    size_bytes: int
    address: int

    @property
    def range(self) -> Range:
        """The guest addresses that it answers to."""
        return Range.sized(self.address, self.size_bytes)


class DiskFormat(StrEnum):
    """How a disk's bytes lie in its file."""

    RAW = "raw"
    QCOW2 = "qcow2"


@dataclass(frozen=True, slots=True)
class Drive:
    """A disk that the guest may write to. ``fd`` is the file if QEMU is to inherit it open, ``path`` is unused then."""

    path: Path
    format: DiskFormat
    fd: int | None = None

    @property
    def file(self) -> str:
        """What QEMU opens: with a directory, as it takes a name like ``nbd:disk`` for something else."""
        return str(self.path.absolute()) if self.fd is None else f"/proc/self/fd/{self.fd}"


@dataclass(frozen=True, slots=True)
class KernelInFront:
    """A kernel that QEMU starts in place of the system's, which it then starts by kexec."""

    kernel: Path
    initrd: Path
    cmdline: str


@dataclass(frozen=True, slots=True)
class QemuConfig:
    """A machine; the command line goes to the kernel whole. Without a kernel the first drive's boot loader is started.

    ``cpus`` are those that Linux sees, threads, ``smt`` of which make a core; up to ``max_cpus`` can be plugged.
    ``nodes`` are the sizes of the NUMA nodes' memory, which lies end to end from 0; all sizes are multiples of
    256 MiB. ``vof`` takes QEMU's own Virtual Open Firmware instead of SLOF, on pseries: a boot takes half the time.
    ``user_network`` is QEMU's own network behind the host's, ``extra_arguments`` go to QEMU as they are. Guest RAM is a
    file without a name on the disk of ``ram_directory``; None: in the host's memory.
    """

    kernel: Path | None
    initrd: Path | None
    cmdline: str
    platform: Platform = Platform.PSERIES
    cpus: int = 2
    smt: int = 1
    max_cpus: int | None = None
    nodes: tuple[int, ...] = (2 << 30,)
    dimms: tuple[Dimm, ...] = ()
    absent: frozenset[Dimm] = frozenset()
    """Those of ``dimms`` that are plugged later."""
    unplugs_cpus: bool = False
    """Whether a core is to go."""
    cpu_model: str = "POWER9"
    qemu: str = DEFAULT_QEMU
    vof: bool = False
    faults: frozenset[Fault] = frozenset()
    drives: tuple[Drive, ...] = ()
    user_network: bool = False
    extra_arguments: tuple[str, ...] = ()
    ram_directory: Path | None = None
    gdb_port: int | None = None
    """Where on this computer a user's gdb may attach to the guest."""
    stop_at: StopAt | None = None
    """Where the guest stands still until a gdb lets it go."""
    has_guest_channel: bool = True
    """Whether the guest is one of ours; if not, it has no port to speak to us, and may panic as it likes."""
    in_front: KernelInFront | None = None
    """What QEMU starts, if not the kernel itself."""
    started: "StartedQemu | None" = None
    """A QEMU that runs such a machine already, so that none is started."""

    @property
    def started_kernel(self) -> Path | None:
        """The kernel that QEMU starts."""
        return self.kernel if self.in_front is None else self.in_front.kernel

    @property
    def memory(self) -> list[Range]:
        """Where each NUMA node's memory and each DIMM lies."""
        ends = list(itertools.accumulate(self.nodes))
        nodes = [Range(end - size_bytes, end) for end, size_bytes in zip(ends, self.nodes, strict=True)]
        return nodes + [dimm.range for dimm in self.dimms]

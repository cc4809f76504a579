"""The QEMU process: its command line, its connections, its end.

Everything between QEMU and us is a socket pair or an anonymous file handed over as a file descriptor, so that
whatever kills us or QEMU leaves no socket and no file behind; the process itself dies with us (``setpriv``).
"""

import asyncio
import collections
import itertools
import os
import shutil
import signal
import socket
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from fadump.abi.platform import Platform
from fadump.errors import SetupError
from fadump.machine.contract import StopAt
from fadump.machine.qemu.started import StartedQemu
from fadump.memory.ranges import Range

KERNEL_ADDRESS = 0x400000
"""Where QEMU's pseries machine loads a ``-kernel`` image, and where it is entered."""

POWERNV_MACHINES = {"POWER9": "powernv9", "POWER10": "powernv10", "POWER11": "powernv11"}
"""QEMU's machine for each CPU model."""

DEFAULT_QEMU = "qemu-system-ppc64"
GUEST_PORT = "org.fadump.guest"
CONSOLE = "console"
_CONNECTIONS = ("gdb", "qmp", CONSOLE)
GUEST = "guest"
"""The guest channel's connection, which only a guest of ours has."""
_PRIVATE = 0o600
_STDERR_LINES = 20
_EXIT_SECONDS = 20
_CAN_NOT = {
    # before about 8.1, under TCG (hw/ppc/spapr.c)
    "cannot support more than 1 thread/core": "this QEMU can't emulate more than one thread per core: give --qemu "
    "newest, or leave out --smt",
    "unable to find CPU model": "this QEMU has no such --cpu-model: give --qemu newest, or another model",
    "unsupported machine type": "this QEMU has no machine for that --cpu-model: give --qemu newest, or another model",
}
"""What QEMU says of what it can't be, and what to do."""


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
    started: StartedQemu | None = None
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


@dataclass(slots=True)
class QemuProcess:
    """A running QEMU, its guest not started yet, with our ends of its connections."""

    process: asyncio.subprocess.Process
    connections: dict[str, socket.socket]
    stderr: collections.deque[str] = field(default_factory=lambda: collections.deque(maxlen=_STDERR_LINES))
    _drain: asyncio.Task[None] | None = None

    @classmethod
    async def start(cls, config: QemuConfig, ram_fds: Sequence[int], disk_fd: int | None) -> "QemuProcess":
        """Start QEMU with the pieces of ``config.memory`` in ``ram_fds`` and, if there is one, a disk for the dump in
        ``disk_fd``.

        :raises SetupError: there is no such QEMU.
        """
        binary = shutil.which(config.qemu)
        if binary is None:
            raise SetupError(f"no {config.qemu} on this machine: install qemu-system-ppc, or name another with --qemu")
        pairs = {name: socket.socketpair() for name in _connections(config)}
        theirs = {name: pair[1] for name, pair in pairs.items()}
        try:
            process = await asyncio.create_subprocess_exec(
                *_dies_with_us(),
                binary,
                *_arguments(config, {name: end.fileno() for name, end in theirs.items()}, ram_fds, disk_fd),
                pass_fds=[*ram_fds, *_disk_fds(config, disk_fd), *(end.fileno() for end in theirs.values())],
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.DEVNULL,
                stderr=asyncio.subprocess.PIPE,
            )
        except BaseException:
            for ours, _theirs in pairs.values():
                ours.close()
            raise
        finally:
            for end in theirs.values():
                end.close()
        started = cls(process, {name: pair[0] for name, pair in pairs.items()})
        started._drain = asyncio.create_task(started._keep_stderr())
        return started

    async def wait(self) -> str:
        """Wait for QEMU's end and say it in words."""
        code = await self.process.wait()
        if self._drain is not None:
            await asyncio.wait([self._drain])  # which goes on if this is cancelled
        for said, sentence in _CAN_NOT.items():
            if any(said in line for line in self.stderr):
                return sentence
        if code == -signal.SIGBUS:
            return (
                "QEMU has lost the guest's memory (SIGBUS): the disk that it lies on is full, or this machine's memory"
            )
        last_words = f": {self.stderr[-1]}" if self.stderr else ""
        return f"{_how_it_ended(code)}{last_words}"

    async def kill(self) -> None:
        """End QEMU at once, if it still runs."""
        if self.process.returncode is None:
            self.process.kill()
        await asyncio.wait_for(self.wait(), _EXIT_SECONDS)

    async def _keep_stderr(self) -> None:
        assert self.process.stderr is not None  # noqa: S101 - asked for above
        async for line in self.process.stderr:
            self.stderr.append(line.decode(errors="replace").rstrip())


def _how_it_ended(code: int) -> str:
    """An exit status in words, as asyncio has it: a signal is negative."""
    if code >= 0:
        return f"QEMU ended with status {code}"
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = f"signal {-code}"
    why = ": by somebody, or because this machine has run out of memory" if code == -signal.SIGKILL else ""
    return f"QEMU was killed by {name}{why}"


def _connections(config: QemuConfig) -> tuple[str, ...]:
    return (*_CONNECTIONS, GUEST) if config.has_guest_channel else _CONNECTIONS


def _dies_with_us() -> list[str]:
    setpriv = shutil.which("setpriv")
    if setpriv is None:
        raise SetupError("no setpriv on this machine: install util-linux")
    return [setpriv, "--pdeathsig", "KILL", "--"]


def _disk_fds(config: QemuConfig, disk_fd: int | None) -> list[int]:
    return [fd for fd in (disk_fd, *(drive.fd for drive in config.drives)) if fd is not None]


def _arguments(config: QemuConfig, sockets: dict[str, int], ram_fds: Sequence[int], disk_fd: int | None) -> list[str]:
    arguments = [
        *_machine_arguments(config),
        "-smp", f"{config.cpus},threads={config.smt},maxcpus={config.max_cpus or config.cpus}",
        *_memory_arguments(config, ram_fds),
        "-display", "none", "-S", "-action", "panic=none",
        "-gdb", "chardev:gdb",
        "-mon", "chardev=qmp,mode=control",
        *_device_arguments(config, disk_fd),
        *_kernel_arguments(config),
    ]  # fmt: skip
    for name, fd in sockets.items():
        arguments += ["-chardev", f"socket,id={name},fd={fd}"]
    return [*arguments, *config.extra_arguments]


def _kernel_arguments(config: QemuConfig) -> list[str]:
    if config.kernel is None:
        return []
    if (front := config.in_front) is not None:
        return ["-kernel", str(front.kernel), "-initrd", str(front.initrd), "-append", front.cmdline]
    initrd = [] if config.initrd is None else ["-initrd", str(config.initrd)]
    return ["-kernel", str(config.kernel), *initrd, "-append", config.cmdline]


def _device_arguments(config: QemuConfig, disk_fd: int | None) -> list[str]:
    """The guest channel, the dump's disk, the drives and the network, in this order on the buses."""
    devices: list[tuple[list[str], str]] = []  # what stands behind the PCI device, and the device
    behind: list[str] = []
    if config.has_guest_channel:
        devices.append(([], "virtio-serial-pci"))
        behind = ["-device", f"virtserialport,chardev={GUEST},name={GUEST_PORT}"]
    if disk_fd is not None:
        # A full host disk is the guest's write error, not a silent pause; zeros stay holes.
        disk = f"if=none,id=dump,file=/proc/self/fd/{disk_fd},format=raw"
        devices.append((["-drive", f"{disk},{_HOLES}"], "virtio-blk-pci,drive=dump"))
    for index, drive in enumerate(config.drives):
        file = drive.file.replace(",", ",,")
        disk = f"if=none,id=disk{index},file={file},format={drive.format}"
        # Boot firmware tries the first drive only: there is nothing else to boot.
        boot = "" if index or config.kernel is not None else ",bootindex=1"
        devices.append((["-drive", f"{disk},{_HOLES}"], f"virtio-blk-pci,drive=disk{index}{boot}"))
    if config.user_network:
        devices.append((["-netdev", "user,id=net"], "virtio-net-pci,netdev=net,romfile="))  # Power runs no x86 ROM
    arguments: list[str] = []
    for index, (back_end, device) in enumerate(devices):
        # On powernv each root port takes one device.
        place = f",bus=pcie.{index},addr=0x0" if config.platform is Platform.POWERNV else ""
        arguments += [*back_end, "-device", f"{device}{place}"]
    return [*arguments, *behind]


_HOLES = "werror=report,detect-zeroes=unmap,discard=unmap"


def _machine_arguments(config: QemuConfig) -> list[str]:
    match config.platform:
        case Platform.PSERIES:
            return [
                # TCG emulates no mitigation that these capabilities would ask for.
                "-machine", "pseries,cap-cfpc=broken,cap-sbbc=broken,cap-ibs=broken,cap-ccf-assist=off",
                "-machine", f"kernel-addr={KERNEL_ADDRESS:#x},x-vof={'on' if config.vof else 'off'}",
                "-cpu", config.cpu_model,
                "-nodefaults",
                "-device", "spapr-vty,chardev=console",
            ]  # fmt: skip
        case Platform.POWERNV:
            # Without the defaults there would be no PCI Express root ports; so each default device is turned off.
            return [
                "-machine", POWERNV_MACHINES[config.cpu_model],
                "-serial", "chardev:console",
                "-monitor", "none", "-vga", "none", "-net", "none",
            ]  # fmt: skip


def _memory_arguments(config: QemuConfig, ram_fds: Sequence[int]) -> list[str]:
    top = max(piece.end for piece in config.memory)
    arguments = ["-m", f"{sum(config.nodes) >> 20}M,slots={len(config.dimms)},maxmem={top >> 20}M"]
    if not config.dimms:
        arguments[1] = f"{top >> 20}M"
    for index, (fd, piece) in enumerate(zip(ram_fds, config.memory, strict=True)):
        backend = f"memory-backend-file,id=ram{index},share=on,size={piece.size_bytes},mem-path=/proc/self/fd/{fd}"
        arguments += ["-object", backend]
    if len(config.nodes) == 1:
        arguments += ["-machine", "memory-backend=ram0"]
    else:
        for index in range(len(config.nodes)):
            arguments += ["-numa", f"node,nodeid={index},memdev=ram{index}"]
    for dimm in config.dimms:
        if dimm not in config.absent:
            device = dimm_device(config, dimm)
            arguments += ["-device", f"pc-dimm,id={device['id']},memdev={device['memdev']},addr={dimm.address:#x}"]
    return arguments


def dimm_device(config: QemuConfig, dimm: Dimm) -> dict[str, object]:
    """A DIMM as device_add takes it; its memory is a back end that outlives the device."""
    index = len(config.nodes) + config.dimms.index(dimm)
    return {"driver": "pc-dimm", "id": f"dimm{index}", "memdev": f"ram{index}", "addr": dimm.address}


def guest_ram_file(size_bytes: int, directory: Path | None = None) -> int:
    """An anonymous sparse file to be guest RAM, in memory or on a ``directory``'s disk; nothing of it outlives its last
    user.

    :raises SetupError: the host can't hold it.
    """
    where = "of memory" if directory is None else f"in {directory}"
    try:
        fd = os.memfd_create("fadump-guest-ram") if directory is None else _nameless_file(directory)
        try:
            os.ftruncate(fd, size_bytes)
        except BaseException:
            os.close(fd)
            raise
    except OSError as error:
        raise SetupError(f"no {size_bytes >> 20} MiB {where} for the guest: {error.strerror}") from error
    return fd


def _nameless_file(directory: Path) -> int:
    return os.open(directory, os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, _PRIVATE)

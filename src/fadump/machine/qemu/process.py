"""The QEMU process: its command line, its connections, its end.

Everything between QEMU and us is a socket pair or an anonymous file handed over as a file descriptor, so that
whatever kills us or QEMU leaves no socket and no file behind; the process itself dies with us (``setpriv``). It leads a
process group of its own, which ends with it.
"""

import asyncio
import collections
import os
import shutil
import signal
import socket
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from fadump.abi.platform import Platform
from fadump.errors import SetupError
from fadump.machine.qemu.config import KERNEL_ADDRESS, POWERNV_MACHINES, Dimm, QemuConfig

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
        binary = _program(config.qemu)
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
                process_group=0,  # --qemu may be a script, and what that starts is to end with it
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
        """End QEMU and all that it has started at once, if anything still runs."""
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        await asyncio.wait_for(self.wait(), _EXIT_SECONDS)

    async def _keep_stderr(self) -> None:
        assert self.process.stderr is not None  # noqa: S101 - asked for above
        async for line in self.process.stderr:
            self.stderr.append(line.decode(errors="replace").rstrip())


def _program(qemu: str) -> str:
    """:raises SetupError: there is none of this name."""
    if (found := shutil.which(qemu)) is not None:
        return found
    if Path(qemu).exists():
        raise SetupError(f"--qemu {qemu} is no file that can be executed: name QEMU's program")
    raise SetupError(f"no {qemu} on this machine: install qemu-system-ppc, or name another with --qemu")


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

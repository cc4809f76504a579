"""The QEMU process: its command line, its connections, its end.

Everything between QEMU and us is a socket pair or an anonymous file handed over as a file descriptor, so that
whatever kills us or QEMU leaves no socket and no file behind; the process itself dies with us (``setpriv``).
"""

import asyncio
import collections
import os
import shutil
import socket
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from fadump.errors import SetupError

KERNEL_ADDRESS = 0x400000
"""Where QEMU's pseries machine loads a ``-kernel`` image, and where it is entered."""

DEFAULT_QEMU = "qemu-system-ppc64"
GUEST_PORT = "org.fadump.guest"
_CONNECTIONS = ("gdb", "qmp", "console", "guest")
_STDERR_LINES = 20
_EXIT_SECONDS = 20


class Fault(StrEnum):
    """What the machine can be told to do wrong, to see that it is noticed."""

    NO_PUT_BACK = "no-put-back"
    NO_RESERVED_RANGES = "no-reserved-ranges"


FAULT_TEXTS = {
    Fault.NO_PUT_BACK: "memory that boot firmware overwrites on the way to the capture kernel is not put back",
    Fault.NO_RESERVED_RANGES: "Linux is not told where RTAS lies, and puts its dump area over it",
}


@dataclass(frozen=True, slots=True)
class QemuConfig:
    """A pseries machine. ``memory_bytes`` is a multiple of 256 MiB; the command line goes to the kernel whole."""

    kernel: Path
    initrd: Path
    cmdline: str
    cpus: int = 2
    memory_bytes: int = 2 << 30
    cpu_model: str = "POWER9"
    qemu: str = DEFAULT_QEMU
    faults: frozenset[Fault] = frozenset()


@dataclass(slots=True)
class QemuProcess:
    """A running QEMU, its guest not started yet, with our ends of its connections."""

    process: asyncio.subprocess.Process
    connections: dict[str, socket.socket]
    stderr: collections.deque[str] = field(default_factory=lambda: collections.deque(maxlen=_STDERR_LINES))
    _drain: asyncio.Task[None] | None = None

    @classmethod
    async def start(cls, config: QemuConfig, ram_fd: int, disk_fd: int) -> "QemuProcess":
        """Start QEMU with guest RAM in ``ram_fd`` and a disk for the dump in ``disk_fd``.

        :raises SetupError: there is no such QEMU.
        """
        binary = shutil.which(config.qemu)
        if binary is None:
            raise SetupError(f"no {config.qemu} on this machine: install qemu-system-ppc, or name another with --qemu")
        pairs = {name: socket.socketpair() for name in _CONNECTIONS}
        theirs = {name: pair[1] for name, pair in pairs.items()}
        try:
            process = await asyncio.create_subprocess_exec(
                *_dies_with_us(),
                binary,
                *_arguments(config, {name: end.fileno() for name, end in theirs.items()}, ram_fd, disk_fd),
                pass_fds=[ram_fd, disk_fd, *(end.fileno() for end in theirs.values())],
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
            await self._drain
        last_words = f": {self.stderr[-1]}" if self.stderr else ""
        return f"QEMU ended with status {code}{last_words}"

    async def kill(self) -> None:
        """End QEMU at once, if it still runs."""
        if self.process.returncode is None:
            self.process.kill()
        await asyncio.wait_for(self.wait(), _EXIT_SECONDS)

    async def _keep_stderr(self) -> None:
        assert self.process.stderr is not None  # noqa: S101 - asked for above
        async for line in self.process.stderr:
            self.stderr.append(line.decode(errors="replace").rstrip())


def _dies_with_us() -> list[str]:
    setpriv = shutil.which("setpriv")
    if setpriv is None:
        raise SetupError("no setpriv on this machine: install util-linux")
    return [setpriv, "--pdeathsig", "KILL", "--"]


def _arguments(config: QemuConfig, sockets: dict[str, int], ram_fd: int, disk_fd: int) -> list[str]:
    ram, disk = (f"/proc/self/fd/{fd}" for fd in (ram_fd, disk_fd))
    arguments = [
        # TCG emulates no mitigation that these capabilities would ask for.
        "-machine", ("pseries,memory-backend=ram,cap-cfpc=broken,cap-sbbc=broken,cap-ibs=broken,cap-ccf-assist=off"
                    f",kernel-addr={KERNEL_ADDRESS:#x}"),
        "-cpu", config.cpu_model,
        "-smp", str(config.cpus),
        "-m", f"{config.memory_bytes >> 20}M",
        "-object", f"memory-backend-file,id=ram,size={config.memory_bytes},share=on,mem-path={ram}",
        "-nodefaults", "-display", "none", "-S", "-action", "panic=none",
        "-gdb", "chardev:gdb",
        "-mon", "chardev=qmp,mode=control",
        "-device", "spapr-vty,chardev=console",
        "-device", "virtio-serial-pci",
        "-device", f"virtserialport,chardev=guest,name={GUEST_PORT}",
        # A full host disk is the guest's write error, not a silent pause; zeros stay holes.
        "-drive", f"if=none,id=dump,file={disk},format=raw,werror=report,detect-zeroes=unmap,discard=unmap",
        "-device", "virtio-blk-pci,drive=dump",
        "-kernel", str(config.kernel),
        "-initrd", str(config.initrd),
        "-append", config.cmdline,
    ]  # fmt: skip
    for name, fd in sockets.items():
        arguments += ["-chardev", f"socket,id={name},fd={fd}"]
    return arguments


def guest_ram_file(size_bytes: int) -> int:
    """An anonymous sparse file to be guest RAM; nothing of it outlives its last user.

    :raises SetupError: the host can't hold it.
    """
    fd = os.memfd_create("fadump-guest-ram")
    try:
        os.ftruncate(fd, size_bytes)
    except OSError as error:
        os.close(fd)
        raise SetupError(f"no {size_bytes >> 20} MiB of memory for the guest: {error.strerror}") from error
    return fd

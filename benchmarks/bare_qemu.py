"""QEMU as it is, to compare ours with: started in the same way, and nothing of ours comes into the guest."""

import os
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fadump.machine.contract import ConsoleLog
from fadump.machine.qemu.config import QemuConfig
from fadump.machine.qemu.link import QemuLink
from fadump.machine.qemu.process import guest_ram_file


@asynccontextmanager
async def bare_qemu(
    config: QemuConfig, disk_fd: int | None, console: ConsoleLog
) -> AsyncIterator[tuple[QemuLink, float]]:
    """A guest that runs without a breakpoint, and when, by :func:`time.monotonic`, it was powered on."""
    started = time.monotonic()
    ram_fds = [guest_ram_file(piece.size_bytes) for piece in config.memory]
    try:
        link = await QemuLink.start(config, ram_fds, disk_fd, console, failure=lambda _line: False)
        try:
            link.gdb.go("vCont;c")
            yield link, started
        finally:
            await link.close()
    finally:
        for fd in ram_fds:
            os.close(fd)

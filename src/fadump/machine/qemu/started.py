"""A QEMU that somebody else has started, and goes on using: its guest RAM and our ends of its connections.

Whoever starts it may stop and continue the guest, reset it and end QEMU by a monitor of their own, also while we handle
an event. So three things differ from a QEMU of ours (:class:`.process.QemuProcess`):

* The guest may run when we think that it stands still. Each command to the gdb stub begins with the byte that stops a
  running guest (:class:`.gdb.GdbClient`).
* The guest may have been stopped by somebody else, and then stays so (:class:`.link.QemuLink`).
* The end is theirs: we only notice it. A guest that has shut down is not the end, as they may reset it.

Until we are there, a breakpoint holds the guest at its first instruction, whoever lets it go.
"""

import asyncio
import select
import socket
from collections.abc import Mapping
from dataclasses import dataclass

from fadump.machine.qemu.gdb import AWAIT_STOP, encode

EARLY_COMMANDS = 2
_ENDED = "QEMU has ended"
_ENDING_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class StartedQemu:
    """What its starter hands over: ``connections`` to its gdb stub and QMP monitor, and ``life``, whose other end is
    open as long as QEMU is.

    ``reset_address`` is the guest's first instruction, where :meth:`hold` has put a breakpoint. ``is_held`` if the
    starter lets the guest go, as by ``-S``; if not, we do. ``ends_at_reboot`` as by ``-no-reboot``.
    ``listener`` waits for the starter's gdb, in place of QEMU's own ``-gdb`` with ``gdb_device``.
    """

    ram_fds: tuple[int, ...]
    connections: Mapping[str, socket.socket]
    life: socket.socket
    reset_address: int
    is_held: bool
    ends_at_reboot: bool
    listener: socket.socket | None = None
    gdb_device: str = ""

    def hold(self) -> None:
        """Before QEMU starts: let the first that its gdb stub is told be the breakpoint at the first instruction."""
        commands = (f"Z0,{self.reset_address:x},4", AWAIT_STOP)
        self.connections["gdb"].sendall(b"".join(map(encode, commands)))

    def ends_soon(self) -> bool:
        """Whether QEMU has ended, or is about to: it closes one connection after the other."""
        return bool(select.select([self.life], [], [], _ENDING_SECONDS)[0])

    async def wait(self) -> str:
        """Wait for QEMU's end."""
        self.life.setblocking(False)
        await asyncio.get_running_loop().sock_recv(self.life, 1)
        return _ENDED

    async def kill(self) -> None:
        """It isn't ours to end."""

"""A machine's guest with a port for somebody's gdb, or without: the server, and who decides whose turn it is."""

import socket
from collections.abc import Callable, Collection
from contextlib import AsyncExitStack

from fadump.machine.qemu.debugger import Debugger
from fadump.machine.qemu.gdb_commands import GdbCommands, Shown
from fadump.machine.qemu.gdb_server import GdbServer
from fadump.machine.qemu.link import QemuLink


async def open_port(
    listener: socket.socket | None,
    link: QemuLink,
    breakpoint_addresses: Callable[[], Collection[int]],
    shown: Callable[[], Shown],
    ends: AsyncExitStack,
) -> Debugger:
    """Take a gdb from now on, until ``ends`` does; without a listener there never is one.

    ``breakpoint_addresses`` are where the machine stops its guest, ``shown`` how a gdb is to see it.
    """

    (first_cpu, *_others) = await link.gdb.threads()
    debugger = Debugger(link, first_cpu, breakpoint_addresses)
    if listener is None:
        return debugger
    server = GdbServer(lambda send: GdbCommands(debugger, link.gdb, link.registers, shown, send))
    await server.start(listener)
    ends.push_async_callback(server.close)
    ends.push_async_callback(debugger.close)
    return debugger

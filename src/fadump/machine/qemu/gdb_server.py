"""The port where somebody's gdb attaches to the guest: one connection at a time, from this computer only.

The framing of gdb's remote serial protocol (gdb manual, appendix E), from the target's side. What the packets mean is
in :mod:`.gdb_commands`. Whoever connects may send anything: what is no packet is passed over, and a connection that
breaks the framing is ended.
"""

import asyncio
import socket
from collections.abc import Awaitable, Callable
from typing import Protocol

from fadump.errors import SetupError, reason

LOOPBACK = "127.0.0.1"
MOST_PACKET_BYTES = 0x1000
"""What gdb is told that a packet may have; QEMU 7.2 takes no more."""
_LEAVING_SECONDS = 1.0
"""How long the next gdb waits for one that is just leaving."""
_INTERRUPT = b"\x03"
_START = b"$"
_NO_ACK = b"QStartNoAckMode"

Send = Callable[[bytes], None]


class Attached(Protocol):
    """One gdb, by what it sends."""

    async def answer(self, packet: bytes) -> bytes | None:
        """The answer to a packet; None if there is none, or not yet."""

    def interrupt(self) -> None:
        """The user has typed Ctrl-C."""

    async def leave(self) -> None:
        """The connection is gone, in whatever way."""


def listen(port: int) -> socket.socket:
    """A socket that waits for a gdb there.

    :raises SetupError: the port can't be had.
    """
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((LOOPBACK, port))
        listener.listen()
    except OSError as error:
        listener.close()
        raise SetupError(f"--gdb {port}: the port can't be had: {reason(error)}") from error
    return listener


class GdbServer:
    """Serves one gdb after the other; a second one at the same time is sent away."""

    def __init__(self, attach: Callable[[Send], Attached]) -> None:
        self._attach = attach
        self._server: asyncio.Server | None = None
        self._turn = asyncio.Lock()
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self, listener: socket.socket) -> None:
        """Take connections from now on."""
        self._server = await asyncio.start_server(self._accept, sock=listener, limit=2 * MOST_PACKET_BYTES)

    async def close(self) -> None:
        """End the connection, and take no more."""
        if self._server is not None:
            self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.ensure_future(self._serve(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await asyncio.wait_for(self._turn.acquire(), _LEAVING_SECONDS)
        except TimeoutError:
            writer.close()
            return
        try:
            connection = _Connection(reader, writer)
            attached = self._attach(connection.send)
            try:
                await connection.serve(attached)
            finally:
                writer.close()
            await attached.leave()
        finally:
            self._turn.release()


class _Connection:
    """Packets in both directions."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._acknowledges = True

    def send(self, payload: bytes) -> None:
        """Send a packet."""
        self._writer.write(b"$%s#%02x" % (payload, sum(payload) & 0xFF))

    async def serve(self, attached: Attached) -> None:
        """Until the connection ends, or breaks the framing."""
        try:
            while byte := await self._reader.read(1):
                if byte == _INTERRUPT:
                    attached.interrupt()
                elif byte == _START:
                    await self._take(attached.answer)
        except (asyncio.IncompleteReadError, asyncio.LimitOverrunError, ConnectionError):
            return

    async def _take(self, answer: Callable[[bytes], Awaitable[bytes | None]]) -> None:
        packet = (await self._reader.readuntil(b"#"))[:-1]
        checksum = await self._reader.readexactly(2)
        if checksum.lower() != b"%02x" % (sum(packet) & 0xFF):
            self._acknowledge(b"-")
            return
        self._acknowledge(b"+")
        if packet == _NO_ACK:
            self.send(b"OK")
            self._acknowledges = False
        elif (reply := await answer(packet)) is not None:
            self.send(reply)
        await self._writer.drain()

    def _acknowledge(self, sign: bytes) -> None:
        if self._acknowledges:
            self._writer.write(sign)

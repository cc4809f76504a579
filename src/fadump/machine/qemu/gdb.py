"""A client of QEMU's gdb stub: stop, look at registers, set breakpoints, go on.

The protocol is gdb's remote serial protocol (gdb manual, appendix E). Three habits of QEMU matter here:
its target description has to be asked for before the first ``g``, or QEMU 7.2 aborts; a register's bytes come
in the order of that CPU's own MSR[LE] at that moment; and software breakpoints are compared with virtual
addresses, nothing is written to the guest.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from fadump.errors import MachineError

_REPLY_SECONDS = 60
"""A stopped guest is asked; only a host in deep trouble needs a second for an answer."""
_INTERRUPT = b"\x03"
_ACK = b"+"
TRAP, INTERRUPTED = 5, 2
"""Signals, as the stub names the reason of a stop: a breakpoint or a step, and somebody from outside."""
_EXITED = b"W"
_GONE = "QEMU has closed its gdb stub"
_WHICH_CPU = "qC"
_WHICH_CPU_REPLY = b"QC"
AWAIT_STOP = "vCont;t"
"""An action that QEMU doesn't have. But after any vCont QEMU reports the next stop, whoever has let the guest go; QEMU
8.1 and later do so only after one, and only if it was the last that they were sent (gdbstub: gdb_read_byte())."""


class GoneError(MachineError):
    """QEMU has closed a connection, most likely since it has ended."""


@dataclass(frozen=True, slots=True)
class Stop:
    """The guest stands still; ``thread`` is the stub's name of the CPU that stopped it, such as ``p01.02``.

    ``packet`` is what the stub has said of it.
    """

    thread: str
    packet: bytes = b""

    @property
    def is_watchpoint(self) -> bool:
        """Whether an access to memory has."""
        return b"watch:" in self.packet

    @property
    def is_trap(self) -> bool:
        """Whether a breakpoint has stopped it, and nobody from outside."""
        return _is_trap(self.packet)


def made_stop(thread: str, signal: int) -> Stop:
    """A stop that the stub hasn't told of."""
    return Stop(thread, b"T%02xthread:%s;" % (signal, thread.encode()))


def encode(text: str) -> bytes:
    """A command as it is sent."""
    payload = text.encode()
    return b"$%s#%02x" % (payload, sum(payload) & 0xFF)


class GdbClient:
    """One connection to a gdb stub. While the guest runs, the stub says nothing but the stop it ends with.

    With ``shared``, others may let the guest go at any time, so that it runs when a command comes. So each begins with
    the byte that stops it, which QEMU otherwise ignores. ``was_let_go`` is whether it has stopped one since the last
    :meth:`await_stop` or :meth:`go`.
    """

    def __init__(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        on_stop: Callable[[Stop], None],
        on_end: Callable[[str], None] = lambda _reason: None,
        *,
        shared: bool = False,
    ) -> None:
        self._reader = reader
        self._writer = writer
        self.on_stop = on_stop
        """Who is told of the stop that ends a run."""
        self._on_end = on_end
        self._replies: asyncio.Queue[bytes | None] = asyncio.Queue()
        self._running = False
        self._shared = shared
        self._silent = False  # from await_stop() to the stop: not even an acknowledgement may come between them
        self._interrupts = 0  # that wait for a CPU's name
        self.resumes = 0
        """How often the guest has been let go, which QEMU tells of each time."""
        self.is_ending = False
        """Whether QEMU has said that it ends."""
        self.is_gone = False
        """Whether QEMU has closed its stub; ``on_end`` is told so."""
        self.was_let_go = False
        self._thread = ""
        self._pump = asyncio.create_task(self._receive())

    @property
    def running(self) -> bool:
        """True from :meth:`go` to the stop that ends it."""
        return self._running

    async def start(self) -> str:
        """Agree on the protocol and return the target description's file name list root, ``target.xml``.

        :raises MachineError: the stub doesn't answer.
        """
        await self.command("qSupported:multiprocess+;swbreak+;vContSupported+")
        await self.command("vCont?")
        return await self.description("target.xml")

    async def description(self, annex: str) -> str:
        """The text of one file of the target description."""
        text = b""
        while True:
            reply = await self.command(f"qXfer:features:read:{annex}:{len(text):x},ffb")
            if reply[:1] not in (b"l", b"m"):
                raise MachineError(f"QEMU's gdb stub has no target description {annex}: {reply!r}")
            text += reply[1:]
            if reply[:1] == b"l":
                return text.decode()

    async def threads(self) -> list[str]:
        """The CPUs by the stub's names, in the stub's order."""
        names: list[str] = []
        reply = await self.command("qfThreadInfo")
        while reply[:1] == b"m":
            names += reply[1:].decode().split(",")
            reply = await self.command("qsThreadInfo")
        return names

    async def select(self, thread: str) -> None:
        """Let register and memory commands speak of this CPU."""
        if thread != self._thread:
            await self._checked(f"Hg{thread}")
            self._thread = thread

    async def read_register(self, number: int) -> bytes | None:
        """A register's bytes in the selected CPU's byte order; None where the stub can't show it."""
        reply = await self.command(f"p{number:x}")
        if not reply or reply[:1] == b"E":
            return None
        return bytes.fromhex(reply.decode())

    async def write_register(self, number: int, value: bytes) -> None:
        """Set a register, the bytes in the selected CPU's byte order."""
        await self._checked(f"P{number:x}={value.hex()}")

    async def write_code(self, address: int, code: bytes) -> None:
        """Write instructions where a real-mode CPU is selected: QEMU drops what it had translated there."""
        await self._checked(f"M{address:x},{len(code):x}:{code.hex()}")

    async def insert_breakpoint(self, address: int) -> None:
        """Stop whichever CPU comes to the instruction at ``address``, as that CPU sees addresses."""
        await self._checked(f"Z0,{address:x},4")

    async def remove_breakpoint(self, address: int) -> None:
        """Take back :meth:`insert_breakpoint`."""
        await self._checked(f"z0,{address:x},4")

    async def step(self, thread: str) -> None:
        """Run one instruction on one CPU, the others held."""
        self.resumes += 1
        self._send(f"vCont;s:{thread}")
        while not _is_trap(await self._reply()):  # a shared guest that ran says first that it was stopped
            self.was_let_go = True

    def go(self, actions: str) -> None:
        """Let the CPUs run or step as this vCont packet says; the next stop is handed to ``on_stop``."""
        self._running = True
        self.resumes += 1
        self.was_let_go = False
        self._send(actions)

    def interrupt(self) -> None:
        """Ask a running guest to stop. One that is shared may stand still already: then ``on_stop`` is told so."""
        if self._shared:
            self._send(_WHICH_CPU)
            self._interrupts += 1
        else:
            self._writer.write(_INTERRUPT)

    async def await_stop(self) -> bool:
        """A guest that is shared is somebody else's to let go; its next stop is handed to ``on_stop``.

        Returns whether it had been let go, and now stands still for our sake.
        """
        self._send(AWAIT_STOP)
        self._silent = True
        await self._answer()
        self._running = True
        was_let_go, self.was_let_go = self.was_let_go, False
        return was_let_go

    async def early_replies(self, count: int) -> None:
        """Take the answers to commands that were sent before there was a client."""
        for _command in range(count):
            await self._reply()

    async def command(self, text: str) -> bytes:
        """Send a packet and return its answer, unescaped.

        :raises GoneError: the connection is gone.
        :raises MachineError: no answer in time.
        """
        if self._running:
            raise MachineError(f"the guest runs, so its gdb stub can't be asked {text!r}")
        self._send(text)
        return await self._answer()

    async def close(self) -> None:
        """End the connection; the guest stays as it is."""
        self._pump.cancel()
        await asyncio.gather(self._pump, return_exceptions=True)
        self._writer.close()
        await asyncio.gather(self._writer.wait_closed(), return_exceptions=True)

    async def _checked(self, text: str) -> None:
        reply = await self.command(text)
        if reply != b"OK":
            raise MachineError(f"QEMU's gdb stub answered {reply!r} to {text[:40]!r}")

    def _send(self, text: str) -> None:
        if self._shared:
            self._writer.write((_ACK if self._silent else b"") + _INTERRUPT)
            self._silent = False
        self._writer.write(encode(text))

    async def _answer(self) -> bytes:
        """The answer to a command. A shared guest that ran, and was stopped by it, says so first."""
        while _is_stop(reply := await self._reply()) and self._shared:
            self.was_let_go = True
            self._thread = ""
        return reply

    async def _reply(self) -> bytes:
        try:
            reply = await asyncio.wait_for(self._replies.get(), _REPLY_SECONDS)
        except TimeoutError:
            raise MachineError(f"QEMU's gdb stub has not answered for {_REPLY_SECONDS} seconds") from None
        if reply is None:
            self._replies.put_nowait(None)  # for whoever asks next
            raise GoneError(_GONE)
        return reply

    async def _receive(self) -> None:
        try:
            while True:
                await self._reader.readuntil(b"$")
                packet = (await self._reader.readuntil(b"#"))[:-1]
                await self._reader.readexactly(2)  # the checksum: a socket pair loses nothing
                if self._running and _is_stop(packet):
                    self._silent = False
                if not self._silent:
                    self._writer.write(_ACK)
                self._dispatch(_unescape(packet))
        except (asyncio.IncompleteReadError, ConnectionError):
            self.is_gone = True
            self._replies.put_nowait(None)
            self._on_end(_GONE)

    def _dispatch(self, packet: bytes) -> None:
        if packet.startswith(_EXITED):
            self.is_ending = True
        elif self._interrupts and packet.startswith(_WHICH_CPU_REPLY):
            self._interrupts -= 1
            if self._running:
                self._end_run(made_stop(packet.removeprefix(_WHICH_CPU_REPLY).decode(), INTERRUPTED))
        elif self._running and _is_stop(packet):
            self._end_run(Stop(_stop_thread(packet), packet))
        else:
            self._replies.put_nowait(packet)

    def _end_run(self, stop: Stop) -> None:
        self._running = False
        self._thread = ""
        self.on_stop(stop)


class Breakpoints:
    """Those that a machine needs at a time: none at first."""

    def __init__(self, gdb: GdbClient) -> None:
        self._gdb = gdb
        self.addresses: tuple[int, ...] = ()
        """Where the guest is stopped."""

    async def move(self, *addresses: int) -> None:
        """Stop at these addresses from now on, and no longer at those before."""
        await self.remove()
        for address in addresses:
            await self._gdb.insert_breakpoint(address)
        self.addresses = addresses

    async def remove(self) -> None:
        """Stop nobody any more."""
        for address in self.addresses:
            await self._gdb.remove_breakpoint(address)
        self.addresses = ()

    async def step_over(self, thread: str) -> None:
        """Run the instruction that this CPU was stopped at."""
        addresses = self.addresses
        await self.remove()
        await self._gdb.step(thread)
        await self.move(*addresses)


def _is_stop(packet: bytes) -> bool:
    return packet[:1] in (b"T", b"S")


def _is_trap(packet: bytes) -> bool:
    return _is_stop(packet) and packet[1:3] == b"%02x" % TRAP


def _stop_thread(packet: bytes) -> str:
    for field in packet[3:].split(b";"):
        name, _, value = field.partition(b":")
        if name == b"thread":
            return value.decode()
    raise MachineError(f"QEMU's gdb stub named no CPU in its stop {packet!r}")


def _unescape(packet: bytes) -> bytes:
    if b"}" not in packet:
        return packet
    plain = bytearray()
    escaped = iter(packet)
    for byte in escaped:
        plain.append(next(escaped) ^ 0x20 if byte == ord("}") else byte)
    return bytes(plain)

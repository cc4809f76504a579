"""What somebody's gdb asks, answered from QEMU's stub; what the machine has done to the guest for itself is hidden.

The packets of gdb's remote serial protocol (gdb manual, appendix E). The first one that is about the guest stops it.
What is passed on to QEMU is listed here, all else is answered as unknown: no packet ends QEMU, or changes what the
machine relies on. Registers are handed on in the kernel's byte order, as its gdb takes them, also those of a CPU that
is in the other one at the moment, which QEMU shows the other way round: firmware is big-endian.
"""

import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

from fadump.abi.layout import ByteOrder
from fadump.errors import MachineError
from fadump.machine.qemu.debugger import Breakpoint, Debugger, Run
from fadump.machine.qemu.gdb import GdbClient
from fadump.machine.qemu.gdb_server import MOST_PACKET_BYTES, Send
from fadump.machine.qemu.registers import RegisterFile

_UNKNOWN = b""
_OK = b"OK"
_NO_SUCH_CPU = b"E16"
_FAULT = b"E0e"
_SUPPORTED = b"PacketSize=%x;qXfer:features:read+;vContSupported+;multiprocess+;QStartNoAckMode+" % MOST_PACKET_BYTES
_ABOUT_THE_STUB = {
    "qSupported": _SUPPORTED,
    "vCont?": b"vCont;c;C;s;S",
    "qAttached": b"1",  # so that gdb leaves by detaching
    "qSymbol": _OK,
}
_CPU = r"p?-?[0-9a-f]+(?:\.-?[0-9a-f]+)?"
_ONE_CPU = re.compile(r"p([0-9a-f]+)\.([0-9a-f]+)")
_STEP = re.compile(r";[sS](?:[0-9a-f]{2})?(?::([-p0-9a-f.]+))?(?=;|$)")
_REAL_ADDRESS = (1 << 60) - 1
"""In real mode a CPU ignores the four highest bits of an address."""


_Handler = Callable[["GdbCommands", re.Match[str]], Awaitable[bytes | None]]


def _packets(*packets: tuple[str, bool, _Handler]) -> Sequence[tuple[re.Pattern[str], bool, _Handler]]:
    return [(re.compile(pattern), takes_guest, handler) for pattern, takes_guest, handler in packets]


@dataclass(frozen=True, slots=True)
class Shown:
    """How a gdb sees the guest: registers in ``byte_order``, and memory as it was before the machine put instructions
    of its own there, ``hidden`` by their addresses."""

    byte_order: ByteOrder
    hidden: Mapping[int, bytes] = field(default_factory=dict)


class GdbCommands:
    """One gdb that is attached."""

    def __init__(
        self,
        debugger: Debugger,
        gdb: GdbClient,
        registers: RegisterFile,
        shown: Callable[[], Shown],
        send: Send,
    ) -> None:
        self._debugger = debugger
        self._gdb = gdb
        self._registers = registers
        self._shown = shown
        self._send = send
        self._cpu: str | None = None

    async def answer(self, packet: bytes) -> bytes | None:
        """The answer to a packet; a run is answered by the stop that ends it."""
        text = packet.decode("latin-1")
        if (known := _ABOUT_THE_STUB.get(text.partition(":")[0])) is not None:
            return known
        for pattern, takes_guest, handler in self._ABOUT_THE_GUEST:
            if (found := pattern.fullmatch(text)) is not None:
                try:
                    async with self._debugger.turn:
                        if takes_guest:
                            await self._debugger.hold()
                            await self._gdb.select(self._thread)
                        return await handler(self, found)
                except MachineError:
                    return _FAULT
        return _UNKNOWN

    def interrupt(self) -> None:
        self._debugger.interrupt_for_user()

    async def leave(self) -> None:
        try:
            async with self._debugger.turn:
                await self._debugger.detach()
        except MachineError:  # QEMU is gone
            return

    @property
    def _thread(self) -> str:
        """The CPU that is asked about."""
        return self._cpu or self._debugger.stop.thread

    async def _why_stopped(self, _found: re.Match[str]) -> bytes:
        return self._debugger.stop.packet

    async def _which_cpu(self, _found: re.Match[str]) -> bytes:
        return b"QC" + self._debugger.stop.thread.encode()

    async def _select(self, found: re.Match[str]) -> bytes:
        if found[1] == "c":
            return _OK  # for packets that vCont has replaced
        before, self._cpu = self._cpu, _cpu(found[2])
        try:
            await self._gdb.select(self._thread)
        except MachineError:
            self._cpu = before
            return _NO_SUCH_CPU
        return _OK

    async def _detach(self, found: re.Match[str]) -> bytes | None:
        await self._debugger.detach()
        return None if found[0] == "k" else _OK

    async def _go(self, found: re.Match[str]) -> None:
        actions = {"c": "vCont;c", "s": f"vCont;s:{self._thread}"}.get(found[0], found[0])
        step = _STEP.search(actions)
        stepping = None if step is None else _cpu(step[1] or "") or self._debugger.stop.thread
        self._cpu = None  # gdb takes the CPU that stops to be selected
        await self._debugger.go(Run(actions, stepping), self._send)

    async def _pass_on(self, found: re.Match[str]) -> bytes:
        return await self._gdb.command(found[0])

    async def _read_registers(self, _found: re.Match[str]) -> bytes:
        return await self._turned(await self._gdb.command("g"))

    async def _write_registers(self, found: re.Match[str]) -> bytes:
        values = await self._turned(found[1].encode())
        return await self._gdb.command(f"G{values.decode()}")

    async def _read_register(self, found: re.Match[str]) -> bytes:
        value = await self._gdb.command(found[0])
        is_error = len(value) % 2
        return _reversed(value) if await self._is_turned() and not is_error else value

    async def _write_register(self, found: re.Match[str]) -> bytes:
        value = found[2].encode()
        if await self._is_turned():
            value = _reversed(value)
        return await self._gdb.command(f"P{found[1]}={value.decode()}")

    async def _read_memory(self, found: re.Match[str]) -> bytes:
        """Memory as the guest has it without the machine's instructions."""
        memory = await self._gdb.command(found[0])
        if len(memory) % 2:
            return memory  # an error
        start = int(found[1], 16) & _REAL_ADDRESS
        shown = bytearray.fromhex(memory.decode())
        for address, original in self._shown().hidden.items():
            for offset, byte in enumerate(original, address - start):
                if 0 <= offset < len(shown):
                    shown[offset] = byte
        return shown.hex().encode()

    async def _write_memory(self, found: re.Match[str]) -> bytes:
        start, size_bytes = int(found[1], 16) & _REAL_ADDRESS, int(found[2], 16)
        for address, original in self._shown().hidden.items():
            if start < address + len(original) and address < start + size_bytes:
                return _FAULT
        return await self._gdb.command(found[0])

    async def _change_breakpoint(self, found: re.Match[str]) -> bytes:
        change = self._debugger.insert if found[1] == "Z" else self._debugger.remove
        return await change(Breakpoint(*(int(word, 16) for word in found.groups()[1:])))

    async def _is_turned(self) -> bool:
        """Whether the CPU's byte order isn't gdb's."""
        return await self._registers.byte_order(self._thread) != self._shown().byte_order

    async def _turned(self, values: bytes) -> bytes:
        """All registers in the other order, if the CPU's own isn't gdb's."""
        if not await self._is_turned():
            return values
        turned = b""
        for size_bytes in self._registers.sizes.values():
            turned += _reversed(values[: 2 * size_bytes])
            values = values[2 * size_bytes :]
        return turned

    _ABOUT_THE_GUEST: ClassVar = _packets(
        (r"D(?:;[0-9a-f]+)?|k|vKill;[0-9a-f]+", False, _detach),
        (r"\?", True, _why_stopped),
        (r"qC", True, _which_cpu),
        (rf"H([gc])({_CPU})", True, _select),
        (rf"c|s|vCont(?:;(?:[cs]|[CS][0-9a-f]{{2}})(?::{_CPU})?)+", True, _go),
        (rf"T{_CPU}|q[fs]ThreadInfo|qThreadExtraInfo,{_CPU}", True, _pass_on),
        (r"qXfer:features:read:[-\w.]+:[0-9a-f]+,[0-9a-f]+", True, _pass_on),
        (r"g", True, _read_registers),
        (r"G([0-9a-f]+)", True, _write_registers),
        (r"p([0-9a-f]{1,8})", True, _read_register),
        (r"P([0-9a-f]{1,8})=([0-9a-f]+)", True, _write_register),
        (r"m([0-9a-f]{1,16}),([0-9a-f]{1,4})", True, _read_memory),
        (r"M([0-9a-f]{1,16}),([0-9a-f]{1,4}):([0-9a-f]*)", True, _write_memory),
        (r"([zZ])([0-4]),([0-9a-f]{1,16}),([0-9a-f]{1,4})", True, _change_breakpoint),
    )
    """Which packets, whether the guest is to be stopped for them, and what is done."""


def _cpu(text: str) -> str | None:
    """A CPU as the stub names it; None: any."""
    found = _ONE_CPU.fullmatch(text)
    if found is None or int(found[2], 16) == 0:
        return None
    return f"p{int(found[1], 16):02x}.{int(found[2], 16):02x}"


def _reversed(hexadecimal: bytes) -> bytes:
    return b"".join(hexadecimal[index : index + 2] for index in range(len(hexadecimal) - 2, -1, -2))

"""Everything that QEMU says, as one stream: stops, guest reports, console lines, QMP events, its end."""

import asyncio
import collections
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Protocol

from qemu.qmp import ConnectError, EventListener, ExecInterruptedError, ExecuteError, QMPClient

from fadump.errors import MachineError, SetupError
from fadump.machine.channel import Report
from fadump.machine.contract import Called, LetGo
from fadump.machine.qemu.gdb import GdbClient, Stop
from fadump.machine.qemu.guest import LONGEST_LINE_BYTES, read_report
from fadump.machine.qemu.process import GUEST, QemuConfig, QemuProcess
from fadump.machine.qemu.registers import RegisterFile

_CONSOLE_LINES = 12
_READ_BYTES = 0x10000
_POWER_OFF = "guest-shutdown"
_ANSI = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


class ConsoleLog(Protocol):
    """What takes the console as it comes; a file that is open for writing is one."""

    def write(self, data: bytes, /) -> int:
        """Take some bytes."""

    def flush(self) -> None:
        """Hold nothing back."""


class Reset:
    """QEMU has reset the machine, whoever asked for it."""


class Ended:
    """The machine can't go on; ``powered_off`` if the guest wants it so."""

    def __init__(self, reason: str, *, powered_off: bool = False) -> None:
        self.reason = reason
        self.powered_off = powered_off


Message = Stop | Reset | Ended | Called | LetGo | Report


class QemuLink:
    """A started QEMU with its connections served; ``inbox`` holds what it said, in order."""

    def __init__(self, process: QemuProcess, console_log: ConsoleLog, failure: Callable[[str], bool]) -> None:
        self.console: collections.deque[str] = collections.deque(maxlen=_CONSOLE_LINES)
        self.inbox: asyncio.Queue[Message] = asyncio.Queue()
        self._process = process
        self._console_log = console_log
        self._failure = failure
        self._qmp = QMPClient("fadump")
        self._events = EventListener(("RESET", "SHUTDOWN"))
        self._tasks: list[asyncio.Task[None]] = []
        self._unfinished_line = ""
        self._writers: list[asyncio.StreamWriter] = []

    @classmethod
    async def start(
        cls,
        config: QemuConfig,
        ram_fds: Sequence[int],
        disk_fd: int | None,
        console_log: ConsoleLog,
        failure: Callable[[str], bool],
    ) -> "QemuLink":
        """Start QEMU, its guest held before the first instruction.

        ``failure`` is asked about every console line; a line it says yes to ends the run at once.

        :raises SetupError: there is no QEMU, or it ended instead; the sentence has its last words.
        """
        link = cls(await QemuProcess.start(config, ram_fds, disk_fd), console_log, failure)
        try:
            await link._connect()
        except BaseException:
            await link.close()
            raise
        return link

    async def _connect(self) -> None:
        sockets = self._process.connections
        self._qmp.register_listener(self._events)
        try:
            await self._qmp.connect(sockets["qmp"])
        except (ConnectError, EOFError, OSError):
            raise SetupError(await self._process.wait()) from None
        reader, writer = await asyncio.open_connection(sock=sockets["gdb"])
        self.gdb = GdbClient(reader, writer, self.inbox.put_nowait)
        self.registers = await RegisterFile.describe(self.gdb)
        console_reader, self._console_writer = await asyncio.open_connection(sock=sockets["console"])
        self._writers = [self._console_writer]
        self._spawn(self._read_console(console_reader))
        if GUEST in sockets:
            guest_reader, self._guest_writer = await asyncio.open_connection(
                sock=sockets[GUEST], limit=LONGEST_LINE_BYTES
            )
            self._writers.append(self._guest_writer)
            self._spawn(self._read_guest(guest_reader))
        self._spawn(self._read_events())
        self._spawn(self._await_end())

    async def monitor(self, command: str, cpu_index: int = 0) -> str:
        """What QEMU's human monitor prints for a command; ``cpu_index`` is the CPU that it is about."""
        arguments = {"command-line": command, "cpu-index": cpu_index}
        return str(await self.execute("human-monitor-command", arguments))

    async def execute(self, command: str, arguments: Mapping[str, object] | None = None) -> Any:  # noqa: ANN401 - JSON
        """Run a QMP command."""
        try:
            return await self._qmp.execute(command, arguments)
        except (ExecuteError, ExecInterruptedError, OSError) as error:
            raise MachineError(f"QEMU refused {command}: {error}") from error

    async def send_to_guest(self, line: bytes) -> None:
        """Write to the guest's port; the guest reads when it gets there."""
        self._guest_writer.write(line)
        await self._guest_writer.drain()

    def type(self, keys: bytes) -> None:
        """Send bytes to the guest's console, which the guest reads when it gets there."""
        self._console_writer.write(keys)

    async def close(self) -> None:
        """End QEMU and everything that listens to it."""
        await self._process.kill()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if hasattr(self, "gdb"):
            await self.gdb.close()
        for writer in self._writers:
            writer.close()
            await _quietly(writer.wait_closed())
        await _quietly(self._qmp.disconnect())
        for connection in self._process.connections.values():
            connection.close()

    def _spawn(self, work: Awaitable[None]) -> None:
        self._tasks.append(asyncio.ensure_future(work))

    async def _read_console(self, reader: asyncio.StreamReader) -> None:
        while data := await reader.read(_READ_BYTES):
            self._console_log.write(data)
            self._console_log.flush()
            *lines, self._unfinished_line = (self._unfinished_line + data.decode(errors="replace")).split("\n")
            for line in lines:
                text = _ANSI.sub("", line).strip()
                if text:
                    self.console.append(text)
                if self._failure(text):
                    self.inbox.put_nowait(Ended(f"the guest's console says {text!r}"))

    async def _read_guest(self, reader: asyncio.StreamReader) -> None:
        try:
            while (report := await read_report(reader)) is not None:
                self.inbox.put_nowait(report)
        except MachineError as error:
            self.inbox.put_nowait(Ended(str(error)))

    async def _read_events(self) -> None:
        async for event in self._events:
            data: Mapping[str, Any] = event["data"]  # type: ignore[assignment]  # qemu.qmp types values as object
            if event["event"] == "RESET":
                self.inbox.put_nowait(Reset())
            else:
                reason = data.get("reason", "unknown reason")
                self.inbox.put_nowait(Ended(f"the guest has shut down ({reason})", powered_off=reason == _POWER_OFF))

    async def _await_end(self) -> None:
        self.inbox.put_nowait(Ended(await self._process.wait()))


async def _quietly(work: Awaitable[object]) -> None:
    # A killed QEMU ends its QMP session in one of several ways, none of which matters any more.
    await asyncio.gather(work, return_exceptions=True)

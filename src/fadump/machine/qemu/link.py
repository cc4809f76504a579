"""Everything that QEMU says, as one stream: stops, guest reports, console lines, QMP events, its end."""

import asyncio
import collections
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any

from qemu.qmp import ConnectError, EventListener, ExecuteError, QMPClient, QMPError

from fadump.errors import MachineError, SetupError, reason
from fadump.machine.channel import Report
from fadump.machine.contract import Called, ConsoleLog, LetGo
from fadump.machine.qemu.config import QemuConfig
from fadump.machine.qemu.gdb import GdbClient, GoneError, Stop
from fadump.machine.qemu.guest import LONGEST_LINE_BYTES, read_report
from fadump.machine.qemu.host_delay import HostDelay
from fadump.machine.qemu.process import CONSOLE, GUEST, QemuProcess
from fadump.machine.qemu.registers import RegisterFile
from fadump.machine.qemu.started import EARLY_COMMANDS, StartedQemu

_CONSOLE_LINES = 12
_READ_BYTES = 0x10000
_MOST_CHARACTERS = 0x400
"""What is looked at of a line: a guest may write one without an end."""
_ENDING_SECONDS = 5.0
"""How long a QEMU may take from closing its connections to its end."""
_POWER_OFF = "guest-shutdown"
_KILLED = "host-signal"
_RUNNING = "running"
_DEBUG = "debug"
"""QEMU's words for a guest that runs, and for one that a breakpoint has stopped."""
_ANSI = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


class Reset:
    """QEMU has reset the machine, whoever asked for it."""


class Resumed:
    """The guest of a QEMU that is somebody else's has been let go by them."""


class Ended:
    """The machine can't go on; ``powered_off`` if the guest wants it so."""

    def __init__(self, reason: str, *, powered_off: bool = False) -> None:
        self.reason = reason
        self.powered_off = powered_off


Message = Stop | Reset | Resumed | Ended | Called | LetGo | Report


class QemuLink:
    """A started QEMU with its connections served; ``inbox`` holds what it said, in order."""

    def __init__(
        self, process: QemuProcess | StartedQemu, console_log: ConsoleLog, failure: Callable[[str], bool]
    ) -> None:
        self.console: collections.deque[str] = collections.deque(maxlen=_CONSOLE_LINES)
        self.inbox: asyncio.Queue[Message] = asyncio.Queue()
        self._process = process
        self._started = process if isinstance(process, StartedQemu) else None
        self.is_held = self._started is not None and self._started.is_held
        """Whether somebody else holds the guest, who lets it go; only where it is somebody else's."""
        self.let_go_by_others = 0
        """How often they have."""
        self.host_delay = HostDelay(process.process.pid) if isinstance(process, QemuProcess) else None
        """None where QEMU is somebody else's."""
        self._console_log = console_log
        self._failure = failure
        self._qmp = QMPClient("fadump")
        self._events = EventListener(("RESET", "SHUTDOWN", "RESUME"))
        self._tasks: list[asyncio.Task[None]] = []
        self._unfinished_line = ""
        self._writers: list[asyncio.StreamWriter] = []
        self._early_breakpoint = None if self._started is None else self._started.reset_address

    @classmethod
    async def start(
        cls,
        config: QemuConfig,
        ram_fds: Sequence[int],
        disk_fd: int | None,
        console_log: ConsoleLog,
        failure: Callable[[str], bool],
    ) -> "QemuLink":
        """Start QEMU, its guest held before the first instruction; or take the one that is started.

        ``failure`` is asked about every console line; a line it says yes to ends the run at once.

        :raises SetupError: there is no QEMU, or it ended instead; the sentence has its last words.
        """
        process = config.started or await QemuProcess.start(config, ram_fds, disk_fd)
        link = cls(process, console_log, failure)
        try:
            await link._connect()
        except GoneError as error:
            why = await link.in_better_words(error)
            await link.close()
            raise SetupError(str(why)) from error
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
        self.gdb = GdbClient(
            reader, writer, self.inbox.put_nowait, self._stub_is_gone, shared=self._started is not None
        )
        if self._started is not None:
            await self.gdb.early_replies(EARLY_COMMANDS)
        self.registers = await RegisterFile.describe(self.gdb)
        if CONSOLE in sockets:
            console_reader, self._console_writer = await asyncio.open_connection(sock=sockets[CONSOLE])
            self._writers.append(self._console_writer)
            self._spawn(self._read_console(console_reader))
        if GUEST in sockets:
            guest_reader, self._guest_writer = await asyncio.open_connection(
                sock=sockets[GUEST], limit=LONGEST_LINE_BYTES
            )
            self._writers.append(self._guest_writer)
            self._spawn(self._read_guest(guest_reader))
        self._spawn(self._read_events())
        self._spawn(self._await_end())

    @property
    def pid(self) -> int:
        """QEMU's process.

        :raises MachineError: it is somebody else's.
        """
        if isinstance(self._process, StartedQemu):
            raise MachineError("QEMU is somebody else's: its memory is not looked at")
        return self._process.process.pid

    async def monitor(self, command: str, cpu_index: int = 0) -> str:
        """What QEMU's human monitor prints for a command; ``cpu_index`` is the CPU that it is about."""
        arguments = {"command-line": command, "cpu-index": cpu_index}
        return str(await self.execute("human-monitor-command", arguments))

    async def execute(self, command: str, arguments: Mapping[str, object] | None = None) -> Any:  # noqa: ANN401 - JSON
        """Run a QMP command.

        :raises GoneError: the connection is gone.
        :raises MachineError: QEMU refuses it.
        """
        try:
            return await self._qmp.execute(command, arguments)
        except ExecuteError as error:
            raise MachineError(f"QEMU refused {command}: {error}") from error
        except (QMPError, OSError) as error:
            raise GoneError("QEMU has closed its monitor") from error

    async def in_better_words(self, error: GoneError) -> MachineError:
        """Why a connection is gone: how QEMU has ended, if it is ours and has."""
        if self._started is not None:
            return error
        with suppress(TimeoutError):
            return MachineError(await asyncio.wait_for(self._process.wait(), _ENDING_SECONDS))
        return error

    async def be_there(self) -> None:
        """From now on a guest that is somebody else's may be let go by them; it stands still."""
        if self._early_breakpoint is not None:
            await self.gdb.remove_breakpoint(self._early_breakpoint)
            self._early_breakpoint = None

    async def go(self, actions: str, *, for_user: bool) -> None:
        """Let the guest go, which stands still, as this vCont packet says; ``for_user`` if somebody's gdb wants it so.

        A guest that is somebody else's stays where it is if they hold it, unless it is their gdb that lets it go.
        """
        if self._started is None or for_user:
            self.gdb.go(actions)
        else:
            await self.let_go()

    async def let_go(self) -> None:
        """Let a guest run that is somebody else's; if they hold it, leave that to them."""
        was_let_go = await self.gdb.await_stop()
        if self.is_held and not was_let_go and await self._status() != _DEBUG:
            return
        self.is_held = False
        self.gdb.resumes += 1
        await self.execute("cont")  # which does no harm to a guest that runs already

    async def is_running(self) -> bool:
        """Whether QEMU lets the guest run."""
        return await self._status() == _RUNNING

    async def reset(self) -> None:
        """Reset the guest, which stands still, whatever QEMU is to do when the guest reboots.

        One that is somebody else's stays at its first instruction until :meth:`be_there`, also if they let it go.
        """
        if self._started is not None and self._early_breakpoint is None:
            await self.gdb.insert_breakpoint(self._started.reset_address)
            self._early_breakpoint = self._started.reset_address
        reboot_ends = self._started is not None and self._started.ends_at_reboot
        if reboot_ends:
            await self.execute("set-action", {"reboot": "reset"})
        await self.execute("system_reset")
        if reboot_ends:
            await self.execute("set-action", {"reboot": "shutdown"})

    async def _status(self) -> str:
        return str((await self.execute("query-status"))["status"])

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
            try:
                self._console_log.write(data)
                self._console_log.flush()
            except OSError as error:  # a guest whose console nobody reads any more would stand still
                where = f" to {error.filename}" if error.filename else ""
                self.inbox.put_nowait(Ended(f"the guest's console can't be written{where}: {reason(error)}"))
                return
            *lines, unfinished = (self._unfinished_line + data.decode(errors="replace")).split("\n")
            self._unfinished_line = unfinished[-_MOST_CHARACTERS:]
            for line in lines:
                text = shown_line(line[-_MOST_CHARACTERS:])
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

    def _stub_is_gone(self, reason: str) -> None:
        if self._started is not None:  # else QEMU is gone, which is told in better words
            self.inbox.put_nowait(Ended(reason))

    async def _read_events(self) -> None:
        async for event in self._events:
            if event["event"] == "RESET":
                self.inbox.put_nowait(Reset())
            elif event["event"] == "RESUME":
                if self.gdb.resumes:
                    self.gdb.resumes -= 1
                elif self._started is not None:
                    self.let_go_by_others += 1
                    self.inbox.put_nowait(Resumed())
            elif self._started is None:  # else it is reset or ended, as its owner likes
                data: Mapping[str, Any] = event["data"]  # type: ignore[assignment]  # qemu.qmp types values as object
                reason = data.get("reason", "unknown reason")
                if reason == _KILLED:
                    continue  # QEMU itself ends, and says more
                self.inbox.put_nowait(Ended(f"the guest has shut down ({reason})", powered_off=reason == _POWER_OFF))

    async def _await_end(self) -> None:
        self.inbox.put_nowait(Ended(await self._process.wait()))


def shown_line(line: str) -> str:
    """What a terminal shows of a line that may go back to its start, as SLOF's progress does, without colours."""
    return _ANSI.sub("", line).strip().rpartition("\r")[2].strip()


async def _quietly(work: Awaitable[object]) -> None:
    # A killed QEMU ends its QMP session in one of several ways, none of which matters any more.
    await asyncio.gather(work, return_exceptions=True)

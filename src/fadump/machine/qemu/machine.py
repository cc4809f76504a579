"""A stock QEMU machine that a firmware outside QEMU serves.

The guest runs until it reaches the kernel's entry (a handover) or makes one of our firmware calls; it stands
still while either is handled. QEMU knows nothing of FADump: the device tree leads the kernel to the entry page
(:mod:`.entry_page`), guest RAM is a file that we map too, and ``system_reset`` leaves it as it is.
"""

import asyncio
import os
import re
from collections.abc import Callable, Coroutine, Sequence
from functools import partial
from types import TracebackType
from typing import Any, BinaryIO, Self, TypeVar

from fadump.abi.platform import Platform
from fadump.abi.registers import CpuRegisters
from fadump.errors import FadumpError, MachineError, SetupError
from fadump.firmware.contract import Answer, FirmwareCall, PassThrough
from fadump.machine.channel import Crash, GuestChannel, Report, Request
from fadump.machine.contract import Called, Event, FirmwareMemory, GuestReset, Handover, Stopped
from fadump.machine.qemu import handover as trees
from fadump.machine.qemu.board import Board
from fadump.machine.qemu.entry_page import EntryPage
from fadump.machine.qemu.gdb import Stop
from fadump.machine.qemu.guest import encode_request
from fadump.machine.qemu.keep import KeptMemory
from fadump.machine.qemu.link import Ended, Message, QemuLink, Reset
from fadump.machine.qemu.powernv import PowernvBoard
from fadump.machine.qemu.process import Fault, QemuConfig, dimm_device, dimm_id, guest_ram_file
from fadump.machine.qemu.pseries import PseriesBoard
from fadump.machine.qemu.registers import (
    MSR_DR_IR,
    MSR_PR,
    Ask,
    cpu_index,
    parse_info_registers,
)
from fadump.memory.devicetree import DeviceTree
from fadump.memory.guest import GuestMemory, Segment
from fadump.memory.ranges import RangeSet

_FAILURE = re.compile(r"Kernel panic - not syncing|Oops: |fadump-guest: (no virtio-serial port|\S+ can't be opened)")
_SKIBOOT_WITH_SMT = 8
"""The major version of the first QEMU that is not known to hang: 7.2 does, 11.1 doesn't."""
_T = TypeVar("_T")


def _board(config: QemuConfig) -> Board:
    match config.platform:
        case Platform.PSERIES:
            return PseriesBoard()
        case Platform.POWERNV if config.kernel is not None:
            return PowernvBoard(config.kernel)
        case Platform.POWERNV:
            raise SetupError("QEMU's powernv starts no boot loader from a disk: give a --kernel")


class QemuMachine:
    """A machine in a QEMU of its own. Use as a context manager: leaving it ends QEMU.

    ``disk_fd`` is a file as large as the largest dump, which the guest sees as its first disk. ``console_log``
    gets the console as it comes. A kernel that panics unasked stops the machine at once.

    :raises SetupError: there is no QEMU, or it does not start; or the host has no memory for the guest.
    """

    def __init__(self, config: QemuConfig, disk_fd: int | None, console_log: BinaryIO) -> None:
        self._config = config
        self._board = _board(config)
        self._disk_fd = disk_fd
        self._console_log = console_log
        self._runner = asyncio.Runner()
        self._segments = [Segment(piece, guest_ram_file(piece.size_bytes), 0) for piece in config.memory]
        self._memory = GuestMemory(self._segments)
        self._kept: KeptMemory | None = None
        self._threads: dict[str, int] = {}  # the stub's name -> the platform's
        self._entry_page: EntryPage | None = None
        self._firmware_memory: Sequence[FirmwareMemory] = ()
        self._breakpoint: int | None = None
        self._boot = 0
        self._tree_place: trees.TreePlace | None = None
        self._stopped_thread = ""
        self._crash_expected = False
        self._was_pressed = False
        self.foreign_stops = 0
        """How often a breakpoint matched an address that wasn't ours, in translated or user code."""
        self.put_back_bytes = 0
        """How much memory the last handover restored, in whole chunks."""

    def __enter__(self) -> Self:
        try:
            self._link = self._run(
                QemuLink.start(
                    self._config,
                    [segment.fd for segment in self._segments],
                    self._disk_fd,
                    self._console_log,
                    self._is_failure,
                )
            )
            self._run(self._start())
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End QEMU and give its memory back to the host."""
        try:
            if hasattr(self, "_link"):
                self._run(self._link.close())
        finally:
            self._runner.close()
            self.forget_kept()
            self._memory.close()
            for segment in self._segments:
                os.close(segment.fd)

    @property
    def guest(self) -> GuestChannel | None:
        return self if self._config.has_guest_channel else None

    @property
    def memory(self) -> GuestMemory:
        return self._memory

    @property
    def segments(self) -> Sequence[Segment]:
        return self._segments

    @property
    def firmware_memory(self) -> Sequence[FirmwareMemory]:
        return self._firmware_memory

    def next_event(self, seconds: float) -> Event:
        """Wait for the guest.

        Where it stands still in an event, one of :meth:`enter`, :meth:`answer` and :meth:`reset` has to let it go
        before the next one.
        """
        try:
            return self._run(asyncio.wait_for(self._next_event(), seconds))
        except TimeoutError:
            return self._stopped(f"nothing has happened for {seconds:g} seconds")
        except FadumpError as error:
            return self._stopped(str(error))

    def enter(self, handover: Handover, tokens: frozenset[int]) -> None:
        """Write the edited tree and the entry page, put back what was kept, and let the kernel start."""
        assert self._tree_place is not None  # noqa: S101 - set by the handover that is answered here
        self._run(self._enter(handover.tree, tokens, self._tree_place))

    def answer(self, call: FirmwareCall, outcome: Answer | PassThrough) -> None:
        """Return to the caller with status and results, or go on into the machine's own RTAS or OPAL."""
        self._run(self._answer(call, outcome))

    def cpus(self) -> Sequence[CpuRegisters]:
        return self._run(self._read_cpus())

    def reset(self, keep: RangeSet) -> None:
        if self._kept is None:  # else the capture kernel has crashed, and may have written where it must not
            self._kept = KeptMemory(self._memory, keep)
        self._run(self._reset())

    def forget_kept(self) -> None:
        if self._kept is not None:
            self._kept.close()
            self._kept = None

    def ask(self, request: Request) -> None:
        self._crash_expected = isinstance(request, Crash)
        self._run(self._link.send_to_guest(encode_request(request)))

    def inject_nmi(self) -> None:
        self._crash_expected = True
        self._run(self._link.execute("inject-nmi"))

    def halt(self) -> None:
        self._run(self._interrupt())

    def press_reset(self) -> None:
        self._run(self._press_reset())

    def type(self, keys: bytes) -> None:
        """Type on the guest's console."""
        self._link.type(keys)

    def call(self) -> None:
        """Let :meth:`next_event` return a :class:`Called`; for what is watched."""
        self._link.inbox.put_nowait(Called())

    def watch(self, fd: int, readable: Callable[[], object]) -> None:
        """While :meth:`next_event` waits, call ``readable`` whenever there is something to read from a file.

        It must not use the machine, but for :meth:`type` and :meth:`call`.

        :raises PermissionError: the file is one that nobody can wait for, such as one on a disk.
        """
        self._runner.get_loop().add_reader(fd, readable)

    def unwatch(self, fd: int) -> None:
        """Call for a file's content no more."""
        self._runner.get_loop().remove_reader(fd)

    def unplug_dimm(self) -> None:
        """Ask the guest to let the first DIMM go, which takes a moment; its bytes stay where they are."""
        self._run(self._link.execute("device_del", {"id": dimm_id(self._config)}))

    def plug_dimm(self) -> None:
        """Put it back in its place; the guest puts it online in a moment."""
        self._run(self._link.execute("device_add", dimm_device(self._config)))

    def _run(self, work: Coroutine[Any, Any, _T]) -> _T:
        return self._runner.run(work)

    def _is_failure(self, console_line: str) -> bool:
        return self._config.has_guest_channel and not self._crash_expected and _FAILURE.search(console_line) is not None

    def _stopped(self, reason: str) -> Stopped:
        return Stopped(reason, tuple(self._link.console))

    async def _next_event(self) -> Event:
        if self._was_pressed:
            self._was_pressed = False
            return GuestReset()
        while True:
            message: Message = await self._link.inbox.get()
            match message:
                case Report() | Called():
                    return message
                case Ended():
                    return Stopped(message.reason, tuple(self._link.console), message.powered_off)
                case Reset():  # not our own: _reset() waits for that
                    await self._await_next_handover()
                    return GuestReset()
                case Stop(thread=thread):
                    event = await self._stop_event(thread)
                    if event is not None:
                        return event

    async def _start(self) -> None:
        if self._config.platform is Platform.POWERNV and self._config.smt > 1:
            version = (await self._link.execute("query-version"))["qemu"]
            if version["major"] < _SKIBOOT_WITH_SMT:
                raise SetupError(
                    f"the skiboot of QEMU {version['major']}.{version['minor']} hangs with more than one thread per "
                    "core: give --qemu newest, or leave out --smt"
                )
        await self._break_at(self._board.kernel_entry)
        self._link.gdb.resume()

    async def _stop_event(self, thread: str) -> Event | None:
        """What a stop means; None if it meant nothing to us and the guest runs again."""
        pc, msr = await self._link.registers.read(thread, "pc", "msr")
        if not msr & (MSR_DR_IR | MSR_PR):
            self._stopped_thread = thread
            if self._entry_page is not None and pc == self._entry_page.stop_address:
                return await self._firmware_call(thread, self._entry_page)
            if self._entry_page is None and pc == self._board.kernel_entry:
                if await self._board.is_handover(self._link.registers, thread):
                    return await self._handover(thread)
                await self._step_over_breakpoint(thread)
                return None
        self.foreign_stops += 1
        await self._step_over_breakpoint(thread)
        return None

    async def _handover(self, thread: str) -> Handover:
        (tree_address,) = await self._link.registers.read(thread, "r3")
        tree, self._tree_place = trees.read_tree(self._memory, tree_address)
        await self._name_cpus(tree)
        self._boot += 1
        self._crash_expected = False
        return Handover(self._boot, tree)

    async def _name_cpus(self, tree: DeviceTree) -> None:
        """Match the stub's threads, which count QEMU's CPU indices from 1, with the platform's names."""
        core_ids = [cpu.get("props", {}).get("core-id") for cpu in await self._link.execute("query-cpus-fast")]
        names = self._board.cpu_ids(tree, core_ids)
        self._threads = {
            thread: name for thread, name in zip(await self._link.gdb.threads(), names, strict=True) if name is not None
        }

    async def _enter(self, tree: DeviceTree, tokens: frozenset[int], found: trees.TreePlace) -> None:
        reserve = Fault.NO_RESERVED_RANGES not in self._config.faults
        prepared = self._board.prepare(tree, found, self._memory.ram, tokens, reserve=reserve)
        self._firmware_memory = prepared.firmware_memory
        if self._kept is not None and Fault.NO_PUT_BACK not in self._config.faults:
            self.put_back_bytes = self._kept.put_back(prepared.live)
        page = prepared.page
        trees.write_tree(self._memory, tree, prepared.tree_place)
        await self._link.gdb.select(self._stopped_thread)
        await self._link.gdb.write_code(page.address, page.code)
        if prepared.tree_place != found:
            await self._link.registers.write(self._stopped_thread, "r3", prepared.tree_place.address)
        await self._break_at(page.stop_address)
        self._entry_page = page
        self._link.gdb.resume()

    async def _firmware_call(self, thread: str, page: EntryPage) -> FirmwareCall | None:
        call = await self._board.read_call(self._link.registers, self._memory, thread, self._threads[thread])
        if call is None:
            await self._go_on(thread, page.pass_address)
        return call

    async def _answer(self, call: FirmwareCall, outcome: Answer | PassThrough) -> None:
        assert self._entry_page is not None  # noqa: S101 - the call came through it
        thread = self._stopped_thread
        match outcome:
            case Answer():
                await self._board.write_answer(self._link.registers, self._memory, thread, call, outcome)
                (continue_at,) = await self._link.registers.read(thread, "lr")
            case PassThrough():
                continue_at = self._entry_page.pass_address
        await self._go_on(thread, continue_at)

    async def _go_on(self, thread: str, address: int) -> None:
        await self._link.registers.write(thread, "pc", address)
        self._link.gdb.resume()

    async def _read_cpus(self) -> Sequence[CpuRegisters]:
        # QEMU answers once it has let what its devices had in flight come to its end.
        if (await self._link.execute("query-status"))["running"]:
            raise MachineError("the guest runs, its CPUs can't be read")
        monitor = parse_info_registers(await self._link.monitor("info registers -a"))
        shown = dict(zip(await self._link.gdb.threads(), monitor, strict=True))
        return [
            await self._link.registers.read_all(thread, cpu_id, shown[thread], self._asker(thread))
            for thread, cpu_id in sorted(self._threads.items(), key=lambda numbered: numbered[1])
            if self._board.is_online(shown[thread])
        ]

    def _asker(self, thread: str) -> Ask:
        return partial(self._link.monitor, cpu_index=cpu_index(thread))

    async def _press_reset(self) -> None:
        if self._link.gdb.running:
            await self._link.execute("system_reset")
        else:  # it stands still in an event, which is not answered any more
            await self._reset()
            self._was_pressed = True

    async def _reset(self) -> None:
        self._entry_page = None
        await self._break_at(self._board.kernel_entry)
        await self._link.execute("system_reset")
        while not isinstance(message := await self._link.inbox.get(), Reset):
            if isinstance(message, Ended):
                raise MachineError(message.reason)
        self._link.gdb.resume()

    async def _interrupt(self) -> None:
        """Stop the guest, if it runs; what it reports meanwhile is dropped."""
        if self._link.gdb.running:
            self._link.gdb.interrupt()
        while not isinstance(message := await self._link.inbox.get(), Stop):  # that of a call just made, perhaps
            if isinstance(message, Ended):
                raise MachineError(message.reason)

    async def _await_next_handover(self) -> None:
        """The guest was reset and runs on: catch it before its boot firmware has found the kernel."""
        await self._interrupt()
        self._entry_page = None
        await self._break_at(self._board.kernel_entry)
        self._link.gdb.resume()

    async def _break_at(self, address: int) -> None:
        """Move the one breakpoint that the machine needs at a time."""
        if self._breakpoint is not None:
            await self._link.gdb.remove_breakpoint(self._breakpoint)
        await self._link.gdb.insert_breakpoint(address)
        self._breakpoint = address

    async def _step_over_breakpoint(self, thread: str) -> None:
        assert self._breakpoint is not None  # noqa: S101 - it stopped the guest
        await self._link.gdb.remove_breakpoint(self._breakpoint)
        await self._link.gdb.step(thread)
        await self._link.gdb.insert_breakpoint(self._breakpoint)
        self._link.gdb.resume()

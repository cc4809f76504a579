"""The guest of a QEMU machine: what its stops mean, and how it goes on after each.

It runs until it reaches the kernel's entry (a handover) or makes one of our firmware calls; it stands still while
either is handled. Which stop can come next is its phase (:mod:`.phases`).
"""

import socket
from collections.abc import Mapping
from contextlib import AsyncExitStack, suppress
from dataclasses import replace
from typing import TypeVar

from fadump.errors import MachineError
from fadump.firmware.contract import Answer, FirmwareCall, PassThrough
from fadump.machine.channel import Report
from fadump.machine.contract import (
    BootStart,
    Called,
    Event,
    FirmwareEnd,
    GuestReset,
    Handover,
    KdumpStart,
    LetGo,
    Stopped,
)
from fadump.machine.qemu import handover as trees
from fadump.machine.qemu.board import Board, OwnEnd
from fadump.machine.qemu.boot_loader import boot_tree_place
from fadump.machine.qemu.config import Fault, QemuConfig
from fadump.machine.qemu.cpus import name_cpus, plug_core
from fadump.machine.qemu.debugger import Debugger
from fadump.machine.qemu.gdb import Breakpoints, Stop
from fadump.machine.qemu.gdb_port import open_port
from fadump.machine.qemu.hash_table import GuestHashTable
from fadump.machine.qemu.keep import KeptMemory
from fadump.machine.qemu.kernel_entry import StoppedCpu, kernel_byte_order
from fadump.machine.qemu.link import Ended, Message, QemuLink, Reset, Resumed
from fadump.machine.qemu.phases import (
    NO_BOOT,
    BeforeBoot,
    BeforeKdump,
    Boot,
    Calling,
    Ending,
    Halted,
    HandedOver,
    InKdump,
    Phase,
    Pressed,
    Running,
    Starting,
    in_phase,
    shown_in,
)
from fadump.machine.qemu.registers import MSR_DR_IR, MSR_PR
from fadump.memory.devicetree import DeviceTree
from fadump.memory.guest import GuestMemory
from fadump.memory.ranges import Range, RangeSet

_M = TypeVar("_M", Stop, Reset)


class ServedGuest:
    """Follows a guest that stands at its first instruction, from :meth:`start` until ``ends`` does."""

    debugger: Debugger

    def __init__(self, config: QemuConfig, board: Board, memory: GuestMemory, link: QemuLink) -> None:
        self._board = board
        self._memory = memory
        self._link = link
        self._breakpoints = Breakpoints(link.gdb)
        self._is_ours = config.started is None
        self._faults = config.faults
        self.hash_table = GuestHashTable(config, board, memory, link, lambda: self._await(Stop))
        self._kept: KeptMemory | None = None
        self._phase: Phase = Starting(NO_BOOT, board.kernel_entry)
        self.was_left = False
        """Whether a QEMU that is somebody else's goes on without us."""
        self.stops = 0
        """How often a breakpoint has stopped the guest."""
        self.foreign_stops = 0
        """How often a breakpoint matched an address that wasn't ours, in translated or user code."""
        self.put_back_bytes = 0
        """How much memory the last handover restored, in whole chunks."""

    @classmethod
    async def start(
        cls,
        config: QemuConfig,
        board: Board,
        memory: GuestMemory,
        link: QemuLink,
        listener: socket.socket | None,
        ends: AsyncExitStack,
    ) -> "ServedGuest":
        """Let the guest go for the first time; somebody's gdb is served on ``listener``."""
        guest = cls(config, board, memory, link)
        ends.callback(guest.forget_kept)
        if config.started is not None and config.started.gdb_device:
            ends.push_async_callback(guest._give_stub_back, config.started.gdb_device)
        guest.debugger = await open_port(
            listener, link, lambda: guest._breakpoints.addresses, lambda: shown_in(guest._phase), ends
        )
        await guest._breakpoints.move(board.kernel_entry.address)
        if not guest._is_ours:
            ends.push_async_callback(guest._leave)
        guest._phase = await guest._begin(NO_BOOT)
        return guest

    @property
    def boot(self) -> Boot:
        """The last one that has come to its kernel."""
        return self._phase.boot

    @property
    def awaited(self) -> str | None:
        """What a boot firmware or a boot loader is to do next; None if neither runs."""
        return self._phase.entry.awaited if isinstance(self._phase, Starting) else None

    async def next_event(self) -> Event:
        """Wait for what the guest does, or what somebody does to it."""
        match self._phase:
            case Pressed(following=following):
                self._phase = following
                return GuestReset()
            case BeforeBoot(place=place):
                return BootStart(trees.read_tree(self._memory, place.address)[0])
        while True:
            message: Message = await self._link.inbox.get()
            match message:
                case Report() | Called() | LetGo():
                    return message
                case Ended():
                    return Stopped(message.reason, tuple(self._link.console), message.powered_off)
                case Reset():  # not our own: _reset() waits for that
                    # Once more, while it stands still: so nothing of its boot is missed.
                    await self._interrupt()
                    self._phase = await self._reset()
                    return GuestReset()
                case Resumed():
                    await self.debugger.let_go_by_others()
                case Stop():
                    event = await self._stop_event(message)
                    if event is not None:
                        return event

    async def start_boot(self, tree: DeviceTree) -> None:
        """Let boot firmware start with this tree.

        :raises MachineError: the guest doesn't stand before it.
        """
        before = in_phase(self._phase, BeforeBoot)
        trees.write_tree(self._memory, tree, before.place)
        self._phase = Starting(before.boot, self._board.kernel_entry)
        await self._resume()

    async def enter(self, tree: DeviceTree, tokens: frozenset[int]) -> None:
        """Write the edited tree and the entry page, put back what was kept, and let the kernel start.

        :raises MachineError: no kernel is being handed over, or it lies in memory that is kept.
        """
        found = in_phase(self._phase, HandedOver)
        reserve = Fault.NO_RESERVED_RANGES not in self._faults
        prepared = self._board.prepare(tree, found.place, self._memory.ram, tokens, reserve=reserve)
        if self._kept is not None:
            self._kept.check(prepared.images | RangeSet([Range.sized(found.entry, trees.LARGEST_PAGE_BYTES)]))
        if self._kept is not None and Fault.NO_PUT_BACK not in self._faults:
            self.put_back_bytes = self._kept.put_back(prepared.live)
        page = prepared.page
        trees.write_tree(self._memory, tree, prepared.tree_place)
        await self._link.gdb.select(found.thread)
        await self._link.gdb.write_code(page.address, page.code)
        if prepared.tree_place != found.place:
            await self._link.registers.write(found.thread, "r3", prepared.tree_place.address)
        boot = replace(found.boot, firmware_memory=prepared.firmware_memory)
        running = Running(boot, page, self._board.own_end(tree, self._memory))
        await self._breakpoints.move(*running.stops)
        self._phase = running
        await self._resume()

    async def answer(self, call: FirmwareCall, outcome: Answer | PassThrough) -> None:
        """Return to the caller with status and results, or go on into the machine's own RTAS or OPAL.

        :raises MachineError: no call waits for an answer.
        """
        calling = in_phase(self._phase, Calling)
        match outcome:
            case Answer():
                await self._board.write_answer(self._link.registers, self._memory, calling.thread, call, outcome)
                (continue_at,) = await self._link.registers.read(calling.thread, "lr")
            case PassThrough():
                continue_at = calling.running.page.pass_address
        self._phase = calling.running
        await self._go_on(calling.thread, continue_at)

    async def end(self) -> bool:
        """Pass a call on to the machine's own firmware, which ends itself by it; False: it has no end of its own.

        :raises MachineError: no call waits for an answer.
        """
        calling = in_phase(self._phase, Calling)
        ending = calling.running.ending
        if ending is not None:
            await self._breakpoints.move(ending.own_end.address)
            self._phase = ending
            await self._go_on(calling.thread, calling.running.page.pass_address)
        return ending is not None

    async def crash_firmware(self) -> None:
        """Spoil the machine's own firmware, so that it ends itself by its next call.

        :raises MachineError: no kernel runs, or that firmware can't be made to fail.
        """
        ending = in_phase(self._phase, Running).ending
        if ending is None:
            raise MachineError("the machine's firmware lists no symbols by which it could be made to fail")
        await self._interrupt()
        self._memory.write(ending.own_end.switch, ending.own_end.failure)
        await self._breakpoints.move(ending.own_end.address)
        self._phase = ending
        await self._resume()

    async def reset(self, keep: RangeSet, hash_tables: tuple[Range, ...] = ()) -> None:
        """Reset the guest; what is to be kept is put back at the next handover, the hash page table with it."""
        if self._kept is None:  # else the capture kernel has crashed, and may have written where it must not
            self._kept = KeptMemory(self._memory, keep)
            await self.hash_table.keep(self._kept, hash_tables, self._phase, self._breakpoints, self.debugger)
        self._phase = await self._reset()

    def forget_kept(self) -> None:
        """Put nothing back any more."""
        if self._kept is not None:
            self._kept.close()
            self._kept = None

    async def plug_core(self, device: Mapping[str, object]) -> None:
        """Add a core. The stub can't take back a breakpoint that one of the CPUs hasn't, so ours are set anew."""
        running = in_phase(self._phase, Running)
        await self._interrupt()
        await self._breakpoints.remove()
        cpu_ids = await plug_core(self._link, device, running.boot.cpu_ids)
        await self._breakpoints.move(*running.stops)
        self._phase = replace(running, boot=replace(running.boot, cpu_ids=cpu_ids))
        await self._resume()

    async def stop_at_kdump(self, entry: int) -> None:
        """Stop the guest when a kernel starts there. The one that runs must not call our firmware any more.

        :raises MachineError: no kernel runs.
        """
        running = in_phase(self._phase, Running)
        await self._interrupt()
        await self._breakpoints.move(entry)
        self._phase = BeforeKdump(running, entry)
        await self._resume()

    async def start_kdump(self) -> None:
        """Let that kernel start, which finds the entry page in the device tree that it has from its kernel.

        :raises MachineError: no crash kernel waits.
        """
        running = in_phase(self._phase, InKdump).running
        await self._breakpoints.move(*running.stops)
        self._phase = running
        await self._resume()

    async def press_reset(self) -> None:
        """Reset the guest, whatever it does."""
        if self.debugger.running:
            await self._link.execute("system_reset")
        else:  # it stands still in an event, which is not answered any more
            self._phase = Pressed(await self._reset())

    async def halt(self) -> None:
        """Stop the guest wherever it is."""
        await self._interrupt()
        self._phase = Halted.after(self._phase)

    async def _stop_event(self, stop: Stop) -> Event | None:
        """What a stop means; None if it meant nothing to us and the guest runs again, or is held by somebody else."""
        if not self._is_ours and not stop.is_trap:
            self._link.is_held = True
            await self._resume()
            return None
        thread = stop.thread
        self.stops += 1
        self._link.is_held = False
        pc, msr = await self._link.registers.read(thread, "pc", "msr")
        real_mode = not msr & (MSR_DR_IR | MSR_PR)
        match self._phase:
            case Running(page=page) as running if real_mode and pc == page.stop_address:
                return await self._firmware_call(running, thread)
            case Running(boot=boot, own_end=OwnEnd(address=end)) | Ending(boot=boot, own_end=OwnEnd(address=end)) if (
                real_mode and pc == end
            ):
                self._phase = Halted(boot)
                return FirmwareEnd(boot.cpu_id(thread))
            case BeforeKdump(running=running, entry=kdump_entry) if real_mode and pc == kdump_entry:
                self._phase = InKdump(running)
                return KdumpStart()
            case Starting(entry=entry) as starting if real_mode and pc == entry.address:
                return await self._follow(starting, thread)
            case _:
                self.foreign_stops += 1
        await self._breakpoints.step_over(thread)
        await self._resume()
        return None

    async def _firmware_call(self, running: Running, thread: str) -> FirmwareCall | None:
        cpu_id = running.boot.cpu_id(thread)
        call = await self._board.read_call(self._link.registers, self._memory, thread, cpu_id)
        if call is None:
            await self._go_on(thread, running.page.pass_address)
        else:
            self._phase = Calling(running, thread)
        return call

    async def _go_on(self, thread: str, address: int) -> None:
        await self._link.registers.write(thread, "pc", address)
        await self._resume()

    def _cpu(self, thread: str) -> StoppedCpu:
        return StoppedCpu(thread, self._memory, self._link.gdb, self._link.registers)

    async def _follow(self, starting: Starting, thread: str) -> Handover | None:
        """Go to the next stage of the way into the kernel; its end is the handover."""
        following = await starting.entry.reached(self._cpu(thread))
        if following is None:
            return await self._hand_over(starting, thread)
        if following is starting.entry:
            await self._breakpoints.step_over(thread)
        else:
            await self._breakpoints.move(following.address)
            self._phase = Starting(starting.boot, following)
        await self._resume()
        return None

    async def _hand_over(self, starting: Starting, thread: str) -> Handover:
        (tree_address,) = await self._link.registers.read(thread, "r3")
        tree, place = trees.read_tree(self._memory, tree_address)
        cpu_ids = await name_cpus(self._link, self._board, tree)
        byte_order = kernel_byte_order(self._memory, starting.entry.address) or "little"
        number = starting.boot.number + 1
        boot = replace(starting.boot, number=number, cpu_ids=cpu_ids, byte_order=byte_order)
        self._phase = HandedOver(boot, thread, starting.entry.address, place)
        return Handover(boot.number, tree)

    async def _reset(self) -> BeforeBoot | Starting:
        """Reset the guest, which stands still, and begin its next boot."""
        await self._breakpoints.move(self._board.kernel_entry.address)
        await self._link.reset()
        await self._await(Reset)
        return await self._begin(self._phase.boot)

    async def _begin(self, last: Boot) -> BeforeBoot | Starting:
        """The guest stands at its boot firmware's first instruction. Let it go, unless its tree is to be edited."""
        if self._board.has_boot_tree:
            (first, *_others) = await self._link.gdb.threads()
            return BeforeBoot(last, await boot_tree_place(self._cpu(first)))
        await self._resume()
        return Starting(last, self._board.kernel_entry)

    async def _interrupt(self) -> None:
        """Stop the guest, if it runs."""
        let_go_before = self._link.let_go_by_others
        was_running = self._is_ours or await self._link.is_running()
        if self.debugger.running:
            self.debugger.interrupt()
        stop = await self._await(Stop)  # that of a call just made, perhaps
        if self._is_ours:
            return
        await self._link.is_running()  # QEMU answers after it has told of whoever has let the guest go before that
        was_running = was_running or self._link.let_go_by_others != let_go_before
        # A reset has QEMU forget why the guest stands still: by a breakpoint of ours, or by somebody else.
        self._link.is_held = not was_running and not stop.is_trap

    async def _await(self, wanted: type[_M]) -> _M:
        """Wait until QEMU says this. What the guest says meanwhile is dropped, a call from the host is not."""
        called = False
        while not isinstance(message := await self._link.inbox.get(), wanted):
            if isinstance(message, Ended):
                raise MachineError(message.reason)
            if isinstance(message, Resumed):
                await self.debugger.let_go_by_others()
            called = called or isinstance(message, Called)
        if called:
            self._link.inbox.put_nowait(Called())
        return message

    async def _resume(self) -> None:
        """Let the guest go on, which stands still."""
        await self._link.be_there()
        await self.debugger.resume()

    async def _leave(self) -> None:
        """Let a QEMU that is somebody else's go on without us, unless it has ended."""
        if self._link.gdb.is_gone:  # somebody has it now, by their monitor's gdbserver; or QEMU ends
            self.was_left = True
            return
        with suppress(MachineError):
            if self.debugger.running:
                await self._interrupt()
            await self.debugger.remove_all()
            await self._breakpoints.remove()
            await self._link.let_go()
            self.was_left = True

    async def _give_stub_back(self, device: str) -> None:
        """Let QEMU itself serve its owner's gdb, once we don't."""
        if self.was_left and not self._link.gdb.is_gone:
            with suppress(MachineError):
                await self._link.monitor(f"gdbserver {device}")

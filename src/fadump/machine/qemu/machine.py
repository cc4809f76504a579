"""A stock QEMU machine that a firmware outside QEMU serves.

The guest runs until it reaches the kernel's entry (a handover) or makes one of our firmware calls; it stands
still while either is handled. QEMU knows nothing of FADump: the device tree leads the kernel to the entry page
(:mod:`.entry_page`), guest RAM is a file that we map too, and ``system_reset`` leaves it as it is.
"""

import asyncio
import os
import re
from collections.abc import Callable, Coroutine, Mapping, Sequence
from contextlib import AsyncExitStack, ExitStack, suppress
from dataclasses import replace
from types import TracebackType
from typing import Any, Self, TypeVar

from fadump.abi.platform import Platform
from fadump.abi.registers import CpuRegisters
from fadump.errors import FadumpError, MachineError, SetupError
from fadump.firmware.contract import Answer, FirmwareCall, PassThrough
from fadump.machine.channel import Crash, GuestChannel, Report, Request
from fadump.machine.contract import (
    BootStart,
    Called,
    Event,
    FirmwareMemory,
    GuestReset,
    Handover,
    LetGo,
    StopAt,
    Stopped,
)
from fadump.machine.qemu import handover as trees
from fadump.machine.qemu.boards import board_of
from fadump.machine.qemu.boot_loader import LoaderRuns, boot_tree_place
from fadump.machine.qemu.cpus import name_cpus, read_cpus
from fadump.machine.qemu.gdb import Breakpoint, Stop
from fadump.machine.qemu.gdb_port import open_port
from fadump.machine.qemu.gdb_server import listen
from fadump.machine.qemu.guest import encode_request
from fadump.machine.qemu.keep import KeptMemory
from fadump.machine.qemu.kernel_entry import StoppedCpu
from fadump.machine.qemu.link import ConsoleLog, Ended, Message, QemuLink, Reset
from fadump.machine.qemu.phases import (
    NO_BOOT,
    BeforeBoot,
    Boot,
    Calling,
    Halted,
    HandedOver,
    Phase,
    Pressed,
    Running,
    Starting,
    in_phase,
)
from fadump.machine.qemu.process import Fault, QemuConfig, dimm_device, dimm_id, guest_ram_file
from fadump.machine.qemu.registers import MSR_DR_IR, MSR_PR
from fadump.memory.devicetree import DeviceTree
from fadump.memory.guest import GuestMemory, Segment
from fadump.memory.ranges import Range, RangeSet

_FAILURE = re.compile(r"Kernel panic - not syncing|Oops: |fadump-guest: (no virtio-serial port|\S+ can't be opened)")
_SKIBOOT_WITH_SMT = 8
"""The major version of the first QEMU that is not known to hang: 7.2 does, 11.1 doesn't."""
_LOOK_SECONDS = 0.01
"""How soon, at most, a clock that may stand still is looked at again."""
_T = TypeVar("_T")


class QemuMachine:
    """A machine in a QEMU of its own. Use as a context manager: leaving it ends QEMU.

    ``disk_fd`` is a file as large as the largest dump, which the guest sees as its first disk. ``console_log``
    gets the console as it comes. A kernel that panics unasked stops the machine at once.

    :raises SetupError: there is no QEMU, or it does not start; or the host has no memory for the guest.
    """

    def __init__(self, config: QemuConfig, disk_fd: int | None, console_log: ConsoleLog) -> None:
        self._config = config
        self._board = board_of(config)
        self._disk_fd = disk_fd
        self._console_log = console_log
        self._ends = ExitStack()
        self._started = config.started
        ram_fds = self._started.ram_fds if self._started else [guest_ram_file(p.size_bytes) for p in config.memory]
        self._segments = [Segment(piece, fd, 0) for piece, fd in zip(config.memory, ram_fds, strict=True)]
        for segment in self._segments:
            self._ends.callback(os.close, segment.fd)
        self._memory = GuestMemory(self._segments)
        self._ends.callback(self._memory.close)
        self._kept: KeptMemory | None = None
        self._ends.callback(self.forget_kept)
        self._runner = asyncio.Runner()
        self._ends.callback(self._runner.close)
        self._phase: Phase = Starting(NO_BOOT, self._board.kernel_entry)
        self._crash_expected = False
        self._listener = None if config.gdb_port is None else self._ends.enter_context(listen(config.gdb_port))
        self._stop_at = config.stop_at
        self.was_left = False
        """Whether a QEMU that is somebody else's goes on without us."""
        self.stops = 0
        """How often a breakpoint has stopped the guest."""
        self.foreign_stops = 0
        """How often a breakpoint matched an address that wasn't ours, in translated or user code."""
        self.put_back_bytes = 0
        """How much memory the last handover restored, in whole chunks."""

    def __enter__(self) -> Self:
        try:
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
        """End QEMU and give its memory back to the host. May be called twice."""
        self._ends.close()

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
        return self._phase.boot.firmware_memory

    def next_event(self, seconds: float) -> Event:
        """Wait for the guest.

        Where it stands still in an event, one of :meth:`enter`, :meth:`answer` and :meth:`reset` has to let it go
        before the next one.
        """
        try:
            return self._run(self._next_event_within(seconds))
        except TimeoutError:
            awaited = f", waiting for {self._phase.entry.awaited}" if isinstance(self._phase, Starting) else ""
            return self._stopped(f"nothing has happened for {seconds:g} seconds{awaited}")
        except FadumpError as error:
            return self._stopped(str(error))

    def start_boot(self, start: BootStart) -> None:
        self._run(self._start_boot(in_phase(self._phase, BeforeBoot), start.tree))

    def enter(self, handover: Handover, tokens: frozenset[int]) -> None:
        """Write the edited tree and the entry page, put back what was kept, and let the kernel start.

        :raises MachineError: no kernel is being handed over.
        """
        self._run(self._enter(in_phase(self._phase, HandedOver), handover.tree, tokens))

    def answer(self, call: FirmwareCall, outcome: Answer | PassThrough) -> None:
        """Return to the caller with status and results, or go on into the machine's own RTAS or OPAL.

        :raises MachineError: no call waits for an answer.
        """
        self._run(self._answer(in_phase(self._phase, Calling), call, outcome))

    def cpus(self) -> Sequence[CpuRegisters]:
        return self._run(read_cpus(self._link, self._board, self._phase.boot.cpu_ids))

    def reset(self, keep: RangeSet) -> None:
        if self._kept is None:  # else the capture kernel has crashed, and may have written where it must not
            self._kept = KeptMemory(self._memory, keep)
        self._phase = self._run(self._reset())

    def forget_kept(self) -> None:
        if self._kept is not None:
            self._kept.close()
            self._kept = None

    def ask(self, request: Request) -> None:
        self._crash_expected = isinstance(request, Crash)
        self._run(self._link.send_to_guest(encode_request(request)))

    def stand_still(self, point: StopAt) -> bool:
        if point is not self._stop_at:
            return False
        self._stop_at = None
        match point:
            case StopAt.CRASH:
                self._debugger.lend(lambda: self._link.inbox.put_nowait(LetGo()))
                return True
            case _:
                self._debugger.stand_still(in_kernel=point is StopAt.REGISTERED)
                return False

    def inject_nmi(self) -> None:
        self._crash_expected = True
        self._run(self._link.execute("inject-nmi"))

    def halt(self) -> None:
        self._run(self._halt())

    def press_reset(self) -> None:
        self._run(self._press_reset())

    def type(self, keys: bytes) -> None:
        """Type on the guest's console."""
        self._link.type(keys)

    def call(self) -> None:
        """Let :meth:`next_event` return a :class:`Called`; for what is watched."""
        self._link.inbox.put_nowait(Called())

    def call_after(self, seconds: float) -> None:
        """The same, once so many seconds have passed by :meth:`clock`; while :meth:`next_event` waits."""
        due = self.clock() + seconds

        def look() -> None:
            if (left := due - self.clock()) > 0:
                self._runner.get_loop().call_later(max(left, _LOOK_SECONDS), look)
            else:
                self.call()

        look()

    def clock(self) -> float:
        """Seconds on a clock that stands still while somebody's gdb has the guest."""
        return self._debugger.clock()

    def press_power(self) -> None:
        """Ask the guest to power off, as the button of a server does; whether it does is its own affair."""
        self._run(self._link.execute("system_powerdown"))

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

    def monitor(self, command: str) -> str:
        """What QEMU's human monitor prints for a command."""
        return self._run(self._link.monitor(command))

    def _run(self, work: Coroutine[Any, Any, _T]) -> _T:
        return self._runner.run(work)

    def _is_failure(self, console_line: str) -> bool:
        return self._config.has_guest_channel and not self._crash_expected and _FAILURE.search(console_line) is not None

    def _stopped(self, reason: str) -> Stopped:
        return Stopped(reason, tuple(self._link.console))

    async def _next_event_within(self, seconds: float) -> Event:
        async with self._debugger.silence(seconds):
            return await self._next_event()

    async def _next_event(self) -> Event:
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
                case Stop(is_trap=False) if self._started is not None:
                    self._link.is_held = True
                    await self._link.let_go()
                case Stop(thread=thread):
                    event = await self._stop_event(thread)
                    if event is not None:
                        return event

    async def _start(self) -> None:
        self._link = await QemuLink.start(
            self._config,
            [segment.fd for segment in self._segments],
            self._disk_fd,
            self._console_log,
            self._is_failure,
        )
        self._ends.callback(lambda: self._run(self._link.close()))
        await self._check_smt()
        ends = AsyncExitStack()
        self._ends.callback(lambda: self._run(ends.aclose()))
        self._debugger = await open_port(
            self._listener, self._link, lambda: self._breakpoint.address, self._hidden, ends
        )
        self._breakpoint = await Breakpoint.insert(self._link.gdb, self._board.kernel_entry.address)
        if self._started is not None:
            self._ends.callback(lambda: self._run(self._leave()))
        self._phase = await self._begin(NO_BOOT)

    def _hidden(self) -> Mapping[int, bytes]:
        """What memory had where the machine has put instructions of its own, by its address."""
        match self._phase:
            case Starting(entry=LoaderRuns() as stage):
                return stage.patched
            case _:
                return {}

    async def _resume(self) -> None:
        """Let the guest go on, which stands still."""
        if self._started is not None:
            await self._link.let_go()
        else:
            self._debugger.resume()

    async def _leave(self) -> None:
        """Let a QEMU that is somebody else's go on without us, unless it has ended."""
        with suppress(MachineError):
            await self._interrupt()
            await self._breakpoint.remove()
            await self._link.let_go()
            self.was_left = True

    async def _check_smt(self) -> None:
        if self._config.platform is Platform.POWERNV and self._config.smt > 1:
            version = (await self._link.execute("query-version"))["qemu"]
            if version["major"] < _SKIBOOT_WITH_SMT:
                raise SetupError(
                    f"the skiboot of QEMU {version['major']}.{version['minor']} hangs with more than one thread per "
                    "core: give --qemu newest, or leave out --smt"
                )

    async def _stop_event(self, thread: str) -> Event | None:
        """What a stop means; None if it meant nothing to us and the guest runs again."""
        self.stops += 1
        self._link.is_held = False
        pc, msr = await self._link.registers.read(thread, "pc", "msr")
        real_mode = not msr & (MSR_DR_IR | MSR_PR)
        match self._phase:
            case Running(page=page) as running if real_mode and pc == page.stop_address:
                return await self._firmware_call(running, thread)
            case Starting(entry=entry) as starting if real_mode and pc == entry.address:
                return await self._follow(starting, thread)
            case _:
                self.foreign_stops += 1
        await self._breakpoint.step_over(thread)
        await self._resume()
        return None

    async def _start_boot(self, before: BeforeBoot, tree: DeviceTree) -> None:
        trees.write_tree(self._memory, tree, before.place)
        self._phase = Starting(before.boot, self._board.kernel_entry)
        await self._resume()

    def _cpu(self, thread: str) -> StoppedCpu:
        return StoppedCpu(thread, self._memory, self._link.gdb, self._link.registers)

    async def _follow(self, starting: Starting, thread: str) -> Handover | None:
        """Go to the next stage of the way into the kernel; its end is the handover."""
        following = await starting.entry.reached(self._cpu(thread))
        if following is None:
            return await self._hand_over(starting, thread)
        if following is starting.entry:
            await self._breakpoint.step_over(thread)
        else:
            await self._breakpoint.move(following.address)
            self._phase = Starting(starting.boot, following)
        await self._resume()
        return None

    async def _hand_over(self, starting: Starting, thread: str) -> Handover:
        (tree_address,) = await self._link.registers.read(thread, "r3")
        tree, place = trees.read_tree(self._memory, tree_address)
        cpu_ids = await name_cpus(self._link, self._board, tree)
        boot = replace(starting.boot, number=starting.boot.number + 1, cpu_ids=cpu_ids)
        self._phase = HandedOver(boot, thread, starting.entry.address, place)
        self._crash_expected = False
        return Handover(boot.number, tree)

    async def _enter(self, found: HandedOver, tree: DeviceTree, tokens: frozenset[int]) -> None:
        reserve = Fault.NO_RESERVED_RANGES not in self._config.faults
        prepared = self._board.prepare(tree, found.place, self._memory.ram, tokens, reserve=reserve)
        if self._kept is not None:
            self._kept.check(prepared.images | RangeSet([Range.sized(found.entry, trees.LARGEST_PAGE_BYTES)]))
        if self._kept is not None and Fault.NO_PUT_BACK not in self._config.faults:
            self.put_back_bytes = self._kept.put_back(prepared.live)
        page = prepared.page
        trees.write_tree(self._memory, tree, prepared.tree_place)
        await self._link.gdb.select(found.thread)
        await self._link.gdb.write_code(page.address, page.code)
        if prepared.tree_place != found.place:
            await self._link.registers.write(found.thread, "r3", prepared.tree_place.address)
        await self._breakpoint.move(page.stop_address)
        self._phase = Running(replace(found.boot, firmware_memory=prepared.firmware_memory), page)
        await self._resume()

    async def _firmware_call(self, running: Running, thread: str) -> FirmwareCall | None:
        cpu_id = running.boot.cpu_id(thread)
        call = await self._board.read_call(self._link.registers, self._memory, thread, cpu_id)
        if call is None:
            await self._go_on(thread, running.page.pass_address)
        else:
            self._phase = Calling(running, thread)
        return call

    async def _answer(self, calling: Calling, call: FirmwareCall, outcome: Answer | PassThrough) -> None:
        match outcome:
            case Answer():
                await self._board.write_answer(self._link.registers, self._memory, calling.thread, call, outcome)
                (continue_at,) = await self._link.registers.read(calling.thread, "lr")
            case PassThrough():
                continue_at = calling.running.page.pass_address
        self._phase = calling.running
        await self._go_on(calling.thread, continue_at)

    async def _go_on(self, thread: str, address: int) -> None:
        await self._link.registers.write(thread, "pc", address)
        await self._resume()

    async def _press_reset(self) -> None:
        if self._debugger.running:
            await self._link.execute("system_reset")
        else:  # it stands still in an event, which is not answered any more
            self._phase = Pressed(await self._reset())

    async def _reset(self) -> BeforeBoot | Starting:
        """Reset the guest, which stands still, and begin its next boot."""
        await self._breakpoint.move(self._board.kernel_entry.address)
        await self._link.reset()
        while not isinstance(message := await self._link.inbox.get(), Reset):
            if isinstance(message, Ended):
                raise MachineError(message.reason)
        return await self._begin(self._phase.boot)

    async def _begin(self, last: Boot) -> BeforeBoot | Starting:
        """The guest stands at its boot firmware's first instruction. Let it go, unless its tree is to be edited."""
        if self._board.has_boot_tree:
            (first, *_others) = await self._link.gdb.threads()
            return BeforeBoot(last, await boot_tree_place(self._cpu(first)))
        await self._resume()
        return Starting(last, self._board.kernel_entry)

    async def _halt(self) -> None:
        await self._interrupt()
        self._phase = Halted(self._phase.boot)

    async def _interrupt(self) -> None:
        """Stop the guest, if it runs; what it reports meanwhile is dropped."""
        if self._started is not None:
            await self._link.take()
            return
        if self._debugger.running:
            self._debugger.interrupt()
        while not isinstance(message := await self._link.inbox.get(), Stop):  # that of a call just made, perhaps
            if isinstance(message, Ended):
                raise MachineError(message.reason)

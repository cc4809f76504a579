"""A stock QEMU machine that a firmware outside QEMU serves: what it offers to those who serve it and watch it.

QEMU knows nothing of FADump: the device tree leads the kernel to the entry page (:mod:`.entry_page`), guest RAM is a
file that we map too, and ``system_reset`` leaves it as it is. What the guest's stops mean is told by
:mod:`.served_guest`.
"""

import asyncio
import os
import re
from collections.abc import Callable, Coroutine, Sequence
from contextlib import AbstractContextManager, AsyncExitStack, ExitStack
from dataclasses import replace
from types import TracebackType
from typing import Any, Self, TypeVar

from fadump.abi.platform import Platform
from fadump.abi.registers import CpuRegisters
from fadump.errors import FadumpError, MachineError, SetupError
from fadump.firmware.contract import Answer, FirmwareCall, PassThrough
from fadump.machine.channel import Crash, GuestChannel, LoadKdump, Request, RunScript, ScriptRan, Shell
from fadump.machine.contract import (
    BootStart,
    Called,
    ConsoleLog,
    Event,
    FirmwareMemory,
    Handover,
    Kexec,
    LetGo,
    StopAt,
    Stopped,
)
from fadump.machine.hotplug import Act, Change, GuestTask, Hotplug
from fadump.machine.qemu.boards import board_of
from fadump.machine.qemu.config import Dimm, QemuConfig
from fadump.machine.qemu.cpus import read_cpus
from fadump.machine.qemu.gdb import GoneError
from fadump.machine.qemu.gdb_server import listen
from fadump.machine.qemu.guest import encode_request
from fadump.machine.qemu.hotplug import script
from fadump.machine.qemu.lent import lent_on_disk
from fadump.machine.qemu.link import QemuLink
from fadump.machine.qemu.process import dimm_device, guest_ram_file
from fadump.machine.qemu.served_guest import ServedGuest
from fadump.memory.guest import GuestMemory, Segment
from fadump.memory.ranges import Range, RangeSet

_FAILURE = re.compile(
    r"Kernel panic - not syncing|Oops: |fadump-guest: (no virtio-serial port|\S+ can't be opened)"
    "|petitboot: can't "
)
_SKIBOOT_WITH_SMT = 8
"""The major version of the first QEMU that is not known to hang: 7.2 does, 11.1 doesn't."""
_CPU_UNPLUG = 8
"""The same of CPUs that are unplugged: 7.2 ends by SIGSEGV at the next reset, 11.1 doesn't."""
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
        started = config.started
        ram_fds = started.ram_fds if started else _ram_files(config)
        self._segments = [Segment(piece, fd, 0) for piece, fd in zip(config.memory, ram_fds, strict=True)]
        for segment in self._segments:
            self._ends.callback(os.close, segment.fd)
        try:
            self._memory = GuestMemory(self._segments)
        except OSError as error:
            self._ends.close()
            size_mib = sum(config.nodes) >> 20
            raise SetupError(f"no {size_mib} MiB of address space for the guest: {error.strerror}") from error
        self._ends.callback(self._memory.close)
        self._runner = asyncio.Runner()
        self._ends.callback(self._runner.close)
        self._crash_expected = False
        self._listener = started.listener if started else None
        if config.gdb_port is not None:
            self._listener = self._ends.enter_context(listen(config.gdb_port))
        self._stop_at = config.stop_at
        self._clock = 0.0

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
    def was_left(self) -> bool:
        """Whether a QEMU that is somebody else's goes on without us."""
        return hasattr(self, "served") and self.served.was_left

    @property
    def is_ending(self) -> bool:
        """Whether QEMU has said that it ends."""
        return hasattr(self, "_link") and self._link.gdb.is_ending

    @property
    def guest(self) -> GuestChannel | None:
        return self if self._config.has_guest_channel else None

    @property
    def kexec(self) -> Kexec | None:
        return self if self.guest is not None and self._disk_fd is not None else None

    @property
    def hotplug(self) -> Hotplug | None:
        return self if self.guest is not None else None

    @property
    def memory(self) -> GuestMemory:
        return self._memory

    @property
    def segments(self) -> Sequence[Segment]:
        return self._segments

    @property
    def firmware_memory(self) -> Sequence[FirmwareMemory]:
        return self.served.boot.firmware_memory

    @property
    def awaited(self) -> str | None:
        """What boot firmware or a boot loader is to do next; None if neither runs."""
        return self.served.awaited

    def next_event(self, seconds: float) -> Event:
        """Wait for the guest.

        Where it stands still in an event, one of :meth:`enter`, :meth:`answer` and :meth:`reset` has to let it go
        before the next one.
        """
        try:
            event = self._run(self._next_event_within(seconds))
        except TimeoutError:
            awaited = f", waiting for {self.awaited}" if self.awaited else ""
            event = replace(self._stopped(f"nothing has happened for {seconds:g} seconds{awaited}"), silent=True)
        except FadumpError as error:
            event = self._stopped(str(error))
        if isinstance(event, Handover):
            self._crash_expected = False
        return event

    def start_boot(self, start: BootStart) -> None:
        self._run(self.served.start_boot(start.tree))

    def enter(self, handover: Handover, tokens: frozenset[int]) -> None:
        self._run(self.served.enter(handover.tree, tokens))

    def answer(self, call: FirmwareCall, outcome: Answer | PassThrough) -> None:
        self._run(self.served.answer(call, outcome))

    def end(self, call: FirmwareCall) -> bool:
        return self._run(self.served.end())

    def crash_firmware(self) -> None:
        self._run(self.served.crash_firmware())

    def cpus(self) -> Sequence[CpuRegisters]:
        return self._run(read_cpus(self._link, self._board, self.served.boot.cpu_ids))

    def look_at_hash_table(self) -> bytes | None:
        return self._run(self.served.hash_table.look())

    def reset(self, keep: RangeSet, hash_tables: tuple[Range, ...] = ()) -> None:
        self._run(self.served.reset(keep, hash_tables))

    def forget_kept(self) -> None:
        self.served.forget_kept()

    def ask(self, request: Request) -> None:
        may_crash = isinstance(request, RunScript) and request.may_crash
        self._crash_expected = may_crash or isinstance(request, Crash | Shell)
        self._run(self._link.send_to_guest(encode_request(request)))

    def stand_still(self, point: StopAt) -> bool:
        if point is not self._stop_at:
            return False
        self._stop_at = None
        match point:
            case StopAt.CRASH:
                self.served.debugger.lend(lambda: self._link.inbox.put_nowait(LetGo()))
                return True
            case _:
                self.served.debugger.stand_still(in_kernel=point is StopAt.REGISTERED)
                return False

    def lent_kernel(self) -> AbstractContextManager[LoadKdump]:
        kernel, initrd, disk_fd = self._config.kernel, self._config.initrd, self._disk_fd
        if kernel is None or initrd is None or disk_fd is None:
            raise MachineError("the machine has no kernel, initramfs and disk of its own to lend to its guest")
        return lent_on_disk(disk_fd, kernel, initrd)

    def stop_at_kdump(self, entry: int) -> None:
        self._run(self.served.stop_at_kdump(entry))

    def start_kdump(self) -> None:
        self._run(self.served.start_kdump())

    def inject_nmi(self) -> None:
        self._crash_expected = True
        self._run(self._link.execute("inject-nmi"))

    def halt(self) -> None:
        self._run(self.served.halt())

    def press_reset(self) -> None:
        self._run(self.served.press_reset())

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
        """Seconds on a clock that stands still while somebody's gdb has the guest, or the host doesn't let QEMU run."""
        delay = 0.0 if self._link.host_delay is None else self._link.host_delay.seconds()
        self._clock = max(self._clock, self.served.debugger.clock() - delay)
        return self._clock

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

    def change(self, change: Change) -> Sequence[GuestTask]:
        """A DIMM's bytes stay where they are when it goes; it has to be one of the configuration's."""
        self._run(self._plug_or_unplug(change))
        return [GuestTask(RunScript(script(change, self._config.smt)), ScriptRan)]

    def monitor(self, command: str) -> str:
        """What QEMU's human monitor prints for a command."""
        return self._run(self._link.monitor(command))

    def _run(self, work: Coroutine[Any, Any, _T]) -> _T:
        """Run it to its end, or until a signal's exception breaks in; nothing of it goes on after that."""
        loop = self._runner.get_loop()
        task = loop.create_task(self._in_better_words(work))
        try:
            return loop.run_until_complete(task)
        finally:
            if not task.done():
                task.cancel()
            loop.run_until_complete(asyncio.wait([task]))
            if not task.cancelled():
                task.exception()  # else asyncio complains that nobody has seen it

    async def _in_better_words(self, work: Coroutine[Any, Any, _T]) -> _T:
        try:
            return await work
        except GoneError as error:
            raise await self._link.in_better_words(error) from error

    def _is_failure(self, console_line: str) -> bool:
        return self._config.has_guest_channel and not self._crash_expected and _FAILURE.search(console_line) is not None

    def _stopped(self, reason: str) -> Stopped:
        return Stopped(reason, tuple(self._link.console))

    async def _plug_or_unplug(self, change: Change) -> None:
        match change.act, change.what:
            case Act.PLUG, Range() as piece:
                await self._link.execute("device_add", self._dimm_device(piece))
            case Act.UNPLUG, Range() as piece:
                await self._link.execute("device_del", {"id": self._dimm_device(piece)["id"]})
            case Act.PLUG, int(first):
                core = await self._core(first)
                await self.served.plug_core({"driver": core["type"], "core-id": first})
            case Act.UNPLUG, int(first):
                await self._link.execute("device_del", {"id": (await self._core(first))["qom-path"]})

    def _dimm_device(self, piece: Range) -> dict[str, object]:
        return dimm_device(self._config, Dimm(piece.size_bytes, piece.start))

    async def _core(self, first: int) -> dict[str, Any]:
        """QEMU's slot for the core whose first thread this is."""
        slots = await self._link.execute("query-hotpluggable-cpus")
        return next(slot for slot in slots if slot["props"]["core-id"] == first)

    async def _next_event_within(self, seconds: float) -> Event:
        async with self.served.debugger.silence(seconds):
            return await self.served.next_event()

    async def _start(self) -> None:
        self._link = await QemuLink.start(
            self._config,
            [segment.fd for segment in self._segments],
            self._disk_fd,
            self._console_log,
            self._is_failure,
        )
        self._ends.callback(lambda: self._run(self._link.close()))
        await self._check_version()
        ends = AsyncExitStack()
        self._ends.callback(lambda: self._run(ends.aclose()))
        self.served = await ServedGuest.start(self._config, self._board, self._memory, self._link, self._listener, ends)

    async def _check_version(self) -> None:
        if self._config.unplugs_cpus:
            version = (await self._link.execute("query-version"))["qemu"]
            if version["major"] < _CPU_UNPLUG:
                raise SetupError(
                    f"QEMU {version['major']}.{version['minor']} ends by SIGSEGV once a CPU has been unplugged: give "
                    "--qemu newest, or leave that out"
                )
        if self._config.platform is Platform.POWERNV and self._config.smt > 1:
            version = (await self._link.execute("query-version"))["qemu"]
            if version["major"] < _SKIBOOT_WITH_SMT:
                raise SetupError(
                    f"the skiboot of QEMU {version['major']}.{version['minor']} hangs with more than one thread per "
                    "core: give --qemu newest, or leave out --smt"
                )


def _ram_files(config: QemuConfig) -> list[int]:
    return [guest_ram_file(piece.size_bytes, config.ram_directory) for piece in config.memory]

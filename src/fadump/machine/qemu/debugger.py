"""Whose turn it is: a machine and somebody's gdb share one guest, and one connection to QEMU's gdb stub.

QEMU serves one gdb. The machine needs it, so that a user's gdb goes by way of here (:mod:`.gdb_commands`), and the two
are kept apart:

* A stop at a breakpoint of the machine's is the machine's, and the user never hears of it. When the machine lets the
  guest go again, it goes on as the user wanted it to.
* A stop at a breakpoint of the user's, by a step of theirs or from outside is the user's, who holds the guest until
  they let it go. The machine takes the guest to be running all the while: it waits for its next stop.

Nobody asks the stub while the other one has the guest, so that nothing has to be saved or put back between them.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Collection, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from enum import Enum, auto
from typing import Any

from fadump.errors import MachineError
from fadump.machine.qemu.gdb import INTERRUPTED, TRAP, Stop, made_stop
from fadump.machine.qemu.link import QemuLink
from fadump.machine.qemu.registers import MSR_DR_IR

_MOST_STEPS_HOME = 400
"""From a firmware call back into Linux takes some 40 instructions (arch/powerpc/kernel/rtas_entry.S)."""
_STOP_FIELDS = {2: b"watch", 3: b"rwatch", 4: b"awatch"}
"""How a stop names a watchpoint, by the type of its Z packet."""


class _Holder(Enum):
    """Who has the guest."""

    NOBODY = auto()
    """It runs, or a stop has not been given to anybody yet."""
    MACHINE = auto()
    USER = auto()


@dataclass(frozen=True, slots=True)
class Run:
    """How the user wants the guest to go on: a vCont packet, and the CPU that steps, if one does."""

    actions: str = "vCont;c"
    stepping: str | None = None


@dataclass(frozen=True, slots=True)
class Breakpoint:
    """A user's breakpoint or watchpoint: its type, address and kind as in a Z packet."""

    type: int
    address: int
    kind: int

    def __str__(self) -> str:
        return f"{self.type:x},{self.address:x},{self.kind:x}"

    def is_at(self, pc: int) -> bool:
        """Whether it stops a CPU at this instruction."""
        return self.type <= 1 and self.address == pc

    @property
    def stop_field(self) -> bytes:
        """What a stop says of the watchpoint that it comes from; empty for a breakpoint."""
        field = _STOP_FIELDS.get(self.type)
        return b"" if field is None else b"%s:%016x;" % (field, self.address)


class _Silence:
    """How long nothing may happen."""

    def __init__(self, limit: asyncio.Timeout, seconds: float) -> None:
        self._limit = limit
        self._seconds = seconds

    def stop(self) -> None:
        """From now on any time."""
        self._limit.reschedule(None)

    def begin(self) -> None:
        """From now on so long."""
        self._limit.reschedule(asyncio.get_running_loop().time() + self._seconds)


class Debugger:
    """Stands between a stub and a machine, which lets its guest go by way of here."""

    def __init__(self, link: QemuLink, first_cpu: str, ours: Callable[[], Collection[int]]) -> None:
        """``ours`` are the addresses of the machine's breakpoints, whose stops go to the link's inbox."""
        link.gdb.on_stop = self._stopped
        self._link = link
        self._gdb = link.gdb
        self._registers = link.registers
        self._ours = ours
        self.turn = asyncio.Lock()
        """Whoever asks the stub for the user has it."""
        self._silence: _Silence | None = None
        self._holder = _Holder.MACHINE
        self._held = asyncio.Event()
        self._held_seconds = 0.0
        self._held_since = 0.0
        self._stop = made_stop(first_cpu, TRAP)
        self._attached = False
        self._user_wants = False
        self._machine_wants = False
        self._goes = False
        self._walks_home = False
        self._run = Run()
        self._report: Callable[[bytes], None] | None = None
        self._breakpoints: set[Breakpoint] = set()
        self._on_let_go: Callable[[], None] | None = None
        self._judging: asyncio.Task[None] | None = None

    # The machine's side.

    @property
    def running(self) -> bool:
        """True from :meth:`resume` to the next stop of the machine's, whatever the user does meanwhile."""
        return self._holder is not _Holder.MACHINE

    @asynccontextmanager
    async def silence(self, seconds: float) -> AsyncIterator[None]:
        """A block that may take so long, except the time that the user has the guest.

        :raises TimeoutError: it has taken longer.
        """
        async with asyncio.timeout(seconds) as limit:
            self._silence = _Silence(limit, seconds)
            if self._holder is _Holder.USER:
                self._silence.stop()
            try:
                yield
            finally:
                self._silence = None

    def clock(self) -> float:
        """Seconds on a clock that stands still while the user has the guest."""
        now = self._held_since if self._holder is _Holder.USER else time.monotonic()
        return now - self._held_seconds

    async def resume(self) -> None:
        """Let the guest go on as the user wants it to; that may be not at all."""
        self._holder = _Holder.NOBODY
        if self._walks_home:
            self._walks_home = False
            self._judge(self._walk_home())
        elif self._user_wants:
            self._hold(made_stop(self._stop.thread, INTERRUPTED))
        elif self._run.stepping == self._stop.thread:  # the machine's work was that step
            self._hold(made_stop(self._stop.thread, TRAP))
        else:
            await self._go(for_user=self._attached and not self._link.is_held)

    def run_alone(self, thread: str) -> None:
        """Let one CPU run for the machine, whose next stop is the machine's, whatever the user wants."""
        self._machine_wants = True
        self._gdb.go(f"vCont;c:{thread}")

    def interrupt(self) -> None:
        """Stop the guest for the machine; if the user has it, once they let it go."""
        self._machine_wants = True
        self._stop_guest()

    async def let_go_by_others(self) -> None:
        """A guest that is somebody else's may have been let go by them while the user has it, who is not told."""
        if self._holder is not _Holder.USER:
            return
        async with self.turn:
            if self._holder is _Holder.USER:
                self._run = Run()
                await self._let_go(for_user=False)

    def stand_still(self, *, in_kernel: bool) -> None:
        """Give the guest to the user when the machine lets it go next; ``in_kernel``: once it is back in Linux from
        the call that the machine answers."""
        self._user_wants = True
        self._walks_home = in_kernel

    def lend(self, let_go: Callable[[], None]) -> None:
        """Give the guest to the user where it stands in an event of the machine's, until they let it go."""
        self._on_let_go = let_go
        self._hold(made_stop(self._stop.thread, TRAP))

    async def close(self) -> None:
        """Judge no more, and tell a gdb that waits that there is nothing left to wait for."""
        if self._judging is not None:
            self._judging.cancel()
            await asyncio.gather(self._judging, return_exceptions=True)
        if self._report is not None:
            self._report(b"W00")

    # The user's side.

    @property
    def stop(self) -> Stop:
        """The last one."""
        return self._stop

    async def hold(self) -> None:
        """Take the guest, and wait until it is to be had."""
        self._attached = True
        self.interrupt_for_user()
        await self._held.wait()

    def interrupt_for_user(self) -> None:
        """Stop the guest for the user, if they don't have it."""
        if self._holder is not _Holder.USER:
            self._user_wants = True
            self._stop_guest()

    async def go(self, run: Run, report: Callable[[bytes], None]) -> None:
        """Let the guest, which the user has, go on; ``report`` gets the stop that this ends with."""
        self._run = run
        self._report = report
        await self._let_go()

    async def insert(self, breakpoint_: Breakpoint) -> bytes:
        """Have one of the user's; the stub's answer."""
        if breakpoint_ in self._breakpoints:
            return b"OK"
        answer = await self._gdb.command(f"Z{breakpoint_}")
        if answer == b"OK":
            self._breakpoints.add(breakpoint_)
        return answer

    async def remove(self, breakpoint_: Breakpoint) -> bytes:
        """Take one of the user's back; one that isn't there may be the machine's, and is left alone."""
        if breakpoint_ not in self._breakpoints:
            return b"OK"
        self._breakpoints.discard(breakpoint_)
        return await self._gdb.command(f"z{breakpoint_}")

    async def remove_all(self) -> None:
        """Leave none of the user's."""
        for breakpoint_ in list(self._breakpoints):
            await self.remove(breakpoint_)

    async def detach(self) -> None:
        """The user is gone: nothing of theirs stays, and the guest goes on, if they ever had it."""
        self._report = None
        if not self._attached:
            return
        await self.hold()
        await self.remove_all()
        self._attached = False
        self._user_wants = False
        self._run = Run()
        await self._let_go()

    # Between them.

    def _stopped(self, stop: Stop) -> None:
        if self._attached or self._user_wants:
            self._judge(self._give(stop))
        else:
            self._give_to_machine(stop)

    def _judge(self, work: Coroutine[Any, Any, None]) -> None:
        self._judging = asyncio.ensure_future(work)

    async def _give(self, stop: Stop) -> None:
        try:
            users = None if self._machine_wants else await self._users(stop)
        except MachineError:  # QEMU is gone, which the machine is told of
            return
        if users is None:
            self._give_to_machine(stop)
        else:
            self._hold(users)

    async def _users(self, stop: Stop) -> Stop | None:
        """The stop as the user is told of it; None: it is the machine's."""
        if stop.thread == self._run.stepping or stop.is_watchpoint or not stop.is_trap:
            return stop
        (pc,) = await self._registers.read(stop.thread, "pc")  # after a reset by somebody else, nobody's any more
        if any(breakpoint_.is_at(pc) for breakpoint_ in self._breakpoints):
            return stop
        fields = [field for breakpoint_ in self._breakpoints if (field := breakpoint_.stop_field)]
        if pc in self._ours() or not fields:
            return None
        # An access that QEMU 11.1 doesn't tell of: of which watchpoint it was is known if there is but one.
        return replace(stop, packet=stop.packet + fields[0]) if len(fields) == 1 else stop

    def _give_to_machine(self, stop: Stop) -> None:
        self._machine_wants = False
        self._holder = _Holder.MACHINE
        self._stop = stop
        self._link.inbox.put_nowait(stop)

    def _hold(self, stop: Stop) -> None:
        self._user_wants = False
        self._held_since = time.monotonic()
        self._holder = _Holder.USER
        self._stop = stop
        self._held.set()
        if self._silence is not None:
            self._silence.stop()
        if self._report is not None:
            report, self._report = self._report, None
            report(stop.packet)

    async def _let_go(self, *, for_user: bool = True) -> None:
        stepping = self._run.stepping
        at_ours = stepping is not None and (await self._registers.read(stepping, "pc"))[0] in self._ours()
        self._held.clear()
        self._held_seconds += time.monotonic() - self._held_since
        self._holder = _Holder.NOBODY
        self._link.is_held = False
        let_go, self._on_let_go = self._on_let_go, None
        if self._machine_wants:
            self._give_to_machine(made_stop(self._stop.thread, TRAP))
        elif let_go is not None:
            self._holder = _Holder.MACHINE
            let_go()
        elif stepping is not None and at_ours:  # QEMU would step over a breakpoint of the machine's
            self._give_to_machine(made_stop(stepping, TRAP))
        else:
            await self._go(for_user=for_user)
        if self._silence is not None:
            self._silence.begin()

    async def _go(self, *, for_user: bool) -> None:
        self._goes = True
        try:
            await self._link.go(self._run.actions, for_user=for_user)
        finally:
            self._goes = False
        if self._user_wants or self._machine_wants:
            self._stop_guest()

    def _stop_guest(self) -> None:
        if self._gdb.running and not self._goes:
            self._gdb.interrupt()

    async def _walk_home(self) -> None:
        """From the firmware's return in real mode to Linux, where gdb knows its way."""
        thread = self._stop.thread
        try:
            for _step in range(_MOST_STEPS_HOME):
                (msr,) = await self._registers.read(thread, "msr")
                if msr & MSR_DR_IR == MSR_DR_IR:
                    break
                await self._gdb.step(thread)
        except MachineError:
            return
        self._hold(made_stop(thread, TRAP))

"""What a machine is to who serves it: events come out of it, answers and requests go into it.

The same contract fits a machine that runs real Linux and one that runs a model. Whom a guest can be asked through, and
what it reports, is :mod:`fadump.machine.channel`; a machine may do without.
"""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from fadump.abi.registers import CpuRegisters
from fadump.firmware.contract import Answer, FirmwareCall, PassThrough
from fadump.machine.channel import GuestChannel, LoadKdump, Report
from fadump.machine.hotplug import Hotplug
from fadump.memory.devicetree import DeviceTree
from fadump.memory.guest import GuestMemory, Segment
from fadump.memory.ranges import Range, RangeSet


@dataclass(frozen=True, slots=True)
class Handover:
    """Boot firmware is about to enter a kernel with this device tree. Boots count from 1."""

    boot: int
    tree: DeviceTree


@dataclass(frozen=True, slots=True)
class BootStart:
    """Boot firmware is about to run with this device tree, from which what it starts learns of the platform.

    Only a machine that boots from its disk has this event, for the boot loader there; a handover follows.
    """

    tree: DeviceTree


@dataclass(frozen=True, slots=True)
class FirmwareMemory:
    """Memory that the machine's firmware goes on using while a kernel runs, and what a device tree calls it."""

    range: Range
    name: str


@dataclass(frozen=True, slots=True)
class GuestReset:
    """The guest was reset, by itself or by an operator; its memory is kept as any reset keeps it, the firmware's
    registration is not."""


@dataclass(frozen=True, slots=True)
class KdumpStart:
    """A crashed kernel is gone, and the one that its kexec had loaded stands at its first instruction."""


@dataclass(frozen=True, slots=True)
class Called:
    """Somebody on the host wants something of whoever serves the machine, which goes on meanwhile."""


class StopAt(StrEnum):
    """Where a machine can be told to stand still, the first time, until somebody's debugger lets it go."""

    HANDOVER = "handover"
    """At a kernel's first instruction."""
    REGISTERED = "registered"
    """In the kernel, on its way back from the firmware call that has registered it."""
    CRASH = "crash"
    """In the firmware call that ends the kernel, before anything of its memory is touched."""


@dataclass(frozen=True, slots=True)
class LetGo:
    """Whoever looked at a machine that stood still at its crash has let it go."""


@dataclass(frozen=True, slots=True)
class FirmwareEnd:
    """The machine's own firmware has come to its end on this CPU, and nothing runs any more.

    That follows a :meth:`Machine.end` or a :meth:`Machine.crash_firmware`, or a failure that nobody asked for.
    """

    cpu_id: int


@dataclass(frozen=True, slots=True)
class Stopped:
    """The machine won't go on: why, in words, and the last lines of its console.

    ``powered_off`` if its guest has switched it off, ``silent`` if nothing has happened for as long as was waited: then
    it can be waited for again.
    """

    reason: str
    console: Sequence[str]
    powered_off: bool = False
    silent: bool = False


Event = BootStart | Handover | FirmwareCall | Report | GuestReset | KdumpStart | FirmwareEnd | Called | LetGo | Stopped


class ConsoleLog(Protocol):
    """What takes the console as it comes; a file that is open for writing is one."""

    def write(self, data: bytes, /) -> int:
        """Take some bytes."""

    def flush(self) -> None:
        """Hold nothing back."""


class Kexec(Protocol):
    """What a machine does for a guest that is to dump by kexec, with no firmware."""

    def lent_kernel(self) -> AbstractContextManager[LoadKdump]:
        """While the context lasts, the machine's own kernel and initramfs lie on the guest's disk, for this request.

        :raises OSError: the disk has no room for them.
        """

    def stop_at_kdump(self, entry: int) -> None:
        """When a kernel starts at this physical address, that comes as a :class:`KdumpStart`; its guest waits."""

    def start_kdump(self) -> None:
        """Let that kernel start."""


MOST_LOOKED_AT = 64 << 20
"""How many bytes of a hash page table are compared at most."""


class Machine(Protocol):
    """A machine with guest memory, CPUs and a way to reset it; and, if its guest is one of ours, somebody to ask."""

    @property
    def guest(self) -> GuestChannel | None:
        """The guest channel; None: a system that isn't ours, of which only firmware and console tell."""

    @property
    def kexec(self) -> Kexec | None:
        """For a guest that dumps by kexec; None: no guest of this machine can."""

    @property
    def hotplug(self) -> Hotplug | None:
        """For a guest whose memory and CPUs are to change; None: nobody can be asked to use them."""

    @property
    def memory(self) -> GuestMemory:
        """Guest physical memory, shared with the guest."""

    @property
    def segments(self) -> Sequence[Segment]:
        """The files behind guest memory, for making a copy by other means."""

    @property
    def firmware_memory(self) -> Sequence[FirmwareMemory]:
        """What firmware goes on using, so that no dump can show it as it was, unless it is copied aside."""

    def next_event(self, seconds: float) -> Event:
        """Let the guest run until something happens. Silence for ``seconds`` is a :class:`Stopped` too."""

    def enter(self, handover: Handover, tokens: frozenset[int]) -> None:
        """Give the kernel its device tree, as edited, and let it start; calls with these tokens become events."""

    def start_boot(self, start: BootStart) -> None:
        """Give boot firmware its device tree, as edited, and let it start."""

    def answer(self, call: FirmwareCall, outcome: Answer | PassThrough) -> None:
        """Return from a firmware call, or let the machine's own firmware serve it."""

    def end(self, call: FirmwareCall) -> bool:
        """Let the machine's own firmware end itself by this call: then a :class:`FirmwareEnd` comes.

        False: it has no part in that, and the guest stays in its call.
        """

    def crash_firmware(self) -> None:
        """Have the machine's own firmware end itself by a failure, when it is next called.

        :raises MachineError: it has none that could.
        """

    def cpus(self) -> Sequence[CpuRegisters]:
        """Every CPU's registers while the guest stands still."""

    def look_at_hash_table(self) -> bytes | None:
        """The guest's hash page table while it stands still, read in another way than for :meth:`reset`; None: it has
        none. Of a larger one, the first :data:`MOST_LOOKED_AT`.

        :raises MachineError: it can't be read so.
        """

    def reset(self, keep: RangeSet, hash_tables: tuple[Range, ...] = ()) -> None:
        """Reset everything but RAM. At every later handover ``keep`` holds every byte it holds now.

        Into each of ``hash_tables``, parts of ``keep``, goes the beginning of the guest's hash page table, or all of it
        and zeros; zeros only if its MMU is radix.

        Memory that is kept already stays what it was at the first of these resets.
        """

    def forget_kept(self) -> None:
        """The kept memory is the guest's again: nothing is put back any more."""

    def stand_still(self, point: StopAt) -> bool:
        """The guest has come to this point: have it stay there, if that is wanted of the machine.

        True: it stays in the event that it is in now, until a :class:`LetGo` comes. Else it stays where it is when it
        is next let go, or isn't to stay, and nothing comes of it.
        """

    def inject_nmi(self) -> None:
        """Interrupt every CPU with a system reset, which a kernel takes as the order to dump itself."""

    def halt(self) -> None:
        """Stop the running guest wherever it is; nothing but :meth:`cpus` and :meth:`reset` may follow."""

    def press_reset(self) -> None:
        """Reset the guest as an operator does, unasked; it comes as a :class:`GuestReset`.

        A guest that stands still in an event is let go by this too.
        """

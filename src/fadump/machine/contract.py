"""What a machine is to a cycle: events come out of it, answers and requests go into it.

The same contract fits a machine that runs real Linux and one that runs a model; ``fadump.cycle`` knows no other.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from fadump.abi.registers import CpuRegisters
from fadump.errors import MachineError
from fadump.firmware.contract import Answer, FirmwareCall, PassThrough
from fadump.memory.devicetree import DeviceTree
from fadump.memory.guest import GuestMemory, Segment
from fadump.memory.ranges import Range, RangeSet


@dataclass(frozen=True, slots=True)
class Handover:
    """Boot firmware is about to enter a kernel with this device tree. Boots count from 1."""

    boot: int
    tree: DeviceTree


@dataclass(frozen=True, slots=True)
class FirmwareMemory:
    """Memory that the machine's firmware goes on using while a kernel runs, and what a device tree calls it."""

    range: Range
    name: str


@dataclass(frozen=True, slots=True)
class GuestReport:
    """The guest's init reports a step; docs/guest-channel.md lists steps and fields."""

    step: str
    fields: Mapping[str, str]

    def number(self, key: str) -> int:
        """A field's number, which is never negative.

        :raises MachineError: the guest has left it out, or it is none.
        """
        value = self.fields.get(key)
        if value is None:
            raise MachineError(f"the guest reported {self.step} without {key}")
        if not value.isdecimal():
            raise MachineError(f"the guest reported {self.step} with {key}={value!r}, not a number")
        return int(value)


@dataclass(frozen=True, slots=True)
class GuestReset:
    """The guest was reset, by itself or by an operator; its memory is kept as any reset keeps it, the firmware's
    registration is not."""


@dataclass(frozen=True, slots=True)
class Stopped:
    """The machine won't go on: why, in words, and the last lines of its console."""

    reason: str
    console: Sequence[str]


Event = Handover | FirmwareCall | GuestReport | GuestReset | Stopped


@dataclass(frozen=True, slots=True)
class Register:
    """Have the guest register for FADump; it reports ``registered``."""


@dataclass(frozen=True, slots=True)
class Crash:
    """Crash the guest's kernel on this CPU; it reports ``crashing`` and is gone."""

    cpu: int


@dataclass(frozen=True, slots=True)
class Save:
    """Have the capture boot copy ``/proc/vmcore`` out; it reports ``saving``, ``progress`` and ``saved``."""


@dataclass(frozen=True, slots=True)
class SaveOpalCore:
    """Have the capture boot copy OPAL's own core out, which powernv has; it reports ``saved_opalcore``."""


@dataclass(frozen=True, slots=True)
class Release:
    """Give the preserved memory back to the running kernel; it reports ``released``."""


@dataclass(frozen=True, slots=True)
class Reregister:
    """Register once more, in the same boot; it reports ``registered``."""


@dataclass(frozen=True, slots=True)
class Unregister:
    """Withdraw the registration; it reports ``unregistered``."""


@dataclass(frozen=True, slots=True)
class RunScript:
    """Run a shell script in the guest; it reports ``ran``, with the output in base64."""

    script: str


Request = Register | Crash | Save | SaveOpalCore | Release | Reregister | Unregister | RunScript


class Machine(Protocol):
    """A machine with guest memory, CPUs, a way to reset it, and someone in the guest to ask."""

    @property
    def memory(self) -> GuestMemory:
        """Guest physical memory, shared with the guest."""

    @property
    def segments(self) -> Sequence[Segment]:
        """The files behind guest memory, for whoever wants a copy made by other means."""

    @property
    def unshown(self) -> Sequence[FirmwareMemory]:
        """What no dump of the running kernel can show as it was, where nobody copies it aside."""

    def next_event(self, seconds: float) -> Event:
        """Let the guest run until something happens. Silence for ``seconds`` is a :class:`Stopped` too."""

    def enter(self, handover: Handover, tokens: frozenset[int]) -> None:
        """Give the kernel its device tree, as edited, and let it start; calls with these tokens become events."""

    def answer(self, call: FirmwareCall, outcome: Answer | PassThrough) -> None:
        """Return from a firmware call, or let the machine's own firmware serve it."""

    def cpus(self) -> Sequence[CpuRegisters]:
        """Every CPU's registers while the guest stands still."""

    def reset(self, keep: RangeSet) -> None:
        """Reset everything but RAM. At every later handover ``keep`` holds every byte it holds now.

        Memory that is kept already stays what it was at the first of these resets.
        """

    def forget_kept(self) -> None:
        """The kept memory is the guest's again: nothing is put back any more."""

    def ask(self, request: Request) -> None:
        """Ask the guest to do something; its reports come as events."""

    def inject_nmi(self) -> None:
        """Interrupt every CPU with a system reset, which a kernel takes as the order to dump itself."""

    def halt(self) -> None:
        """Stop the running guest wherever it is; nothing but :meth:`cpus` and :meth:`reset` may follow."""

    def press_reset(self) -> None:
        """Reset the guest as an operator does, unasked; it comes as a :class:`GuestReset`.

        A guest that stands still in an event is let go by this too.
        """

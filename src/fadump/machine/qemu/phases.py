"""The phases of a QEMU machine, and what is known in each: a phase's object is there as long as the phase lasts.

``Starting`` ends in ``HandedOver``, and that in ``Running``, which alternates with ``Calling``. A reset leads from any
of them back to ``Starting``; one by an operator, of a guest that stands still, by way of ``Pressed``.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, TypeVar

from fadump.abi.layout import ByteOrder
from fadump.errors import MachineError
from fadump.machine.contract import FirmwareMemory
from fadump.machine.qemu.board import OwnEnd
from fadump.machine.qemu.boot_loader import LoaderRuns
from fadump.machine.qemu.entry_page import EntryPage
from fadump.machine.qemu.gdb_commands import Shown
from fadump.machine.qemu.handover import TreePlace
from fadump.machine.qemu.kernel_entry import KernelEntry


@dataclass(frozen=True, slots=True)
class Boot:
    """What the last handover has told, which holds until the next one: a crash is looked into by it.

    ``number`` counts handovers. ``cpu_ids`` are the platform's names of the CPUs, by the gdb stub's.
    ``firmware_memory`` is what no dump of the kernel that was entered last can show, ``byte_order`` is that kernel's.
    """

    number: int
    cpu_ids: Mapping[str, int]
    firmware_memory: Sequence[FirmwareMemory]
    byte_order: ByteOrder = "little"

    def cpu_id(self, thread: str) -> int:
        """The platform's name of a CPU.

        :raises MachineError: the device tree didn't have it.
        """
        if thread not in self.cpu_ids:
            raise MachineError(f"QEMU's CPU {thread} calls the firmware, and is not in the kernel's device tree")
        return self.cpu_ids[thread]


NO_BOOT = Boot(0, {}, ())
"""Before the first handover."""


@dataclass(frozen=True, slots=True)
class BeforeBoot:
    """The guest stands at its boot firmware's first instruction, whose device tree is at ``place``."""

    WORDS: ClassVar = "at its boot firmware's first instruction"
    boot: Boot
    place: TreePlace


@dataclass(frozen=True, slots=True)
class Starting:
    """Boot firmware runs, and is to stop at the kernel's entry; ``boot`` is the last one."""

    WORDS: ClassVar = "in its boot firmware"
    boot: Boot
    entry: KernelEntry


@dataclass(frozen=True, slots=True)
class HandedOver:
    """The guest stands at its kernel's ``entry``: ``thread`` came there, and has found the device tree at ``place``."""

    WORDS: ClassVar = "at its kernel's entry"
    boot: Boot
    thread: str
    entry: int
    place: TreePlace


@dataclass(frozen=True, slots=True)
class Running:
    """A kernel runs; its calls of our firmware come through ``page``. ``own_end`` is that of the machine's own."""

    WORDS: ClassVar = "in its kernel"
    boot: Boot
    page: EntryPage
    own_end: OwnEnd | None = None

    @property
    def stops(self) -> tuple[int, ...]:
        """Where the guest is to be stopped: that firmware may fail unasked, too."""
        return (self.page.stop_address,) if self.own_end is None else (self.page.stop_address, self.own_end.address)

    @property
    def ending(self) -> "Ending | None":
        """The phase after which that firmware has ended the machine; None: it has no part in its end."""
        return None if self.own_end is None else Ending(self.boot, self.own_end)


@dataclass(frozen=True, slots=True)
class Calling:
    """The guest stands in a firmware call of ``thread``; once that is answered, it is ``running`` again."""

    WORDS: ClassVar = "in a firmware call"
    running: Running
    thread: str

    @property
    def boot(self) -> Boot:
        """The one that calls."""
        return self.running.boot


@dataclass(frozen=True, slots=True)
class Ending:
    """The machine's own firmware is to end it; no call of ours is served meanwhile."""

    WORDS: ClassVar = "in the machine's own firmware, which ends it"
    boot: Boot
    own_end: OwnEnd


@dataclass(frozen=True, slots=True)
class BeforeKdump:
    """A kernel runs that is to start another one, at ``entry``, when it crashes; until then it makes no calls."""

    WORDS: ClassVar = "in a kernel that kdump is armed for"
    running: Running
    entry: int

    @property
    def boot(self) -> Boot:
        """The one that runs."""
        return self.running.boot


@dataclass(frozen=True, slots=True)
class InKdump:
    """The guest stands at a crash kernel's first instruction."""

    WORDS: ClassVar = "at a crash kernel's entry"
    running: Running

    @property
    def boot(self) -> Boot:
        """The one that has crashed."""
        return self.running.boot


@dataclass(frozen=True, slots=True)
class Halted:
    """The guest was stopped wherever it was; ``page`` is its kernel's, if one ran."""

    WORDS: ClassVar = "halted"
    boot: Boot
    page: EntryPage | None = None

    @classmethod
    def after(cls, phase: "Phase") -> "Halted":
        """The phase that this one has been cut short by."""
        return cls(phase.boot, phase.page if isinstance(phase, Running) else None)


@dataclass(frozen=True, slots=True)
class Pressed:
    """An operator has reset a guest that stood still: that is the next event, and ``following`` the phase after it."""

    WORDS: ClassVar = "being reset"
    following: "BeforeBoot | Starting"

    @property
    def boot(self) -> Boot:
        """The last one."""
        return self.following.boot


Phase = BeforeBoot | Starting | HandedOver | Running | Calling | Ending | BeforeKdump | InKdump | Halted | Pressed
_P = TypeVar("_P", BeforeBoot, HandedOver, Running, Calling, InKdump)


def shown_in(phase: Phase) -> Shown:
    """How the guest is shown to somebody's gdb."""
    match phase:
        case Starting(boot=boot, entry=LoaderRuns() as stage):
            return Shown(boot.byte_order, stage.patched)
        case _:
            return Shown(phase.boot.byte_order)


def in_phase(phase: Phase, wanted: type[_P]) -> _P:
    """The phase, which is to be this one.

    :raises MachineError: it is another one, so what was asked for can't be done now.
    """
    if not isinstance(phase, wanted):
        raise MachineError(f"the guest is {phase.WORDS}, and not {wanted.WORDS}")
    return phase

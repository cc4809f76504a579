"""What differs between QEMU's machines: how a kernel is entered, how it calls firmware, what its device tree needs.

The steps "handover" and "register" of docs/architecture.md meet the platform here. :mod:`.pseries` and
:mod:`.powernv` are the boards; :class:`.machine.QemuMachine` does with either what both have in common.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from fadump.firmware.contract import Answer, FirmwareCall
from fadump.machine.contract import FirmwareMemory
from fadump.machine.qemu.entry_page import EntryPage
from fadump.machine.qemu.handover import TreePlace
from fadump.machine.qemu.kernel_entry import KernelEntry
from fadump.machine.qemu.registers import RegisterFile
from fadump.memory.devicetree import DeviceTree
from fadump.memory.guest import GuestMemory
from fadump.memory.ranges import RangeSet


@dataclass(frozen=True, slots=True)
class OwnEnd:
    """How the machine's own firmware ends itself and the machine: a CPU comes to the instruction at ``address``.

    It fails when it is next called with ``failure`` written to memory at ``switch``.
    """

    address: int
    switch: int
    failure: bytes


@dataclass(frozen=True, slots=True)
class Preparation:
    """A kernel's tree made ready: ``tree_place`` is where to write it, ``page`` what firmware calls go through.

    ``live`` is memory that this boot uses, which is not put back; of that, ``images`` are kernel and initrd.
    ``firmware_memory`` is memory that firmware goes on using, so that no dump of this kernel can show it.
    """

    page: EntryPage
    tree_place: TreePlace
    live: RangeSet
    images: RangeSet
    firmware_memory: Sequence[FirmwareMemory] = ()


class Board(Protocol):
    """One of QEMU's machines, as a firmware outside QEMU meets it."""

    @property
    def kernel_entry(self) -> KernelEntry:
        """The first stage of its boot firmware's way into a kernel."""

    @property
    def has_boot_tree(self) -> bool:
        """Whether what boot firmware starts has a use for a device tree that is edited before boot firmware sees it."""

    def cpu_ids(self, tree: DeviceTree, core_ids: Sequence[int | None]) -> Sequence[int | None]:
        """The platform's name of each CPU (see :class:`fadump.abi.registers.CpuRegisters`), in QEMU's order.

        ``core_ids`` are what QEMU calls the core of each, where it says; None: the CPU is not in the tree.
        """

    def is_online(self, shown: Mapping[str, int]) -> bool:
        """Whether a CPU belongs in a dump; ``shown`` is what the monitor's ``info registers`` shows of it."""

    def has_hash_table(self, shown: Mapping[str, int]) -> bool:
        """Whether a guest has a hash page table; ``shown`` is what ``info registers`` shows of one of its CPUs."""

    def prepare(
        self, tree: DeviceTree, found: TreePlace, ram: RangeSet, tokens: Collection[int], *, reserve: bool
    ) -> Preparation:
        """Edit a tree so that its kernel calls firmware through our page; where it was ``found`` may be too small.

        ``reserve`` False leaves out naming that page, and what belongs to it, as reserved.
        """

    def own_end(self, tree: DeviceTree, memory: GuestMemory) -> OwnEnd | None:
        """How this boot's own firmware would end the machine; None: it has no part in that, or doesn't say."""

    async def read_call(
        self, registers: RegisterFile, memory: GuestMemory, thread: str, cpu_id: int
    ) -> FirmwareCall | None:
        """The call that this CPU makes; None if there is nowhere to answer it."""

    async def write_answer(
        self, registers: RegisterFile, memory: GuestMemory, thread: str, call: FirmwareCall, answer: Answer
    ) -> None:
        """Put status and results where the caller looks for them."""

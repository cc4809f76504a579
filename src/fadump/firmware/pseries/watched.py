"""QEMU's own FADump: it takes the dump, and this firmware only watches it.

QEMU from 10.2 on serves ibm,configure-kernel-dump and ibm,os-term itself (hw/ppc/spapr_fadump.c) and resets the
guest. The machine stops at the same calls as for our firmware, but each of them continues into QEMU's RTAS. So the
machine can be inspected at its crash and compared with the dump.

QEMU's answers aren't seen: calls are assumed to succeed, and the guest reports it if one doesn't. What QEMU has
preserved is in the device tree of the next handover (LoPAR, ibm,kernel-dump).
"""

from collections.abc import Sequence

from fadump.abi.pseries import rtas
from fadump.abi.pseries.dump_structure import DumpStructure
from fadump.abi.pseries.rtas import DumpCommand
from fadump.abi.registers import CpuRegisters
from fadump.errors import FadumpError
from fadump.firmware.contract import (
    CallName,
    FirmwareCall,
    PassThrough,
    PreservedDump,
    State,
    Trigger,
    TriggerKind,
    Watched,
)
from fadump.firmware.pseries.dump import describe_dump
from fadump.memory.devicetree import DeviceTree
from fadump.memory.guest import GuestMemory
from fadump.memory.ranges import RangeSet

_STATES = {
    DumpCommand.REGISTER: State.REGISTERED,
    DumpCommand.UNREGISTER: State.IDLE,
    DumpCommand.INVALIDATE: State.INVALIDATED,
}


class WatchedFirmware:
    """Watches what the platform's own firmware does with a guest."""

    def __init__(self) -> None:
        self._state = State.IDLE
        self._configure_token = self._os_term_token = -1  # until the first handover
        self._dump: PreservedDump | None = None

    @property
    def state(self) -> State:
        """The state of the platform's firmware, judged by its calls."""
        return self._state

    @property
    def tokens(self) -> frozenset[int]:
        """The tokens of the calls to watch; none before the first :meth:`describe`."""
        return frozenset(token for token in (self._configure_token, self._os_term_token) if token >= 0)

    @property
    def preserved(self) -> PreservedDump | None:
        """The dump as the platform describes it; the machine has to keep nothing for it."""
        return self._dump

    @property
    def nmi_limit_ms(self) -> int:
        """0: the platform's own firmware has that timer, or hasn't."""
        return 0

    def name_of(self, call: FirmwareCall) -> CallName | None:
        """None: this is only used for faults, which QEMU's firmware can't have."""
        return None

    def call(self, call: FirmwareCall, memory: GuestMemory) -> PassThrough | Watched:
        """Record what the call does; it is never answered here."""
        if call.token == self._os_term_token and self._state is State.REGISTERED:
            self._state = State.TRIGGERED
            return Watched(Trigger(TriggerKind.OS_TERM, "", call.cpu_id))
        if call.token == self._configure_token and call.args and call.args[0] in _STATES:
            self._state = _STATES[DumpCommand(call.args[0])]
            if self._state is State.INVALIDATED:
                self._dump = None
        return PassThrough()

    def preserve(self, trigger: Trigger, memory: GuestMemory, cpus: Sequence[CpuRegisters]) -> PreservedDump:
        """Refuse: only the platform can preserve.

        :raises FadumpError: always.
        """
        raise FadumpError(f"QEMU's own FADump dumps at os-term only, not for this {trigger.kind.value}")

    def describe(self, tree: DeviceTree) -> None:
        """Read the platform's tokens and, after a crash, its dump. The tree isn't changed.

        :raises FadumpError: the platform has no FADump of its own, or has not dumped a guest that crashed.
        """
        node = tree.find("/rtas")
        if node is None or not {rtas.CONFIGURE_KERNEL_DUMP, rtas.OS_TERM} <= node.properties.keys():
            raise FadumpError("this QEMU has no FADump of its own: give --qemu newest, or leave out --firmware qemu")
        self._configure_token = node.cells(rtas.CONFIGURE_KERNEL_DUMP)[0]
        self._os_term_token = node.cells(rtas.OS_TERM)[0]
        if rtas.KERNEL_DUMP in node.properties:
            self._dump = describe_dump(DumpStructure.decode(node.properties[rtas.KERNEL_DUMP]), RangeSet())
            self._state = State.ACTIVE
        elif self._state is State.TRIGGERED:
            raise FadumpError("QEMU has reset the guest that crashed, and has no dump of it")

    def on_reset(self) -> None:
        """Drop a registration, whose kernel is gone; a crash keeps its state until its dump is described."""
        if self._state is not State.TRIGGERED:
            self._state = State.ACTIVE if self._dump is not None else State.IDLE

"""A firmware around another one: it passes everything on, and a subclass changes what it is there for."""

from collections.abc import Sequence

from fadump.abi.registers import CpuRegisters
from fadump.firmware.contract import CallName, Firmware, FirmwareCall, Outcome, PreservedDump, State, Trigger
from fadump.memory.devicetree import DeviceTree
from fadump.memory.guest import GuestMemory


class WrappedFirmware:
    """Behaves like ``firmware``; see :class:`.Firmware` for what its methods do."""

    def __init__(self, firmware: Firmware) -> None:
        self._firmware = firmware

    @property
    def state(self) -> State:
        return self._firmware.state

    @property
    def tokens(self) -> frozenset[int]:
        return self._firmware.tokens

    @property
    def preserved(self) -> PreservedDump | None:
        return self._firmware.preserved

    @property
    def nmi_limit_ms(self) -> int:
        return self._firmware.nmi_limit_ms

    def name_of(self, call: FirmwareCall) -> CallName | None:
        return self._firmware.name_of(call)

    def call(self, call: FirmwareCall, memory: GuestMemory) -> Outcome:
        return self._firmware.call(call, memory)

    def preserve(self, trigger: Trigger, memory: GuestMemory, cpus: Sequence[CpuRegisters]) -> PreservedDump:
        return self._firmware.preserve(trigger, memory, cpus)

    def describe(self, tree: DeviceTree) -> None:
        self._firmware.describe(tree)

    def on_reset(self) -> None:
        self._firmware.on_reset()

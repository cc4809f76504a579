"""A firmware that records its exchange with a kernel as text, which is to be the same for real Linux and the model.

Addresses of a kernel's own buffers are left out, as they differ between kernels; the contents are recorded.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from fadump.abi.platform import Platform
from fadump.abi.powernv.mpipl import MpiplOperation, MpiplTag
from fadump.abi.powernv.opal import OpalToken
from fadump.abi.pseries import rtas
from fadump.abi.pseries.dump_structure import MAX_BYTES, DumpStructure
from fadump.abi.pseries.rtas import DumpCommand
from fadump.abi.registers import CpuRegisters
from fadump.errors import AddressError, FormatError
from fadump.firmware.contract import Answer, Firmware, FirmwareCall, Outcome, PreservedDump, Trigger
from fadump.firmware.powernv import PowernvFirmware
from fadump.firmware.pseries import PseriesFirmware
from fadump.firmware.wrapped import WrappedFirmware
from fadump.memory.devicetree import DeviceTree
from fadump.memory.guest import GuestMemory

_NO_CALLS = "none"


def firmware_for(platform: Platform) -> Firmware:
    """A new firmware of this platform."""
    return PseriesFirmware() if platform is Platform.PSERIES else PowernvFirmware()


@dataclass(slots=True)
class _Boot:
    found: bytes
    tree: DeviceTree
    calls: list[str] = field(default_factory=list)


class Recorder(WrappedFirmware):
    """A firmware that passes everything on to ``firmware``, and records calls and answers."""

    def __init__(self, firmware: Firmware) -> None:
        super().__init__(firmware)
        self._boots: list[_Boot] = []
        self.cpus: Sequence[CpuRegisters] = ()
        """The CPUs' registers at the crash."""
        self.taken: PreservedDump | None = None
        """The dump of the crash, also once a kernel has discarded it."""

    def call(self, call: FirmwareCall, memory: GuestMemory) -> Outcome:
        text = self._opal_text(call) if self._is_opal() else self._rtas_text(call, memory)
        outcome = super().call(call, memory)
        self._boots[-1].calls.append(f"{text} -> {_outcome_text(outcome)}")
        return outcome

    def preserve(self, trigger: Trigger, memory: GuestMemory, cpus: Sequence[CpuRegisters]) -> PreservedDump:
        self.cpus = cpus
        self.taken = super().preserve(trigger, memory, cpus)
        return self.taken

    def describe(self, tree: DeviceTree) -> None:
        self._boots.append(_Boot(tree.encode(), tree))
        super().describe(tree)

    @property
    def trees(self) -> Sequence[tuple[bytes, bytes]]:
        """For each boot: the tree as boot firmware left it, and as the kernel got it."""
        return [(boot.found, boot.tree.encode()) for boot in self._boots]

    def take_calls(self, boot: int) -> str:
        """The new calls of a boot, one per line; boots count from 0."""
        calls, self._boots[boot].calls = self._boots[boot].calls, []
        return "\n".join(calls) or _NO_CALLS

    def dump(self) -> str:
        """What the firmware says that it has copied, one region per line."""
        return "" if self.taken is None else "\n".join(_dump_lines(self.taken))

    def _is_opal(self) -> bool:
        return self._boots[-1].tree.find("/ibm,opal") is not None

    def _rtas_text(self, call: FirmwareCall, memory: GuestMemory) -> str:
        node = self._boots[-1].tree.find("/rtas")
        assert node is not None  # noqa: S101 - the firmware would not have described it
        if call.token != node.cells(rtas.CONFIGURE_KERNEL_DUMP)[0]:
            return f"{rtas.OS_TERM} with {'a' if any(call.args) else 'no'} message"
        command, address, length = call.args
        text = f"{rtas.CONFIGURE_KERNEL_DUMP} {command} with {length:#x} bytes"
        if command != DumpCommand.REGISTER:
            return text
        try:
            structure = DumpStructure.decode(memory.read(address, min(length, MAX_BYTES)))
        except (AddressError, FormatError) as error:
            return f"{text}: {error}"
        sections = (
            f"type {section.type:#x} flags {section.request_flags:#x} {section.source:#x}"
            f"+{section.requested_bytes:#x} to {section.destination:#x}"
            for section in structure.sections
        )
        return f"{text}: {', '.join(sections)}"

    def _opal_text(self, call: FirmwareCall) -> str:
        match call.token:
            case OpalToken.MPIPL_UPDATE:
                operation, *where = call.args[:4]
                shown = where if operation == MpiplOperation.ADD_RANGE else []
                return " ".join([f"OPAL_MPIPL_UPDATE {operation}", *(f"{number:#x}" for number in shown)])
            case OpalToken.MPIPL_REGISTER_TAG:
                return f"OPAL_MPIPL_REGISTER_TAG {call.args[0]} {call.args[1]:#x}"
            case OpalToken.MPIPL_QUERY_TAG:
                return f"OPAL_MPIPL_QUERY_TAG {MpiplTag(call.args[0]).name}"
        return f"OPAL_CEC_REBOOT2 {call.args[0]}"


def _outcome_text(outcome: Outcome) -> str:
    match outcome:
        case Answer(status=status):
            return str(int(status))
        case Trigger(message=message):
            return f"a dump is taken: {message!r}"
    return "not the firmware's"


def _dump_lines(dump: PreservedDump) -> Iterator[str]:
    for region in dump.regions:
        yield (
            f"type {region.type:#x} {region.source:#x} to {region.destination:#x}: {region.copied_bytes:#x} of "
            f"{region.requested_bytes:#x} bytes, error flags {region.error_flags:#x}"
        )

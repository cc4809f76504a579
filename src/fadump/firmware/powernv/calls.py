"""The calls of the powernv firmware, and the state that they change.

Steps "register", "crash" and "release" of docs/architecture.md. Specification: skiboot, core/opal-dump.c and
doc/opal-api/opal-mpipl-173-174.rst for MPIPL, core/platform.c, opal_cec_reboot2(), for the crash. If they contradict
each other, its code counts.

As in skiboot, and unlike pseries:

* A reboot of type OPAL_REBOOT_MPIPL, or one by the platform, takes a dump even if no kernel has registered: of OPAL's
  memory and the CPUs, for opalcore.
* Ranges and tags may be registered at any time, even with a dump active; they are for the next crash. Queries return
  values of the last crash: a KERNEL tag can't be queried before the boot after the crash of the kernel that set it.
* FREE_PRESERVED_MEMORY succeeds even without a dump. After it, every query is a parameter error until the next boot.
* Operations, tags and reboot types are the lower 32 bits of their registers, as their C types are.

Decided here:

* A crash while a dump with a kernel's ranges is active keeps that dump and presents it again, as
  :class:`.pseries.PseriesFirmware` does; skiboot would lose it. Other resets also keep it.
* A dump without a kernel's ranges is kept until a kernel registers a range, or for one boot, as no kernel would free
  it.
* The firmware refuses calls before its first handover.
* Which ranges may overlap: see :mod:`.ranges`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from fadump.abi.powernv.mpipl import MpiplOperation, MpiplTag
from fadump.abi.powernv.opal import OpalStatus, OpalToken, RebootType, real_address
from fadump.abi.registers import CpuRegisters
from fadump.errors import FadumpError
from fadump.firmware.contract import (
    Answer,
    CallName,
    FirmwareCall,
    Outcome,
    PassThrough,
    PreservedDump,
    State,
    Trigger,
    TriggerKind,
)
from fadump.firmware.message import read_message
from fadump.firmware.powernv.dump import TakenDump, opal_range, take_dump
from fadump.firmware.powernv.ranges import RangeError, Registration, add_range, checked_range, remove_range
from fadump.firmware.powernv.tree import PowernvPlatform, find_platform, write_properties
from fadump.memory.devicetree import DeviceTree
from fadump.memory.guest import GuestMemory
from fadump.memory.ranges import Range

_TOKENS = frozenset(int(token) for token in OpalToken)
_MOST_ARGUMENTS = 4
_NO_TAGS = tuple(0 for _tag in MpiplTag)
_CALLS: Mapping[int, Mapping[int, CallName]] = {
    OpalToken.CEC_REBOOT2: {RebootType.MPIPL: CallName.TERMINATE},
    OpalToken.MPIPL_UPDATE: {
        MpiplOperation.ADD_RANGE: CallName.REGISTER,
        MpiplOperation.REMOVE_ALL: CallName.UNREGISTER,
        MpiplOperation.FREE_PRESERVED_MEMORY: CallName.INVALIDATE,
    },
    OpalToken.MPIPL_REGISTER_TAG: {
        MpiplTag.KERNEL: CallName.SET_KERNEL_TAG,
        MpiplTag.BOOT_MEM: CallName.SET_BOOT_MEM_TAG,
    },
    OpalToken.MPIPL_QUERY_TAG: {
        MpiplTag.CPU: CallName.QUERY_CPU_TAG,
        MpiplTag.OPAL: CallName.QUERY_OPAL_TAG,
        MpiplTag.KERNEL: CallName.QUERY_KERNEL_TAG,
        MpiplTag.BOOT_MEM: CallName.QUERY_BOOT_MEM_TAG,
    },
}


class PowernvFirmware:
    """OPAL's part in FADump, for one guest from power-on to power-off."""

    def __init__(self) -> None:
        self._platform: PowernvPlatform | None = None  # known from the first handover on
        self._registration = Registration()
        self._triggered = False
        self._resting = State.IDLE
        self._dump: TakenDump | None = None
        self._tags: tuple[int, ...] = _NO_TAGS  # for this boot's queries; empty after preserved memory is freed

    @property
    def state(self) -> State:
        """Its state: ACTIVE while there is a dump, whatever has been registered since."""
        if self._dump is not None:
            return State.ACTIVE
        if self._triggered:
            return State.TRIGGERED
        return State.REGISTERED if self._registration.ranges else self._resting

    @property
    def tokens(self) -> frozenset[int]:
        """The OPAL tokens of its calls, which are constant."""
        return _TOKENS

    @property
    def registration(self) -> Registration:
        """What the kernel has registered for the next crash."""
        return self._registration

    @property
    def preserved(self) -> PreservedDump | None:
        """The current dump, until the guest frees it."""
        return self._dump.preserved if self._dump else None

    @property
    def nmi_limit_ms(self) -> int:
        """0: OPAL has no such timer."""
        return 0

    def name_of(self, call: FirmwareCall) -> CallName | None:
        """The purpose of a call; None if it isn't one of FADump's."""
        if self._platform is None or not call.args:
            return None
        names = _CALLS.get(call.token, {})
        return names.get(_low_word(call.args[0]))

    def call(self, call: FirmwareCall, memory: GuestMemory) -> Outcome:
        """Handle an OPAL call. It reads guest memory at most once, doesn't write to it, and never raises."""
        if self._platform is None:
            return PassThrough()
        first, second, third, fourth = (*call.args, *(0,) * _MOST_ARGUMENTS)[:_MOST_ARGUMENTS]
        match call.token:
            case OpalToken.CEC_REBOOT2:
                return self._reboot(call.cpu_id, _low_word(first), second, memory)
            case OpalToken.MPIPL_UPDATE:
                return self._update(self._platform, _low_word(first), (second, third, fourth), memory)
            case OpalToken.MPIPL_REGISTER_TAG:
                return self._register_tag(_low_word(first), second, memory)
            case OpalToken.MPIPL_QUERY_TAG:
                return self._query_tag(_low_word(first), second, memory)
        return PassThrough()

    def preserve(self, trigger: Trigger, memory: GuestMemory, cpus: Sequence[CpuRegisters]) -> PreservedDump:
        """Take a dump, registered or not; if a kernel's dump is active already, keep and return that one.

        :raises FadumpError: no kernel has been started yet.
        """
        if self._platform is None:
            raise FadumpError(f"no dump can be taken for this {trigger.kind.value}: no kernel has been started yet")
        if self._dump is None or not self._dump.has_kernel:
            self._dump = take_dump(self._platform, self._registration, trigger.crashing_cpu, memory, cpus)
        self._boot()
        return self._dump.preserved

    def describe(self, tree: DeviceTree) -> None:
        """Write /ibm,opal/dump, and reserve the firmware's areas, which stay where they were at the first handover.

        :raises FadumpError: the tree has no OPAL, no CPUs or no memory with room for the areas; it is unchanged.
        """
        found = find_platform(tree) if self._platform is None else self._platform
        write_properties(tree, found, self.preserved)
        self._platform = found

    def on_reset(self) -> None:
        """Drop a registration; a kernel's dump is kept, and the next :meth:`describe` presents it again."""
        self._drop_unused_dump()
        self._boot()

    def _drop_unused_dump(self) -> None:
        """Drop a dump that no kernel would free. This boot's tags stay, as opalcore may query them later."""
        if self._dump is not None and not self._dump.has_kernel:
            self._dump = None
        self._resting = State.IDLE

    def _boot(self) -> None:
        """Do what skiboot does with its tables and tags at every start."""
        self._registration = Registration()
        self._triggered = False
        self._tags = self._dump.preserved.tags if self._dump else _NO_TAGS

    def _reboot(self, cpu_id: int, reboot_type: int, pointer: int, memory: GuestMemory) -> Trigger | PassThrough:
        if reboot_type != RebootType.MPIPL:
            return PassThrough()
        self._triggered = True
        address = real_address(pointer)
        return Trigger(TriggerKind.OS_TERM, read_message(memory, address) if address else "", cpu_id)

    def _update(
        self, platform: PowernvPlatform, operation: int, addresses_and_size: tuple[int, int, int], memory: GuestMemory
    ) -> Answer:
        source, destination, size_bytes = addresses_and_size
        table = self._registration.ranges
        try:
            match operation:
                case MpiplOperation.ADD_RANGE:
                    new = checked_range(source, destination, size_bytes, memory.ram)
                    table = add_range(table, new, opal_range(platform), platform.areas)
                    self._drop_unused_dump()
                case MpiplOperation.REMOVE_RANGE:
                    table = remove_range(table, source, destination)
                case MpiplOperation.REMOVE_ALL:
                    table = ()
                case MpiplOperation.FREE_PRESERVED_MEMORY:
                    self._free_preserved_memory()
                case _:
                    return _refused(f"there is no operation {operation:#x}")
        except RangeError as refusal:
            return Answer(refusal.status, reason=str(refusal))
        self._registration = replace(self._registration, ranges=table)
        return Answer(OpalStatus.SUCCESS)

    def _free_preserved_memory(self) -> None:
        if self._dump is not None:
            self._dump = None
            self._resting = State.INVALIDATED
        self._tags = ()

    def _register_tag(self, tag: int, value: int, memory: GuestMemory) -> Answer:
        match tag:
            case MpiplTag.KERNEL:
                self._registration = replace(self._registration, kernel_tag=value)
            case MpiplTag.BOOT_MEM:
                top_of_ram = max((extent.end for extent in memory.ram), default=0)
                if not 0 < value <= top_of_ram:
                    return _refused(f"boot memory can't end at {value:#x}, RAM ends at {top_of_ram:#x}")
                self._registration = replace(self._registration, boot_memory_bytes=value)
            case _:
                return _refused(f"tag {tag:#x} is not the kernel's to set")
        return Answer(OpalStatus.SUCCESS)

    def _query_tag(self, tag: int, pointer: int, memory: GuestMemory) -> Answer:
        address = real_address(pointer)
        if address is None or not memory.ram.contains(Range.sized(address, 8)):
            return _refused(f"no tag can be written to {pointer:#x}")
        if tag >= len(self._tags):
            return _refused(f"there is no tag {tag:#x}" if self._tags else "preserved memory has been freed")
        return Answer(OpalStatus.SUCCESS, writes=((address, self._tags[tag].to_bytes(8, "big")),))


def _low_word(argument: int) -> int:
    return argument & 0xFFFF_FFFF


def _refused(reason: str) -> Answer:
    return Answer(OpalStatus.PARAMETER, reason=reason)

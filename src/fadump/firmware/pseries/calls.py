"""The calls of the pseries firmware, and the state that they change.

Steps "register", "crash" and "release" of docs/architecture.md. Specification: LoPAR, the RTAS calls
ibm,configure-kernel-dump and ibm,os-term. Its requirements R1-4 and R1-5 (-9 for an active dump, -8 for a second
registration) contradict its status table. The table is used here, as in Linux and QEMU.

Where LoPAR leaves it open:

* Unregistering succeeds if nothing is registered, as in QEMU.
* Invalidating without a dump is a parameter error.
* Only registering reads the work buffer. Linux passes the length 440 to the other two, whatever it registered.
* ibm,os-term with a dump active is a crash of the capture kernel. The machine is reset again with memory kept, and the
  first dump is presented again: if the call returned, Linux would invalidate that dump at its panic timeout. The
  crashed capture kernel itself is not dumped.
* ibm,os-term is accepted with any number of arguments, so that a crashing kernel gets its dump.
* A plain reset drops a registration, as its kernel is gone, and keeps an active dump (R1-3).
* max_time_auto counts from a system reset interrupt, for all CPUs together: if none has called ibm,os-term by then,
  the platform takes the dump. In Linux it is 0, which is never.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from fadump.abi.pseries import register_names, register_save_area
from fadump.abi.pseries.dump_structure import DumpStructure, SectionType
from fadump.abi.pseries.rtas import DumpCommand, RtasStatus
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
from fadump.firmware.pseries.dump import take_dump
from fadump.firmware.pseries.sections import RegistrationError, check_structure, read_structure
from fadump.firmware.pseries.tree import Offer, PseriesPlatform, find_platform, next_crash_info, write_properties
from fadump.memory.devicetree import DeviceTree
from fadump.memory.guest import GuestMemory

REGISTERS_PER_CPU = len(register_names.REGISTERS)
"""The number of registers in LoPAR's table, without the transactional checkpoints."""

_COMMANDS: Mapping[int, CallName] = {
    DumpCommand.REGISTER: CallName.REGISTER,
    DumpCommand.UNREGISTER: CallName.UNREGISTER,
    DumpCommand.INVALIDATE: CallName.INVALIDATE,
}


class PseriesFirmware:
    """RTAS's part in FADump, for one guest from power-on to power-off.

    ``registers_per_cpu`` is the most registers that one CPU can have in a dump; it sets the size of the CPU state
    section, unless the ``offer`` says otherwise. A ``strict`` firmware does what LoPAR says and no more; else it
    protects the next crash's header from a bug of Linux's, see :func:`.next_crash_info`.
    """

    def __init__(
        self, registers_per_cpu: int = REGISTERS_PER_CPU, *, strict: bool = False, offer: Offer | None = None
    ) -> None:
        self._registers_per_cpu = registers_per_cpu
        self._offer = offer or Offer()
        self._hpte_bytes = 0
        self._strict = strict
        self._state = State.IDLE
        self._platform: PseriesPlatform | None = None  # known from the first handover on
        self._registration: DumpStructure | None = None
        self._dump: PreservedDump | None = None

    @property
    def state(self) -> State:
        """Its state."""
        return self._state

    @property
    def tokens(self) -> frozenset[int]:
        """The RTAS tokens of its calls; none before the first :meth:`describe`."""
        return self._platform.tokens if self._platform else frozenset()

    @property
    def registration(self) -> DumpStructure | None:
        """What the kernel has registered, as it was at that time."""
        return self._registration

    @property
    def preserved(self) -> PreservedDump | None:
        """The current dump, until the guest invalidates it."""
        return self._dump

    @property
    def nmi_limit_ms(self) -> int:
        """max_time_auto of what is registered."""
        return 0 if self._registration is None else self._registration.max_time_auto_ms

    def name_of(self, call: FirmwareCall) -> CallName | None:
        """The purpose of a call; None if it isn't one of FADump's."""
        if self._platform is None or call.token not in self._platform.tokens:
            return None
        if call.token == self._platform.os_term_token:
            return CallName.TERMINATE
        return _COMMANDS.get(call.args[0]) if call.args else None

    def call(self, call: FirmwareCall, memory: GuestMemory) -> Outcome:
        """Handle an RTAS call. It reads guest memory at most once, doesn't write to it, and never raises."""
        if self._platform is None or call.token not in self._platform.tokens:
            return PassThrough()
        if call.token == self._platform.os_term_token:
            return self._os_term(call, memory)
        return self._configure_kernel_dump(call, memory, self._platform)

    def preserve(self, trigger: Trigger, memory: GuestMemory, cpus: Sequence[CpuRegisters]) -> PreservedDump:
        """Take the registered dump; if a dump is active already, keep and return that one.

        :raises FadumpError: nothing is registered.
        """
        if self._dump is not None:
            return self._dump
        if self._registration is None:
            raise FadumpError(
                f"no dump can be taken for this {trigger.kind.value}: the guest has not registered for one"
            )
        self._state = State.TRIGGERED
        dump = take_dump(self._registration, memory, cpus)
        self._dump = dump if self._strict else replace(dump, protected=next_crash_info(dump))
        self._registration = None
        self._state = State.ACTIVE
        return self._dump

    def describe(self, tree: DeviceTree) -> None:
        """Write the properties in /rtas. Tokens and sizes stay what they were at the first handover, apart from that of
        the hash page table, which a kernel need not have: that one stays what it was as long as a dump is active.

        :raises FadumpError: the tree has no RTAS, no ibm,os-term, no memory at 0 or no CPUs; it is unchanged.
        """
        found = find_platform(tree)
        if self._platform is None:
            self._platform = found
        if self._dump is None:
            self._hpte_bytes = self._offer.hash_table_bytes(tree)
        write_properties(tree, self._platform, self._offered(self._platform), self._dump, self._offer.reserved)

    def on_reset(self) -> None:
        """Drop a registration; an active dump is kept, and the next :meth:`describe` presents it again."""
        self._registration = None
        if self._state is not State.ACTIVE:
            self._state = State.IDLE

    def _configure_kernel_dump(self, call: FirmwareCall, memory: GuestMemory, platform: PseriesPlatform) -> Answer:
        if len(call.args) != 3 or call.returns != 1:
            return _refused(f"{len(call.args)} arguments and {call.returns} results; it has 3 and 1")
        command, address, length = call.args
        match command:
            case DumpCommand.REGISTER:
                return self._register(memory, platform, address, length)
            case DumpCommand.UNREGISTER:
                return self._unregister()
            case DumpCommand.INVALIDATE:
                return self._invalidate()
        return _refused(f"there is no command {command:#x}")

    def _register(self, memory: GuestMemory, platform: PseriesPlatform, address: int, length: int) -> Answer:
        match self._state:
            case State.REGISTERED:
                return Answer(RtasStatus.ALREADY_REGISTERED, reason="unregister first")
            case State.TRIGGERED | State.ACTIVE:
                return Answer(RtasStatus.DUMP_ACTIVE, reason="invalidate the active dump first")
        try:
            structure = read_structure(memory, platform.rma, address, length)
            check_structure(structure, memory.ram, self._offered(platform))
        except RegistrationError as refusal:
            return _refused(str(refusal))
        self._registration = structure
        self._state = State.REGISTERED
        return Answer(RtasStatus.SUCCESS)

    def _unregister(self) -> Answer:
        match self._state:
            case State.TRIGGERED | State.ACTIVE:
                return Answer(RtasStatus.DUMP_ACTIVE, reason="invalidate the active dump first")
            case State.REGISTERED:
                self._registration = None
                self._state = State.IDLE
        return Answer(RtasStatus.SUCCESS)

    def _invalidate(self) -> Answer:
        if self._state is not State.ACTIVE:
            return _refused("there is no dump to invalidate")
        self._dump = None
        self._state = State.INVALIDATED
        return Answer(RtasStatus.SUCCESS)

    def _os_term(self, call: FirmwareCall, memory: GuestMemory) -> Trigger | PassThrough:
        match self._state:
            case State.IDLE | State.INVALIDATED:
                return PassThrough()
            case State.REGISTERED:
                self._state = State.TRIGGERED
        message = read_message(memory, call.args[0]) if call.args and call.args[0] else ""
        return Trigger(TriggerKind.OS_TERM, message, call.cpu_id)

    def _offered(self, platform: PseriesPlatform) -> Mapping[int, int]:
        """Sizes in bytes by section type."""
        cpu_state_bytes = self._offer.cpu_state_bytes
        if cpu_state_bytes is None:
            cpu_state_bytes = register_save_area.area_bytes(platform.cpu_count, self._registers_per_cpu)
        return {SectionType.CPU_STATE: cpu_state_bytes, SectionType.HPTE: self._hpte_bytes}


def _refused(reason: str) -> Answer:
    return Answer(RtasStatus.PARAMETER_ERROR, reason=reason)

"""What every firmware has in common: calls and their outcomes, triggers, the preserved dump.

All firmware steps of "follow one crash" in docs/architecture.md: register, trigger, preserve, describe,
invalidate. The machine stops a guest at a firmware call, hands a :class:`FirmwareCall` over and does what
the :data:`Outcome` says. A firmware knows guest memory and the device tree, and no emulator, boot
firmware or debugger. Specification of the states: LoPAR, "Platform Dump", ibm,configure-kernel-dump.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import Enum, StrEnum
from typing import Protocol

from fadump.abi.registers import CpuRegisters
from fadump.memory.devicetree import DeviceTree
from fadump.memory.guest import GuestMemory
from fadump.memory.ranges import RangeSet


class State(Enum):
    """Where a firmware stands between two crashes.

    idle → registered → triggered → active → invalidated → registered …; a reset or an unregistration
    leads from registered back to idle.
    """

    IDLE = "idle"
    """Nothing registered, no dump."""
    REGISTERED = "registered"
    """A crash will be dumped."""
    TRIGGERED = "triggered"
    """A crash was reported; :meth:`Firmware.preserve` comes next, and the guest doesn't run until then."""
    ACTIVE = "active"
    """A dump is held for the capture kernel, over every reset, until it is invalidated."""
    INVALIDATED = "invalidated"
    """The dump has been dealt with; as idle, a new registration is taken."""


class TriggerKind(Enum):
    """What made the firmware dump."""

    OS_TERM = "os-term"
    """The kernel said so, by the firmware call of its platform."""
    PLATFORM = "platform"
    """The platform ends the guest without the kernel's help; the machine makes this trigger itself."""


class CallName(StrEnum):
    """What a call asks for, whatever it is called on its platform."""

    REGISTER = "register"
    """ibm,configure-kernel-dump's command 1; OPAL_MPIPL_UPDATE, ADD_RANGE."""
    UNREGISTER = "unregister"
    """Command 2; REMOVE_ALL."""
    INVALIDATE = "invalidate"
    """Command 3; FREE_PRESERVED_MEMORY."""
    TERMINATE = "terminate"
    """ibm,os-term; OPAL_CEC_REBOOT2 of type MPIPL."""
    SET_KERNEL_TAG = "set-kernel-tag"
    SET_BOOT_MEM_TAG = "set-boot-mem-tag"
    """OPAL_MPIPL_REGISTER_TAG, which has no like with RTAS."""
    QUERY_CPU_TAG = "query-cpu-tag"
    QUERY_OPAL_TAG = "query-opal-tag"
    QUERY_KERNEL_TAG = "query-kernel-tag"
    QUERY_BOOT_MEM_TAG = "query-boot-mem-tag"
    """OPAL_MPIPL_QUERY_TAG."""


@dataclass(frozen=True, slots=True)
class FirmwareCall:
    """One call as the guest made it; nothing in it is trusted.

    ``cpu_id`` is the platform's name of the CPU, as in :class:`.CpuRegisters`; ``args`` are unsigned (32 bits
    each on pseries, 64 on powernv), ``returns`` counts the results that the guest has room for (pseries' nret,
    status included), ``answer_address`` is the guest-physical address of the first of them (0 on powernv,
    where the answer is in a register).
    """

    cpu_id: int
    token: int
    args: tuple[int, ...]
    returns: int
    answer_address: int


@dataclass(frozen=True, slots=True)
class Answer:
    """The guest gets ``status`` (signed) and ``outputs``, and runs on.

    ``writes`` are (guest-physical address, bytes): what the machine puts where a pointer among the arguments
    says. The firmware has checked that all of it is RAM.
    ``reason`` says in a log why a call was refused; empty if it wasn't.
    """

    status: int
    outputs: tuple[int, ...] = ()
    writes: tuple[tuple[int, bytes], ...] = ()
    reason: str = field(default="", compare=False)


@dataclass(frozen=True, slots=True)
class PassThrough:
    """Not ours: the platform's own firmware takes the call."""


@dataclass(frozen=True, slots=True)
class Trigger:
    """The guest has crashed: stop it, preserve, reset with memory kept.

    ``message`` is the guest's own text, shortened and made printable, empty if it gave none;
    ``crashing_cpu`` is the platform's name of the CPU, None where no CPU is known to have crashed.
    """

    kind: TriggerKind
    message: str
    crashing_cpu: int | None


@dataclass(frozen=True, slots=True)
class Watched:
    """The guest has crashed, and the platform's own firmware takes the dump: look, then let the call go on.

    The platform resets the guest by itself, and tells of the dump at the next handover.
    """

    trigger: Trigger


Outcome = Answer | PassThrough | Trigger | Watched


@dataclass(frozen=True, slots=True)
class PreservedRegion:
    """One section or range as the firmware left it: guest-physical addresses, lengths in bytes.

    ``type`` and ``error_flags`` are the platform's own numbers, ``name`` says for people what is at the
    destination. ``copied_bytes`` equals ``requested_bytes`` unless ``error_flags`` says why not, or the region
    wasn't asked for.
    """

    type: int
    source: int
    requested_bytes: int
    copied_bytes: int
    destination: int
    error_flags: int
    name: str = ""


@dataclass(frozen=True, slots=True)
class PreservedDump:
    """What a crash left behind.

    ``structure`` is what the platform hands to the capture kernel, byte for byte. ``boot_memory`` are
    the sources that were copied aside; the capture kernel may use that memory, and no other.
    ``keep`` is RAM above boot memory top, and every destination: the machine keeps every byte of it
    over every reset until the dump is invalidated. ``crash_info`` is where the crashed kernel has its
    crash-info header, None if it has not said so. ``tags`` is what the next kernel can ask for, where the platform
    has that.
    """

    regions: tuple[PreservedRegion, ...]
    structure: bytes
    boot_memory: RangeSet
    keep: RangeSet
    crash_info: int | None = None
    tags: tuple[int, ...] = ()


class Firmware(Protocol):
    """One platform's firmware, serving one guest from power-on to power-off."""

    @property
    def state(self) -> State:
        """Where it stands."""

    @property
    def tokens(self) -> frozenset[int]:
        """The calls to stop the guest for: everything else passes without asking. Known after describe()."""

    @property
    def preserved(self) -> PreservedDump | None:
        """The dump that is held, from preserve() until the guest invalidates it."""

    def name_of(self, call: FirmwareCall) -> CallName | None:
        """What a call asks for; None if it has nothing to do with FADump."""

    def call(self, call: FirmwareCall, memory: GuestMemory) -> Outcome:
        """Take a call. Never raises, whatever the guest passed, and writes nothing to memory.

        The machine writes the answer.
        """

    def preserve(self, trigger: Trigger, memory: GuestMemory, cpus: Sequence[CpuRegisters]) -> PreservedDump:
        """Copy what was registered aside; the guest is stopped, ``cpus`` are those online at the crash.

        A registered region that can't be copied is marked in the dump; only a dump without a
        registration is an error.

        :raises FadumpError: nothing is registered and no dump is active.
        """

    def describe(self, tree: DeviceTree) -> None:
        """Tell the kernel about to start, in its device tree; at every handover, the first boot's too.

        :raises FadumpError: the tree lacks what the platform needs; it is unchanged then.
        """

    def on_reset(self) -> None:
        """The guest was reset other than by a trigger: a registration is dropped, an active dump kept."""

"""What every firmware has in common: calls and their outcomes, triggers, the preserved dump.

All firmware steps of "follow one crash" in docs/architecture.md: register, trigger, preserve, describe,
invalidate. The machine stops a guest at a firmware call, passes a :class:`FirmwareCall` to the firmware and does what
the :data:`Outcome` says. A firmware uses guest memory and the device tree, but no emulator, boot firmware or debugger.
Specification of the states: LoPAR, "Platform Dump", ibm,configure-kernel-dump.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import Enum, StrEnum
from typing import Protocol

from fadump.abi.registers import CpuRegisters
from fadump.memory.devicetree import DeviceTree
from fadump.memory.guest import GuestMemory
from fadump.memory.ranges import Range, RangeSet


class State(Enum):
    """The state of a firmware.

    idle → registered → triggered → active → invalidated → registered …; a reset or an unregistration
    leads from registered back to idle.
    """

    IDLE = "idle"
    """Nothing registered, no dump."""
    REGISTERED = "registered"
    """A crash will be dumped."""
    TRIGGERED = "triggered"
    """A crash was reported; :meth:`Firmware.preserve` is next, and the guest doesn't run until then."""
    ACTIVE = "active"
    """A dump is kept for the capture kernel, across resets, until it is invalidated."""
    INVALIDATED = "invalidated"
    """The dump is no longer needed; as in idle, a registration is accepted."""


class TriggerKind(Enum):
    """The reason of a dump."""

    OS_TERM = "os-term"
    """The kernel made its platform's firmware call."""
    PLATFORM = "platform"
    """The platform ended the guest without the kernel; the machine makes this trigger itself."""
    OPAL = "opal"
    """OPAL itself has failed, and has ended the machine."""


class CallName(StrEnum):
    """The purpose of a call, on any platform."""

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
    """OPAL_MPIPL_REGISTER_TAG, which has no counterpart in RTAS."""
    QUERY_CPU_TAG = "query-cpu-tag"
    QUERY_OPAL_TAG = "query-opal-tag"
    QUERY_KERNEL_TAG = "query-kernel-tag"
    QUERY_BOOT_MEM_TAG = "query-boot-mem-tag"
    """OPAL_MPIPL_QUERY_TAG."""


@dataclass(frozen=True, slots=True)
class FirmwareCall:
    """One call as the guest made it; nothing in it is trusted.

    ``cpu_id`` is the platform's number of the CPU, as in :class:`.CpuRegisters`; ``args`` are unsigned (32 bits
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
    """The guest gets ``status`` (signed) and ``outputs``, and continues.

    ``writes`` are (guest-physical address, bytes): what the machine writes to memory that arguments point to. The
    firmware has checked that all of it is RAM. ``reason`` says for logs why a call was refused; empty if it wasn't.
    """

    status: int
    outputs: tuple[int, ...] = ()
    writes: tuple[tuple[int, bytes], ...] = ()
    reason: str = field(default="", compare=False)


@dataclass(frozen=True, slots=True)
class PassThrough:
    """The call is not for this firmware but for the platform's own."""


@dataclass(frozen=True, slots=True)
class Trigger:
    """The guest has crashed: stop it, preserve, reset with memory kept.

    ``message`` is the guest's own text, shortened and made printable, empty if it gave none;
    ``crashing_cpu`` is the platform's number of the CPU, None if no CPU is known to have crashed.
    """

    kind: TriggerKind
    message: str
    crashing_cpu: int | None


@dataclass(frozen=True, slots=True)
class Watched:
    """The guest has crashed, and the platform's own firmware takes the dump when the call continues.

    The platform resets the guest by itself, and describes the dump at the next handover.
    """

    trigger: Trigger


Outcome = Answer | PassThrough | Trigger | Watched


@dataclass(frozen=True, slots=True)
class PreservedRegion:
    """One section or range after preserving: guest-physical addresses, lengths in bytes.

    ``type`` and ``error_flags`` are the platform's own numbers, ``name`` says in words what is at the
    destination. ``copied_bytes`` equals ``requested_bytes`` unless ``error_flags`` says why not, or the region
    wasn't requested.
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
    """The dump of a crash.

    ``structure`` is what the platform passes to the capture kernel, byte for byte. ``boot_memory`` are
    the sources that were copied; the capture kernel may use that memory, and no other.
    ``keep`` is RAM above boot memory top, and every destination: the machine must keep every byte of it
    across resets until the dump is invalidated. ``crash_info`` is where the crashed kernel's crash-info header is,
    None if that is unknown. ``tags`` are the values that the next kernel can query, on a platform that has them.
    ``protected`` is what the capture kernel is told to leave alone though no specification asks for it: without that
    Linux would free it at the release, and register it again.
    ``hash_tables`` is where the guest's hash page table belongs, which is in no guest memory: the machine writes it to
    each of them when it resets. They are part of ``keep``.
    """

    regions: tuple[PreservedRegion, ...]
    structure: bytes
    boot_memory: RangeSet
    keep: RangeSet
    crash_info: int | None = None
    tags: tuple[int, ...] = ()
    protected: Range | None = None
    hash_tables: tuple[Range, ...] = ()


class Firmware(Protocol):
    """One platform's firmware, serving one guest from power-on to power-off."""

    @property
    def state(self) -> State:
        """Its state."""

    @property
    def tokens(self) -> frozenset[int]:
        """The tokens of the calls to stop the guest for; others bypass the firmware. Known after describe()."""

    @property
    def preserved(self) -> PreservedDump | None:
        """The current dump, from preserve() until the guest invalidates it."""

    @property
    def nmi_limit_ms(self) -> int:
        """How many milliseconds after a system reset interrupt the guest has for reporting its crash, before the
        platform dumps it unasked; 0: as long as it likes."""

    def name_of(self, call: FirmwareCall) -> CallName | None:
        """The purpose of a call; None if it isn't one of FADump's."""

    def call(self, call: FirmwareCall, memory: GuestMemory) -> Outcome:
        """Handle a call. It never raises, whatever the guest passed, and doesn't write to memory.

        The machine writes the answer.
        """

    def preserve(self, trigger: Trigger, memory: GuestMemory, cpus: Sequence[CpuRegisters]) -> PreservedDump:
        """Copy what was registered; the guest is stopped, ``cpus`` are those online at the crash.

        A registered region that can't be copied is marked in the dump; only the lack of a registration is an error.

        :raises FadumpError: nothing is registered and no dump is active.
        """

    def describe(self, tree: DeviceTree) -> None:
        """Write the firmware's properties to the next kernel's device tree, at every handover, including the first.

        :raises FadumpError: the tree lacks what the platform needs; it is unchanged then.
        """

    def on_reset(self) -> None:
        """The guest was reset other than by a trigger: a registration is dropped, an active dump kept."""

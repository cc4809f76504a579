"""The guest channel: what a guest of ours can be asked, and what it reports, each as a type of its own.

docs/guest-channel.md describes both sides. A machine that runs somebody else's system has no guest channel.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import ClassVar, Protocol

from fadump.memory.ranges import Range


class BootMode(StrEnum):
    """What a boot is for, by the device tree that it has been given."""

    FIRST = "first"
    CAPTURE = "capture"
    """The firmware has preserved a dump."""
    KDUMP = "kdump"
    """A crashed kernel has started this one by kexec."""


class Report:
    """What the guest says; ``word`` is what it is called in docs/guest-channel.md, and to people."""

    __slots__ = ()
    word: ClassVar[str]


@dataclass(frozen=True, slots=True)
class Hello(Report):
    """A boot has come to its first process.

    ``memory_bytes`` is the kernel's MemTotal. ``enabled`` and ``registered`` are /sys/kernel/fadump's files of those
    names, None where the kernel has none; ``opal_core_bytes`` is the size of OPAL's core, None without one.
    ``kdump_bytes`` is what the kernel has reserved for kdump, None where it has no kexec.
    """

    word = "hello"

    mode: BootMode
    release: str
    cpus: int
    memory_bytes: int
    page_bytes: int
    enabled: bool | None
    registered: bool | None
    opal_core_bytes: int | None
    kdump_bytes: int | None = None

    @property
    def is_capture(self) -> bool:
        """Whether the firmware has told this boot of a dump."""
        return self.mode is BootMode.CAPTURE

    @property
    def fell_back(self) -> bool:
        """Whether the kernel has reserved memory for kdump and not for FADump."""
        return self.mode is BootMode.FIRST and self.enabled is False and bool(self.kdump_bytes)


@dataclass(frozen=True, slots=True)
class Registered(Report):
    """FADump is registered. ``reserved_bytes`` is mem_reserved, ``regions`` is debugfs' fadump_region; None where the
    kernel has no such file."""

    word = "registered"

    reserved_bytes: int | None
    regions: bytes | None


@dataclass(frozen=True, slots=True)
class Unregistered(Report):
    """FADump is registered no longer."""

    word = "unregistered"


@dataclass(frozen=True, slots=True)
class KdumpLoaded(Report):
    """A crash kernel lies in the memory that is reserved for it; ``reason`` is why the kernel has not enabled FADump
    instead, in its own words, None if it doesn't say."""

    word = "loaded_kdump"

    area: Range
    reason: str | None


@dataclass(frozen=True, slots=True)
class Crashing(Report):
    """The kernel is about to crash on this logical CPU."""

    word = "crashing"

    cpu: int


@dataclass(frozen=True, slots=True)
class Saving(Report):
    """The copy of /proc/vmcore, which has so many bytes, has begun."""

    word = "saving"

    vmcore_bytes: int


@dataclass(frozen=True, slots=True)
class SavingProgress(Report):
    """So many bytes of /proc/vmcore have been written."""

    word = "progress"

    written_bytes: int


@dataclass(frozen=True, slots=True)
class Saved(Report):
    """All of /proc/vmcore, so many bytes, is on the guest's disk."""

    word = "saved"

    vmcore_bytes: int


@dataclass(frozen=True, slots=True)
class SavedOpalCore(Report):
    """OPAL's core is on the guest's disk, ``size_bytes`` from ``disk_offset`` on."""

    word = "saved_opalcore"

    size_bytes: int
    disk_offset: int


@dataclass(frozen=True, slots=True)
class Released(Report):
    """The preserved memory is the kernel's again, whose MemTotal has grown by so much."""

    word = "released"

    released_bytes: int


@dataclass(frozen=True, slots=True)
class ScriptRan(Report):
    """A script has ended. ``output`` is the first 64 KiB of the ``output_bytes`` that it has printed."""

    word = "ran"

    status: int
    output_bytes: int
    output: bytes


@dataclass(frozen=True, slots=True)
class ShellLeft(Report):
    """Whoever had a shell on the guest's console has left it."""

    word = "left"


@dataclass(frozen=True, slots=True)
class FileWritten(Report):
    """A process has written to one of the kernel's files; ``result`` is as write(2) returns it to a kernel: a number
    of bytes or a negative errno. The embedded guest only."""

    word = "wrote"

    result: int


@dataclass(frozen=True, slots=True)
class Failed(Report):
    """The guest could not do what it was asked: ``step`` is the request's word, ``reason`` the guest's sentence."""

    word = "failed"

    step: str
    reason: str


@dataclass(frozen=True, slots=True)
class Register:
    """Have the guest register for FADump; answered by :class:`Registered`."""


@dataclass(frozen=True, slots=True)
class Unregister:
    """Withdraw the registration; answered by :class:`Unregistered`."""


@dataclass(frozen=True, slots=True)
class Reregister:
    """Register once more, in the same boot; answered by :class:`Registered`."""


@dataclass(frozen=True, slots=True)
class LoadKdump:
    """Load a crash kernel and its initramfs, which lie on the guest's disk, each from a whole MiB on; answered by
    :class:`KdumpLoaded`."""

    kernel: Range
    initrd: Range


@dataclass(frozen=True, slots=True)
class Crash:
    """Crash the kernel on this logical CPU; answered by :class:`Crashing`, and the kernel is gone."""

    cpu: int


@dataclass(frozen=True, slots=True)
class Save:
    """Have the capture boot copy /proc/vmcore out; answered by :class:`Saving`, any number of
    :class:`SavingProgress`, and :class:`Saved`."""


@dataclass(frozen=True, slots=True)
class SaveOpalCore:
    """Have the capture boot copy OPAL's own core out, which powernv has; answered by :class:`SavedOpalCore`."""


@dataclass(frozen=True, slots=True)
class Release:
    """Give the preserved memory back to the running kernel; answered by :class:`Released`."""


@dataclass(frozen=True, slots=True)
class RunScript:
    """Run a shell script in the guest; answered by :class:`ScriptRan`, unless it crashes the guest, as it may be to."""

    script: str
    may_crash: bool = False


@dataclass(frozen=True, slots=True)
class Shell:
    """Run a shell on the guest's console, whose prompt says what the boot is for; answered by :class:`ShellLeft`, if
    whoever is in it doesn't crash or reset the guest."""

    mode: BootMode


Request = Register | Unregister | Reregister | LoadKdump | Crash | Save | SaveOpalCore | Release | RunScript | Shell


class GuestChannel(Protocol):
    """Somebody in the guest to ask. Reports come as the machine's events."""

    def ask(self, request: Request) -> None:
        """Ask the guest to do something."""

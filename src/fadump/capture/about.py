"""What a dump's headers say about the crashed system, in any format.

Step "saved" of docs/architecture.md. Notes are copied in their order; only the seal is new.
"""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

from fadump.abi.layout import ByteOrder
from fadump.linux.crash import KernelName
from fadump.linux.pages import DumpLevel
from fadump.linux.system import UNREADABLE_KERNEL, CrashedSystem
from fadump.vmcore.contract import Dump
from fadump.vmcore.notes import VMCOREINFO_NAME, Note
from fadump.vmcore.seal import is_seal

_EVERY_LEVEL = 31


@dataclass(frozen=True, slots=True)
class About:
    """``crash_time`` counts seconds since 1970, UTC; 0: unknown. ``notes`` have VMCOREINFO if the dump has it.
    ``level_before`` is the level at which it had been filtered already."""

    byte_order: ByteOrder
    machine: str
    name: KernelName
    crash_time: int
    notes: Sequence[Note]
    level_before: DumpLevel

    @property
    def cpus(self) -> int:
        """How many CPUs' registers there are."""
        return sum(note.is_prstatus() for note in self.notes)


def describe(system: CrashedSystem, dump: Dump) -> About:
    """What the headers of ``dump``, the system's with what was added, are to say; what can't be read stays empty."""
    name, seconds = _nameless(""), 0
    if dump.vmcoreinfo is not None:
        with suppress(*UNREADABLE_KERNEL):  # a name is no reason not to save
            name = system.kernel or _nameless(system.vmcoreinfo.text("OSRELEASE"))
            seconds = system.crash_time or 0
    elif dump.system_name is not None:
        header = dump.system_name
        name = KernelName("Linux", header.nodename, header.release, "", dump.machine, "(none)")
        seconds = header.timestamp
    notes = [note for note in dump.notes if not is_seal(note)]
    if dump.vmcoreinfo is not None and all(note.name != VMCOREINFO_NAME for note in notes):
        notes.append(Note(VMCOREINFO_NAME, 0, dump.vmcoreinfo, 0))
    level = DumpLevel(dump.dump_level & _EVERY_LEVEL)
    return About(dump.byte_order, dump.machine, name, seconds, tuple(notes), level)


def _nameless(release: str) -> KernelName:
    return KernelName("Linux", "(none)", release, "", "", "(none)")

"""What a dump's headers say about the crashed system, in any format.

Step "saved" of docs/architecture.md. Notes are copied in their order; only the seal is new.
"""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, fields

from fadump.abi import elf
from fadump.abi.layout import ByteOrder
from fadump.capture.note_order import in_order
from fadump.linux.kernel_name import KernelName
from fadump.linux.memory import is_of_power
from fadump.linux.pages.page_class import DumpLevel
from fadump.linux.system import UNREADABLE_KERNEL, CrashedSystem
from fadump.linux.vmcoreinfo import Facts, MissingFactError
from fadump.vmcore.contract import Dump, VirtualRange
from fadump.vmcore.notes import ERASEINFO_NAME, VMCOREINFO_NAME, Note
from fadump.vmcore.seal import is_seal

_EVERY_LEVEL = 31
_WORD = (1 << 64) - 1
_POWER = {name: known for known, name in elf.MACHINES.items() if known[0] == elf.EM_PPC64}
_NO_NAME = KernelName("Linux", "(none)", "(unknown)", "(unknown)", "(unknown)", "(none)")


@dataclass(frozen=True, slots=True)
class About:
    """``byte_order`` is the kernel's. ``name`` has no empty text: libkdumpfile takes such a header for a damaged one.

    ``seconds`` since 1970, UTC, and ``microseconds`` are the time of the crash, or of the dump if that isn't known; 0:
    neither is. ``phys_base`` is how far x86 has moved its memory, ``virtual_ranges`` where other machines than Power
    have theirs. ``cpus`` are those with registers; if there are none, as many as the dump's header says. ``notes`` have
    VMCOREINFO and erase info if the dump has them. ``level_before`` is the level at which it had been filtered already.
    """

    byte_order: ByteOrder
    machine: str
    name: KernelName
    seconds: int
    microseconds: int
    phys_base: int
    cpus: int
    notes: Sequence[Note]
    level_before: DumpLevel
    virtual_ranges: Sequence[VirtualRange]


def describe(system: CrashedSystem, dump: Dump) -> About:
    """What the headers of ``dump``, the system's with what was added, are to say.

    Each fact is the kernel's own; what its memory and VMCOREINFO lack, the dump's header may have.
    """
    header = dump.system_name
    seconds, microseconds = (header.seconds, header.microseconds) if header is not None else (0, 0)
    phys_base = header.phys_base if header is not None else 0
    own = facts = own_text = None
    byte_order = dump.byte_order
    with suppress(*UNREADABLE_KERNEL):  # none of this is a reason not to save
        own_text = system.vmcoreinfo_text
        facts = system.vmcoreinfo
        byte_order = system.memory.byte_order
        own = system.kernel
    if facts is not None:
        with suppress(*UNREADABLE_KERNEL):
            phys_base = phys_base or facts.number("phys_base") & _WORD
        with suppress(*UNREADABLE_KERNEL):
            crashed = facts.plain_number("CRASHTIME")
            if crashed != seconds:
                seconds, microseconds = crashed, 0
    notes = [note for note in in_order(dump.notes, dump.byte_order, byte_order) if not is_seal(note)]
    for name, data in ((VMCOREINFO_NAME, own_text), (ERASEINFO_NAME, dump.erase_info)):
        if data is not None and all(note.name != name or not note.desc for note in notes):
            notes.append(Note(name, 0, data, 0))
    registers = sum(note.is_prstatus() for note in notes)
    machine = dump.machine
    if is_of_power(dump) and own is not None and (elf.EM_PPC64, byte_order) == _POWER.get(own.machine):
        machine = own.machine  # QEMU writes "Unknown" into kdump-compressed dumps of Power
    return About(
        byte_order=byte_order,
        machine=machine,
        name=_whole_name(dump, machine, facts, own),
        seconds=seconds,
        microseconds=microseconds,
        phys_base=phys_base,
        cpus=registers or (header.cpus if header is not None else 0),
        notes=tuple(notes),
        level_before=DumpLevel(dump.dump_level & _EVERY_LEVEL),
        virtual_ranges=() if is_of_power(dump) else dump.virtual_ranges,
    )


def _whole_name(dump: Dump, machine: str, facts: Facts | None, own: KernelName | None) -> KernelName:
    """The kernel's name with no text empty: the first that is known of each."""
    header, release = dump.system_name, ""
    if facts is not None:
        with suppress(MissingFactError):
            release = facts.text("OSRELEASE")
    names = [own] if own is not None else []
    if header is not None:
        names.append(
            KernelName(header.system, header.node, header.release, header.version, header.machine, header.domain)
        )
    names += [KernelName("", "", release, "", "", ""), _NO_NAME]
    known = {
        field.name: next(filter(None, (getattr(name, field.name) for name in names))) for field in fields(_NO_NAME)
    }
    if machine in elf.MACHINES.values():
        known["machine"] = machine
    return KernelName(**known)

"""OPAL's core among ELF cores: the memory of powernv's firmware and the CPUs' registers.

After the last step of "follow one crash" in docs/architecture.md. It looks like the core of a process, whose addresses
are OPAL's own; its "physical" ones count from OPAL's base. Its writer: Linux
arch/powerpc/platforms/powernv/opal-core.c, create_opalcore().
"""

import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from fadump.abi.elf import CORE_NAME, NT_AUXV
from fadump.abi.layout import ByteOrder
from fadump.abi.linux.opal_core import AT_ENTRY, PID_OF_PIR_0, SIGNAL_OF_OPAL_CRASH
from fadump.vmcore.notes import Note, Prstatus

_ENTRY = {"big": struct.Struct(">QQ"), "little": struct.Struct("<QQ")}


@dataclass(frozen=True, slots=True)
class OpalCpu:
    """Of which thread a note is: its processor identification register, and whether the dump was taken for it."""

    pir: int
    crashed: bool


def opal_entry(notes: Iterable[Note], byte_order: ByteOrder) -> int | None:
    """Where OPAL is entered, if these are the notes of OPAL's core, else None.

    A process has many entries in its auxiliary vector, and others before AT_ENTRY.
    """
    for note in notes:
        if note.name == CORE_NAME and note.type == NT_AUXV:
            layout = _ENTRY[byte_order]
            if len(note.desc) < layout.size:
                return None
            kind, entry = layout.unpack_from(note.desc)
            return entry if kind == AT_ENTRY and not any(note.desc[layout.size :]) else None
    return None


def opal_cpus(statuses: Sequence[Prstatus]) -> Sequence[OpalCpu | None]:
    """For each note with registers whose they are; None: nobody's, as Linux has left it empty."""
    return [
        None if status.pid < PID_OF_PIR_0 else OpalCpu(status.pid - PID_OF_PIR_0, status.signal != 0)
        for status in statuses
    ]


def ended_by_itself(statuses: Iterable[Prstatus]) -> bool | None:
    """Whether OPAL has ended by itself, and not for a kernel that asked for a dump; None: nobody's note says."""
    signals = {status.signal for status in statuses} - {0}
    return None if not signals else signals == {SIGNAL_OF_OPAL_CRASH}

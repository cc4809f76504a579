"""The notes of a core dump, as Linux writes them.

Step "capture boot" of docs/architecture.md: the kernel turns the register area into one NT_PRSTATUS per CPU
and adds the crashed kernel's VMCOREINFO. Specification: gABI, "Note Section", in the form that Linux writes
and reads: fields of 32 bits, name and desc each padded to 4 bytes, in ELF64 too (kernel/vmcore_info.c,
append_elf_note(); fs/proc/vmcore.c). The layouts are :mod:`fadump.abi.elf`'s and :mod:`fadump.abi.linux.prstatus`'s,
in the byte order of the dump; the padding after the last note may be missing.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import NamedTuple

from fadump.abi.elf import CORE_NAME, NOTE_HEADER, NT_PRSTATUS, padded_note_bytes
from fadump.abi.layout import ByteOrder
from fadump.abi.linux.prstatus import PRSTATUS
from fadump.abi.linux.pt_regs import REGISTER_NAMES
from fadump.errors import FormatError

VMCOREINFO_NAME = "VMCOREINFO"
ERASEINFO_NAME = "ERASEINFO"
"""makedumpfile's, of type 0: what it has erased."""
_VMCOREINFO_LINE = re.compile(rb"^([^=\n]+)=([^\n]*)$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Note:
    """One note. ``offset`` is where ``desc`` begins, in bytes from the start of the file."""

    name: str
    type: int
    desc: bytes
    offset: int

    def is_prstatus(self) -> bool:
        """Whether it holds a CPU's registers."""
        return self.name == CORE_NAME and self.type == NT_PRSTATUS


@dataclass(frozen=True, slots=True)
class Prstatus:
    """One CPU at the crash: its signal and process id, both 0 in FADump's notes, and its registers.

    ``registers`` maps the names in :data:`REGISTER_NAMES` to unsigned 64-bit values.
    """

    signal: int
    pid: int
    registers: Mapping[str, int]


class VmcoreinfoLine(NamedTuple):
    """One line of VMCOREINFO, as text; ``offset`` is where the value begins in its bytes."""

    key: str
    value: str
    offset: int


def erase_info_of(notes: Iterable[Note]) -> bytes | None:
    """What a dump's notes say about erased data; None: nothing."""
    return next((note.desc for note in notes if note.name == ERASEINFO_NAME), None)


def iter_notes(data: bytes, byte_order: ByteOrder, offset: int = 0) -> Iterator[Note]:
    """The notes of one PT_NOTE segment, which begins at ``offset`` of its file.

    A header of zeros ends them, as Linux ends the notes of each CPU.

    :raises FormatError: a note doesn't fit into the segment.
    """
    header = NOTE_HEADER.in_order(byte_order)
    at = 0
    while at < len(data):
        _check_room(data, at, header.size_bytes, offset, "note header")
        name_bytes, desc_bytes, type_ = header.decode(data, at)
        if not (name_bytes or desc_bytes or type_):
            return
        name_at = at + header.size_bytes
        _check_room(data, name_at, name_bytes, offset, "note name")
        desc_at = name_at + padded_note_bytes(name_bytes)
        _check_room(data, desc_at, desc_bytes, offset, "note")
        name = data[name_at : name_at + name_bytes].rstrip(b"\0").decode("ascii", "backslashreplace")
        yield Note(name, type_, data[desc_at : desc_at + desc_bytes], offset + desc_at)
        at = desc_at + padded_note_bytes(desc_bytes)


def encode_note(name: str, type_: int, desc: bytes, byte_order: ByteOrder) -> bytes:
    """One note, padded."""
    raw = name.encode() + b"\0"
    header = NOTE_HEADER.in_order(byte_order).pack(len(raw), len(desc), type_)
    return header + raw.ljust(padded_note_bytes(len(raw)), b"\0") + desc.ljust(padded_note_bytes(len(desc)), b"\0")


def decode_prstatus(note: Note, byte_order: ByteOrder) -> Prstatus:
    """A ppc64 NT_PRSTATUS. What comes after the registers is ignored.

    :raises FormatError: the note ends before its last register.
    """
    wanted, there = PRSTATUS.offset("pr_fpvalid"), len(note.desc)
    if there < wanted:
        raise FormatError("NT_PRSTATUS cut short", offset=note.offset, expected=wanted, found=there)
    status = PRSTATUS.in_order(byte_order).decode(note.desc.ljust(PRSTATUS.size_bytes, b"\0"))
    registers = dict(zip(REGISTER_NAMES, status.pr_reg, strict=True))
    return Prstatus(status.pr_cursig, status.pr_pid, MappingProxyType(registers))


def vmcoreinfo_lines(data: bytes) -> Iterator[VmcoreinfoLine]:
    """The KEY=VALUE lines of VMCOREINFO; the last one of a key counts. Bytes that aren't UTF-8 become escapes."""
    for line in _VMCOREINFO_LINE.finditer(data.rstrip(b"\0")):
        key, value = (part.decode("utf-8", "backslashreplace") for part in line.groups())
        yield VmcoreinfoLine(key, value, line.start(2))


def _check_room(data: bytes, at: int, needed: int, offset: int, what: str) -> None:
    if at + needed > len(data):
        raise FormatError(f"{what} cut short", offset=offset + at, expected=needed, found=max(0, len(data) - at))

"""The notes of a core dump: whose they are, what Linux writes into them.

Step "capture boot" of docs/architecture.md: the kernel turns the register area into one NT_PRSTATUS per CPU
and adds the crashed kernel's VMCOREINFO. Specification: gABI, "Note Section", in the form that Linux writes
and reads: fields of 32 bits, name and desc each padded to 4 bytes, in ELF64 too (kernel/vmcore_info.c,
append_elf_note(); fs/proc/vmcore.c). All fields have the byte order of the dump.

    0x00  u32  namesz, with the name's closing zero, without padding
    0x04  u32  descsz, without padding
    0x08  u32  type
    0x0c       name, padding, desc, padding; the last note's closing padding may be missing

NT_PRSTATUS of ppc64 (struct elf_prstatus, include/linux/elfcore.h; the registers are the kernel's pt_regs,
arch/powerpc/include/uapi/asm/ptrace.h, in elf_gregset_t of arch/powerpc/include/uapi/asm/elf.h):

    0x00c  s16       pr_cursig
    0x020  s32       pr_pid
    0x070  u64[48]   pr_reg: gpr0..gpr31, then as REGISTER_NAMES has it; the last four are kernel-internal
    0x1f0  s32       pr_fpvalid, padded to 0x1f8
"""

import re
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal, NamedTuple

from fadump.abi.linux.pt_regs import REGISTER_NAMES
from fadump.errors import FormatError

ByteOrder = Literal["little", "big"]
STRUCT_ORDER: Mapping[ByteOrder, str] = MappingProxyType({"little": "<", "big": ">"})
"""What struct calls a byte order."""

CORE_NAME = "CORE"
"""Who owns NT_PRSTATUS."""
NT_PRSTATUS = 1
VMCOREINFO_NAME = "VMCOREINFO"
_VMCOREINFO_LINE = re.compile(rb"^([^=\n]+)=([^\n]*)$", re.MULTILINE)

_HEADER_FIELDS = "III"
_HEADER_BYTES = 12
_ALIGNMENT_BYTES = 4
_PRSTATUS_FIELDS = f"12x h 18x i 76x {len(REGISTER_NAMES)}Q 32x"


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
    """One CPU at the crash: the signal and the process id it had, 0 in FADump's notes, and its registers.

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


def iter_notes(data: bytes, byte_order: ByteOrder, offset: int = 0) -> Iterator[Note]:
    """The notes of one PT_NOTE segment, which begins at ``offset`` of its file.

    A header of zeros ends them, as Linux ends the notes of each CPU.

    :raises FormatError: a note doesn't fit into the segment.
    """
    header = struct.Struct(STRUCT_ORDER[byte_order] + _HEADER_FIELDS)
    at = 0
    while at < len(data):
        _check_room(data, at, _HEADER_BYTES, offset, "note header")
        name_bytes, desc_bytes, type_ = header.unpack_from(data, at)
        if not (name_bytes or desc_bytes or type_):
            return
        name_at = at + _HEADER_BYTES
        _check_room(data, name_at, name_bytes, offset, "note name")
        desc_at = name_at + _padded(name_bytes)
        _check_room(data, desc_at, desc_bytes, offset, "note")
        name = data[name_at : name_at + name_bytes].rstrip(b"\0").decode("ascii", "backslashreplace")
        yield Note(name, type_, data[desc_at : desc_at + desc_bytes], offset + desc_at)
        at = desc_at + _padded(desc_bytes)


def encode_note(name: str, type_: int, desc: bytes, byte_order: ByteOrder) -> bytes:
    """One note, padded."""
    raw = name.encode() + b"\0"
    header = struct.pack(STRUCT_ORDER[byte_order] + _HEADER_FIELDS, len(raw), len(desc), type_)
    return header + raw.ljust(_padded(len(raw)), b"\0") + desc.ljust(_padded(len(desc)), b"\0")


def decode_prstatus(note: Note, byte_order: ByteOrder) -> Prstatus:
    """A ppc64 NT_PRSTATUS. What stands after the registers isn't looked at.

    :raises FormatError: the note ends before its last register.
    """
    layout = struct.Struct(STRUCT_ORDER[byte_order] + _PRSTATUS_FIELDS)
    if len(note.desc) < layout.size:
        raise FormatError("NT_PRSTATUS cut short", offset=note.offset, expected=layout.size, found=len(note.desc))
    signal, pid, *registers = layout.unpack_from(note.desc)
    return Prstatus(signal, pid, MappingProxyType(dict(zip(REGISTER_NAMES, registers, strict=True))))


def vmcoreinfo_lines(data: bytes) -> Iterator[VmcoreinfoLine]:
    """The KEY=VALUE lines of VMCOREINFO, of which the last with a key counts. Other bytes than UTF-8 are escapes."""
    for line in _VMCOREINFO_LINE.finditer(data.rstrip(b"\0")):
        key, value = (part.decode("utf-8", "backslashreplace") for part in line.groups())
        yield VmcoreinfoLine(key, value, line.start(2))


def _padded(size_bytes: int) -> int:
    return size_bytes + -size_bytes % _ALIGNMENT_BYTES


def _check_room(data: bytes, at: int, needed: int, offset: int, what: str) -> None:
    if at + needed > len(data):
        raise FormatError(f"{what} cut short", offset=offset + at, expected=needed, found=max(0, len(data) - at))

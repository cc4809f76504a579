"""/proc/vmcore: the crashed kernel's memory as an ELF core.

Step "capture boot" of docs/architecture.md. Linux fs/proc/vmcore.c, parse_crash_elf64_headers(), merges the notes of an
ELF core header (:mod:`.elfcorehdr`) into one PT_NOTE and gives every PT_LOAD a file offset, in whole pages;
arch/powerpc/kernel/fadump.c, fadump_regs_to_elf_notes(), makes the CPUs' notes.
"""

from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from fadump.abi.elf import (
    CORE_NAME,
    NOTE_ALIGNMENT_BYTES,
    NOTE_HEADER,
    NT_PRSTATUS,
    PROGRAM_HEADER,
    PT_NOTE,
    ProgramHeader,
    padded_note_bytes,
)
from fadump.abi.layout import ByteOrder
from fadump.abi.linux.prstatus import PRSTATUS, ElfPrstatus
from fadump.abi.linux.pt_regs import REGISTER_NAMES
from fadump.kernel.elfcorehdr import Load, elf_header, headers_bytes, load_header
from fadump.kernel.traits import align_down, align_up
from fadump.memory.guest import GuestMemory
from fadump.memory.ranges import Range, RangeSet
from fadump.vmcore.notes import encode_note

Registers = Mapping[str, int]
"""pt_regs by name; absent ones are 0."""


@dataclass(frozen=True, slots=True)
class Piece:
    """Bytes of the file that are memory: ``size_bytes`` from ``address`` are at ``offset``."""

    offset: int
    address: int
    size_bytes: int


@dataclass(frozen=True, slots=True)
class VmCore:
    """The file: ``head`` is its beginning, headers and notes; ``pieces`` follow it contiguously."""

    head: bytes
    pieces: tuple[Piece, ...]

    @property
    def size_bytes(self) -> int:
        """The size of the whole file."""
        return len(self.head) + sum(piece.size_bytes for piece in self.pieces)


def cpu_note(registers: Registers) -> bytes:
    """NT_PRSTATUS with these registers; process and signal are 0."""
    return encode_note(CORE_NAME, NT_PRSTATUS, status_of(registers, "little"), "little")


def status_of(registers: Registers, byte_order: ByteOrder, *, signal: int = 0, pid: int = 0, parent: int = 0) -> bytes:
    """struct elf_prstatus."""
    values = tuple(registers.get(name, 0) for name in REGISTER_NAMES)
    return PRSTATUS.in_order(byte_order).encode(ElfPrstatus(signal, pid, parent, values))


def whole_notes(area: bytes) -> bytes:
    """The notes at the start of ``area``, without what follows: update_note_header_size_elf64()."""
    at = 0
    while at + NOTE_HEADER.size_bytes <= len(area):
        name_bytes, desc_bytes, _type = NOTE_HEADER.decode(area, at)
        end = at + NOTE_HEADER.size_bytes + padded_note_bytes(name_bytes) + padded_note_bytes(desc_bytes)
        if not name_bytes or end > len(area):
            break
        at = end
    return area[:at]


def lay_out(loads: Sequence[Load], notes: bytes, page_bytes: int) -> VmCore:
    """The file with these PT_LOADs and ``notes``, which are all notes concatenated."""
    notes_at = align_up(headers_bytes(1 + len(loads)), page_bytes)
    offset = notes_at + align_up(len(notes), page_bytes)
    notes_header = ProgramHeader(
        PT_NOTE, p_offset=notes_at, p_filesz=len(notes), p_memsz=len(notes), p_align=NOTE_ALIGNMENT_BYTES
    )
    headers = [PROGRAM_HEADER.encode(notes_header)]
    pieces = []
    for load in loads:
        start = align_down(load.address, page_bytes)
        headers.append(load_header(load, offset + load.address - start))
        if load.size_bytes:
            size_bytes = align_up(load.address + load.size_bytes, page_bytes) - start
            pieces.append(Piece(offset, start, size_bytes))
            offset += size_bytes
    head = (elf_header(len(headers)) + b"".join(headers)).ljust(notes_at, b"\0") + notes
    return VmCore(head.ljust(align_up(len(head), page_bytes), b"\0"), tuple(pieces))


def read_vmcore(vmcore: VmCore, memory: GuestMemory, offset: int, length: int) -> bytes:
    """``length`` bytes of the file from ``offset`` on, fewer at its end; the file isn't stored anywhere."""
    end = min(offset + length, vmcore.size_bytes)
    parts = [vmcore.head[offset:end]]
    first = max(0, bisect_right(vmcore.pieces, offset, key=lambda piece: piece.offset) - 1)
    for piece in vmcore.pieces[first:]:
        if piece.offset >= end:
            break
        start = max(offset, piece.offset)
        stop = min(end, piece.offset + piece.size_bytes)
        if start < stop:
            parts.append(read_old_memory(memory, Range.sized(piece.address + start - piece.offset, stop - start)))
    return b"".join(parts)


def data_from(vmcore: VmCore, memory: GuestMemory, offset: int) -> Iterator[Range]:
    """Where the file has anything but zeros from ``offset`` on, rising; in Linux that is all of it.

    A machine with 64 TiB has hardly any memory that was ever touched.
    """
    if offset < len(vmcore.head):
        yield Range(offset, len(vmcore.head))
    first = max(0, bisect_right(vmcore.pieces, offset, key=lambda piece: piece.offset) - 1)
    for piece in vmcore.pieces[first:]:
        shift = piece.offset - piece.address
        start = max(piece.address, offset - shift)
        end = piece.address + piece.size_bytes
        for part in memory.populated_within(Range(start, end)) if start < end else ():
            yield Range(part.start + shift, part.end + shift)


def read_old_memory(memory: GuestMemory, wanted: Range) -> bytes:
    """copy_oldmem_page(): addresses without memory can also be read, and give zeros, at least in QEMU."""
    found = bytearray()
    for part in memory.ram & RangeSet([wanted]):
        found += bytes(part.start - wanted.start - len(found)) + memory.read(part.start, part.size_bytes)
    return bytes(found.ljust(wanted.size_bytes, b"\0"))

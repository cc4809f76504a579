"""/proc/vmcore: how a capture kernel lays the crashed one's memory out as an ELF core.

Step "capture boot" of docs/architecture.md. Linux arch/powerpc/kernel/fadump.c, fadump_populate_elfcorehdr() and
fadump_regs_to_elf_notes(), makes headers whose file offsets are memory addresses; fs/proc/vmcore.c, parse_crash_elf64_
headers(), merges the notes into one PT_NOTE and gives every PT_LOAD its place in the file, in whole pages.
"""

import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from fadump.abi.linux.page_table import PAGE_OFFSET
from fadump.abi.linux.pt_regs import REGISTER_NAMES
from fadump.kernel.bootmem import Region
from fadump.kernel.traits import align_down, align_up
from fadump.memory.ranges import Range
from fadump.vmcore.elfcore import EM_PPC64, MAGIC
from fadump.vmcore.notes import CORE_NAME, NT_PRSTATUS

Registers = Mapping[str, int]
"""pt_regs by name; absent ones are 0."""

_EHDR = struct.Struct("<4sBBBB8xHHIQQQIHHHHHH")
_PHDR = struct.Struct("<IIQQQQQQ")
_NOTE = struct.Struct("<III")
_PRSTATUS_BYTES = 504
_PRSTATUS_REGISTERS_OFFSET = 0x70
_PT_NULL, _PT_LOAD, _PT_NOTE = 0, 1, 4
_ELF_ABI = 2


@dataclass(frozen=True, slots=True)
class Load:
    """A PT_LOAD: memory that was at ``physical`` is in this kernel's memory at ``address``.

    ``size_bytes`` 0 stands for a header that Linux leaves empty: it counts a memory range that is all reserved area.
    """

    physical: int
    address: int
    size_bytes: int


@dataclass(frozen=True, slots=True)
class Piece:
    """Bytes of the file that are memory: ``size_bytes`` from ``address`` stand at ``offset``."""

    offset: int
    address: int
    size_bytes: int


@dataclass(frozen=True, slots=True)
class VmCore:
    """The file: ``head`` is its beginning, headers and notes; ``pieces`` follow it, end to end."""

    head: bytes
    pieces: tuple[Piece, ...]

    @property
    def size_bytes(self) -> int:
        """Of the whole file."""
        return len(self.head) + sum(piece.size_bytes for piece in self.pieces)


def loads_of(regions: Sequence[Region], copy: int, top: int, area: Range, memory: Sequence[Range]) -> Iterator[Load]:
    """The PT_LOADs: boot memory where it was copied to, then all other memory but the reserved ``area``.

    ``top`` is boot memory's.
    """
    for region in regions:
        yield Load(region.start, copy, region.size_bytes)
        copy += region.size_bytes
    for piece in memory:
        if piece.end <= top:
            continue
        start = max(piece.start, top)
        if not (area.start < piece.end and area.end > start):
            yield Load(start, start, piece.end - start)
            continue
        around = [Range(start, max(start, area.start)), Range(min(piece.end, area.end), piece.end)]
        found = [part for part in around if part]
        for part in found or [Range(0, 0)]:
            yield Load(part.start, part.start, part.size_bytes)


def cpu_note(registers: Registers) -> bytes:
    """NT_PRSTATUS with these registers; the process and the signal stay 0."""
    name = CORE_NAME.encode() + b"\0"
    values = struct.pack(f"<{len(REGISTER_NAMES)}Q", *(registers.get(each, 0) for each in REGISTER_NAMES))
    status = (bytes(_PRSTATUS_REGISTERS_OFFSET) + values).ljust(_PRSTATUS_BYTES, b"\0")
    head = _NOTE.pack(len(name), len(status), NT_PRSTATUS)
    return head + name.ljust(align_up(len(name), 4), b"\0") + status


def whole_notes(area: bytes) -> bytes:
    """The notes at the start of ``area``, without what follows: update_note_header_size_elf64()."""
    at = 0
    while at + _NOTE.size <= len(area):
        name_bytes, desc_bytes, _type = _NOTE.unpack_from(area, at)
        end = at + _NOTE.size + align_up(name_bytes, 4) + align_up(desc_bytes, 4)
        if not name_bytes or end > len(area):
            break
        at = end
    return area[:at]


def lay_out(loads: Sequence[Load], notes: bytes, page_bytes: int) -> VmCore:
    """The file with these PT_LOADs and ``notes``, which are all notes end to end."""
    headers_bytes = _EHDR.size + _PHDR.size * (1 + len(loads))
    notes_at = align_up(headers_bytes, page_bytes)
    offset = notes_at + align_up(len(notes), page_bytes)
    headers = [_PHDR.pack(_PT_NOTE, 0, notes_at, 0, 0, len(notes), len(notes), 4)]
    pieces = []
    for load in loads:
        if not load.size_bytes:
            headers.append(bytes(_PHDR.size))
            continue
        start = align_down(load.address, page_bytes)
        size_bytes = align_up(load.address + load.size_bytes, page_bytes) - start
        headers.append(
            _PHDR.pack(
                _PT_LOAD,
                7,
                offset + load.address - start,
                PAGE_OFFSET | load.physical,
                load.physical,
                load.size_bytes,
                load.size_bytes,
                0,
            )
        )
        pieces.append(Piece(offset, start, size_bytes))
        offset += size_bytes
    ehdr = _EHDR.pack(
        MAGIC, 2, 1, 1, 0, 4, EM_PPC64, 1, 0, _EHDR.size, 0, _ELF_ABI, _EHDR.size, _PHDR.size, len(headers), 0, 0, 0
    )
    head = (ehdr + b"".join(headers)).ljust(notes_at, b"\0") + notes
    return VmCore(head.ljust(align_up(len(head), page_bytes), b"\0"), tuple(pieces))

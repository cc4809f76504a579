"""The ELF core header: where the crashed kernel's memory is, as program headers whose file offsets are addresses.

Steps "register" and "capture boot" of docs/architecture.md. Linux arch/powerpc/kernel/fadump.c: since commit
c6c5b14dac0d (in v6.10) fadump_populate_elfcorehdr() of the capture kernel, before that
fadump_setup_crash_memory_ranges() and fadump_create_elfcore_headers() of the first kernel when it registers.
fs/proc/vmcore.c, parse_crash_elf64_headers(), reads it.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from fadump.abi import elf
from fadump.abi.elf import ELF_HEADER, PROGRAM_HEADER, ProgramHeader
from fadump.abi.linux.page_table import PAGE_OFFSET
from fadump.errors import FadumpError
from fadump.kernel.plan.boot_memory import Region
from fadump.memory.ranges import Range


class NoCoreHeaderError(FadumpError):
    """There is no valid ELF core header; the sentence is Linux's."""


@dataclass(frozen=True, slots=True)
class Load:
    """A PT_LOAD: memory that was at ``physical`` is in this kernel's memory at ``address``.

    ``size_bytes`` 0 means a header that Linux leaves empty, for a memory range that is entirely reserved area.
    """

    physical: int
    address: int
    size_bytes: int


@dataclass(frozen=True, slots=True)
class NotePlace:
    """A PT_NOTE: notes that are in memory."""

    address: int
    size_bytes: int


CPU_NOTES = NotePlace(0, 0)
"""The first PT_NOTE, until a capture kernel fills in where its CPUs' notes are: fadump_update_elfcore_header()."""


def loads_of(regions: Sequence[Region], copy: int, top: int, area: Range, memory: Sequence[Range]) -> Iterator[Load]:
    """The capture kernel's PT_LOADs: the copies of boot memory, then all other memory except the ``area``.

    ``top`` is boot memory's.
    """
    yield from _copied(regions, copy)
    for piece in _above(memory, top):
        if not (area.start < piece.end and area.end > piece.start):
            yield Load(piece.start, piece.start, piece.size_bytes)
            continue
        for part in _around(area, piece) or [Range(0, 0)]:
            yield Load(part.start, part.start, part.size_bytes)


def loads_at_registration(
    regions: Sequence[Region], copy: int, top: int, area: Range, memory: Sequence[Range]
) -> Iterator[Load]:
    """The first kernel's PT_LOADs: adjacent ones are merged, and a range that is entirely ``area`` has none."""
    yield from _copied(regions, copy)
    last: Load | None = None
    for piece in _above(memory, top):
        for part in _around(area, piece):
            if last is not None and last.physical + last.size_bytes == part.start:
                last = replace(last, size_bytes=last.size_bytes + part.size_bytes)
                continue
            if last is not None:
                yield last
            last = Load(part.start, part.start, part.size_bytes)
    if last is not None:
        yield last


def encode(notes: Sequence[NotePlace], loads: Sequence[Load]) -> bytes:
    """The headers: one PT_NOTE for each of ``notes``, then the PT_LOADs."""
    headers = [elf_header(len(notes) + len(loads)), *map(_note_header, notes)]
    return b"".join((*headers, *(load_header(load, load.address) for load in loads)))


def headers_bytes(program_headers: int) -> int:
    """The size of the ELF header and so many program headers."""
    return ELF_HEADER.size_bytes + program_headers * PROGRAM_HEADER.size_bytes


def elf_header(program_headers: int) -> bytes:
    """The ELF header, for so many program headers: fadump_init_elfcore_header()."""
    return elf.encode_core_header("little", elf.EM_PPC64, elf.PPC64_ABI["ppc64le"], program_headers)


def load_header(load: Load, offset: int) -> bytes:
    """A PT_LOAD whose file offset is ``offset``."""
    if not load.size_bytes:
        return bytes(PROGRAM_HEADER.size_bytes)
    virtual, size_bytes = PAGE_OFFSET | load.physical, load.size_bytes
    return PROGRAM_HEADER.encode(
        ProgramHeader(elf.PT_LOAD, elf.PF_RWX, offset, virtual, load.physical, size_bytes, size_bytes)
    )


def header_count(start: bytes) -> int:
    """The number of program headers in an ELF header.

    :raises NoCoreHeaderError: Linux would not accept it.
    """
    header = ELF_HEADER.decode(start)
    if header.ei_mag != elf.ELFMAG:
        raise NoCoreHeaderError("Warning: Core image elf header not found")
    sane = (
        header.ei_class == elf.ELFCLASS64
        and header.ei_version == header.e_version == elf.EV_CURRENT
        and (header.e_type, header.e_machine) == (elf.ET_CORE, elf.EM_PPC64)
        and (header.e_ehsize, header.e_phentsize) == (ELF_HEADER.size_bytes, PROGRAM_HEADER.size_bytes)
    )
    if not sane or not header.e_phnum:
        raise NoCoreHeaderError("Warning: Core image elf header is not sane")
    return header.e_phnum


def decode(headers: bytes) -> tuple[list[NotePlace], list[Load]]:
    """The PT_NOTEs, and the PT_LOADs and empty headers, of whole headers as :func:`encode` makes them.

    :raises NoCoreHeaderError: see :func:`header_count`.
    """
    end = headers_bytes(header_count(headers))
    notes, loads = [], []
    for header in PROGRAM_HEADER.decode_all(headers[ELF_HEADER.size_bytes : end]):
        if header.p_type == elf.PT_NOTE:
            notes.append(NotePlace(header.p_offset, header.p_memsz))
        elif header.p_type == elf.PT_LOAD:
            loads.append(Load(header.p_paddr, header.p_offset, header.p_memsz))
        else:
            loads.append(Load(0, 0, 0))
    return notes, loads


def _note_header(place: NotePlace) -> bytes:
    return PROGRAM_HEADER.encode(
        ProgramHeader(
            elf.PT_NOTE,
            p_offset=place.address,
            p_paddr=place.address,
            p_filesz=place.size_bytes,
            p_memsz=place.size_bytes,
        )
    )


def _copied(regions: Sequence[Region], copy: int) -> Iterator[Load]:
    for region in regions:
        yield Load(region.start, copy, region.size_bytes)
        copy += region.size_bytes


def _above(memory: Sequence[Range], top: int) -> Iterator[Range]:
    for piece in memory:
        if piece.end > top:
            yield Range(max(piece.start, top), piece.end)


def _around(area: Range, piece: Range) -> list[Range]:
    """The parts of ``piece`` that aren't in ``area``."""
    if not (area.start < piece.end and area.end > piece.start):
        return [piece]
    around = [Range(piece.start, max(piece.start, area.start)), Range(min(piece.end, area.end), piece.end)]
    return [part for part in around if part]

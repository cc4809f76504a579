"""The ELF core header: which memory of the crashed kernel is where, in headers whose file offsets are addresses.

Steps "register" and "capture boot" of docs/architecture.md. Linux arch/powerpc/kernel/fadump.c: since commit
c6c5b14dac0d (in v6.10) fadump_populate_elfcorehdr() of the capture kernel, before that
fadump_setup_crash_memory_ranges() and fadump_create_elfcore_headers() of the first kernel when it registers.
fs/proc/vmcore.c, parse_crash_elf64_headers(), reads it.
"""

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from fadump.abi.linux.page_table import PAGE_OFFSET
from fadump.errors import FadumpError
from fadump.kernel.plan.boot_memory import Region
from fadump.memory.ranges import Range
from fadump.vmcore.elf_header import EM_PPC64, MAGIC

EHDR = struct.Struct("<4sBBBB8xHHIQQQIHHHHHH")
PHDR = struct.Struct("<IIQQQQQQ")
PT_NULL, PT_LOAD, PT_NOTE = 0, 1, 4
READ_WRITE_EXECUTE = 7
_CLASS_64, _LITTLE_ENDIAN, _CURRENT, _CORE, _ELF_ABI = 2, 1, 1, 4, 2


class NoCoreHeaderError(FadumpError):
    """What stands there is no ELF core header; the sentence is Linux's."""


@dataclass(frozen=True, slots=True)
class Load:
    """A PT_LOAD: memory that was at ``physical`` is in this kernel's memory at ``address``.

    ``size_bytes`` 0 stands for a header that Linux leaves empty: it counts a memory range that is all reserved area.
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
"""The first PT_NOTE, until a capture kernel knows where its CPUs' notes are: fadump_update_elfcore_header()."""


def loads_of(regions: Sequence[Region], copy: int, top: int, area: Range, memory: Sequence[Range]) -> Iterator[Load]:
    """The capture kernel's PT_LOADs: boot memory where it was copied to, then all other memory but the ``area``.

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
    """The first kernel's: neighbours are folded into one, and nothing stands for a range that is all ``area``."""
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
    headers = [PHDR.pack(PT_NOTE, 0, each.address, 0, each.address, *[each.size_bytes] * 2, 0) for each in notes]
    return (
        ehdr(len(notes) + len(loads)) + b"".join(headers) + b"".join(load_header(load, load.address) for load in loads)
    )


def ehdr(headers: int) -> bytes:
    """The ELF header, for so many program headers: fadump_init_elfcore_header()."""
    ident = (MAGIC, _CLASS_64, _LITTLE_ENDIAN, _CURRENT, 0)
    return EHDR.pack(
        *ident, _CORE, EM_PPC64, _CURRENT, 0, EHDR.size, 0, _ELF_ABI, EHDR.size, PHDR.size, headers, 0, 0, 0
    )


def load_header(load: Load, offset: int) -> bytes:
    """A PT_LOAD that leads to ``offset``."""
    if not load.size_bytes:
        return bytes(PHDR.size)
    virtual = PAGE_OFFSET | load.physical
    return PHDR.pack(PT_LOAD, READ_WRITE_EXECUTE, offset, virtual, load.physical, *[load.size_bytes] * 2, 0)


def header_count(start: bytes) -> int:
    """How many program headers there are, from the first :data:`EHDR` bytes.

    :raises NoCoreHeaderError: it is none that Linux would take.
    """
    magic, class_, _order, version, _abi, type_, machine, version_word, *rest = EHDR.unpack(start)
    _entry, _phoff, _shoff, _flags, ehdr_bytes, phdr_bytes, count, *_sections = rest
    if magic != MAGIC:
        raise NoCoreHeaderError("Warning: Core image elf header not found")
    found = (class_, version, type_, machine, version_word, ehdr_bytes, phdr_bytes)
    if found != (_CLASS_64, _CURRENT, _CORE, EM_PPC64, _CURRENT, EHDR.size, PHDR.size) or not count:
        raise NoCoreHeaderError("Warning: Core image elf header is not sane")
    return int(count)


def decode(headers: bytes) -> tuple[list[NotePlace], list[Load]]:
    """The PT_NOTEs, and the PT_LOADs and empty headers, of whole headers as :func:`encode` makes them.

    :raises NoCoreHeaderError: see :func:`header_count`.
    """
    count = header_count(headers[: EHDR.size])
    notes, loads = [], []
    for at in range(EHDR.size, EHDR.size + count * PHDR.size, PHDR.size):
        type_, _flags, offset, _virtual, physical, _file_bytes, memory_bytes, _align = PHDR.unpack_from(headers, at)
        if type_ == PT_NOTE:
            notes.append(NotePlace(offset, memory_bytes))
        elif type_ == PT_LOAD:
            loads.append(Load(physical, offset, memory_bytes))
        else:
            loads.append(Load(0, 0, 0))
    return notes, loads


def _copied(regions: Sequence[Region], copy: int) -> Iterator[Load]:
    for region in regions:
        yield Load(region.start, copy, region.size_bytes)
        copy += region.size_bytes


def _above(memory: Sequence[Range], top: int) -> Iterator[Range]:
    for piece in memory:
        if piece.end > top:
            yield Range(max(piece.start, top), piece.end)


def _around(area: Range, piece: Range) -> list[Range]:
    """What of ``piece`` is not in ``area``."""
    if not (area.start < piece.end and area.end > piece.start):
        return [piece]
    around = [Range(piece.start, max(piece.start, area.start)), Range(min(piece.end, area.end), piece.end)]
    return [part for part in around if part]

"""Reading an ELF core: where in the file each byte of the crashed system's memory is.

Step "capture boot" of docs/architecture.md: what the kernel offers as /proc/vmcore, and every dump saved in
that form. Specification: gABI, "ELF Header" and "Program Header", ELFCLASS64, ET_CORE, of either byte order and
any machine; more than 65,534 program headers as Linux counts them (PN_XNUM, include/uapi/linux/elf.h:
the number is sh_info of section header 0). Linux's writer: fs/proc/vmcore.c.

Only headers and notes are kept in memory. Nothing in the file is trusted: every offset and size is checked against
the file before it is used, and the number of headers and the size of notes are limited. A file that is cut short or
contradicts itself is refused, or read as far as possible: the caller chooses.
"""

import os
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import NamedTuple, Self

from fadump.abi import elf
from fadump.abi.layout import ByteOrder
from fadump.errors import AddressError, FormatError, LimitError
from fadump.limits import MOST_MEMORY_RANGES, MOST_NOTES, MOST_NOTES_BYTES
from fadump.memory.ranges import Range
from fadump.vmcore.extents import Extent, first_wins
from fadump.vmcore.notes import Note, iter_notes
from fadump.vmcore.source import FileSource, Source, StrPath, open_file

_NO_CORE = "an ELF file, but no core: a vmlinux is given together with a dump, not as one"
_NO_PROGRAM_HEADERS = "number of program headers (Xen's xl dump-core writes none: crash opens such a core)"
_ADDRESS_LIMIT = 1 << 64


@dataclass(frozen=True, slots=True)
class LoadSegment:
    """A PT_LOAD: ``file_bytes`` bytes of it are in the file, at ``file_offset``; the rest of its memory is zeros.

    ``physical`` is its range of guest physical addresses (p_paddr, p_memsz), ``virtual_address`` is p_vaddr.
    """

    physical: Range
    virtual_address: int
    file_offset: int
    file_bytes: int

    @property
    def memory_bytes(self) -> int:
        """Its size in memory, p_memsz."""
        return self.physical.size_bytes

    @property
    def in_file(self) -> Range:
        """The physical addresses whose bytes are in the file."""
        return Range.sized(self.physical.start, self.file_bytes)


class ElfCore:
    """An open ELF core. Also a context manager; safe to read from several threads.

    If PT_LOADs overlap, the first in the file counts, as in crash: on some machines, kexec-tools lists the kernel's
    text in addition.
    """

    def __init__(self, file: int | Source, *, damage: list[FormatError] | None = None) -> None:
        """Read the headers and notes of ``file``, a descriptor or a source, which this object owns from then on.

        If this fails, the caller still owns it. With ``damage``, errors about missing or contradictory parts are added
        there instead of being raised, and the rest is read: a segment may then be beyond the end of the file, and
        one that can't be interpreted is not among ``segments``.

        :raises FormatError: it isn't a 64-bit ELF core, or some of it is missing or contradicts the rest.
        :raises OSError: the file can't be read.
        """
        self._file = FileSource(file) if isinstance(file, int) else file
        report = _refuse if damage is None else damage.append
        header = _read_header(self._file)
        entries = list(_read_program_headers(self._file, header, report))
        self._machine = header.machine
        self._flags = header.flags
        self._byte_order = header.byte_order
        self._segments = tuple(_load_segments(entries, report))
        self._notes = tuple(_read_notes(self._file, header.byte_order, entries, report))
        self._extents = list(first_wins([extent for load in self._segments for extent in _extents(load)]))
        self._starts = [extent.physical.start for extent in self._extents]

    @classmethod
    def open(cls, path: StrPath) -> Self:
        """Open a dump.

        :raises FadumpError: it is not a file.
        :raises OSError: the file can't be opened or read.
        :raises FormatError: as above.
        """
        fd = open_file(path)
        try:
            return cls(fd)
        except BaseException:
            os.close(fd)
            raise

    @property
    def machine(self) -> int:
        """e_machine: :data:`~fadump.abi.elf.EM_PPC64` on Power."""
        return self._machine

    @property
    def flags(self) -> int:
        """e_flags: the ABI on Power, 1 or 2; makedumpfile sets bit 0 in an incomplete file."""
        return self._flags

    @property
    def byte_order(self) -> ByteOrder:
        """The byte order of headers and notes, which is the kernel's."""
        return self._byte_order

    @property
    def source(self) -> Source:
        """The file."""
        return self._file

    @property
    def segments(self) -> Sequence[LoadSegment]:
        """The PT_LOADs, in the order of the file."""
        return self._segments

    @property
    def notes(self) -> Sequence[Note]:
        """The notes of all PT_NOTEs, in the order of the file."""
        return self._notes

    def extents(self, wanted: Range) -> list[Extent]:
        """Where the bytes of ``wanted`` are, in the order of addresses.

        :raises AddressError: some of it is in no PT_LOAD.
        """
        found = list(self.extents_within(wanted))
        at = wanted.start
        for extent in found:
            if extent.physical.start != at:
                break
            at = extent.physical.end
        if at != wanted.end:
            raise AddressError(wanted.start, wanted.size_bytes)
        return found

    def extents_within(self, wanted: Range) -> Iterator[Extent]:
        """Where the bytes of ``wanted`` are, in the order of addresses; what is in no PT_LOAD is left out."""
        for index in range(max(0, bisect_right(self._starts, wanted.start) - 1), len(self._extents)):
            extent = self._extents[index]
            if extent.physical.start >= wanted.end:
                return
            common = extent.physical.intersection(wanted)
            if common is not None:
                yield extent.part(common)

    def read_physical(self, address: int, length: int) -> bytes:
        """Read ``length`` bytes of the crashed system's memory from physical ``address``.

        :raises AddressError: some of it is in no PT_LOAD.
        :raises FormatError: the file has become shorter since it was opened.
        :raises OSError: the file can't be read.
        """
        if address < 0 or length < 0:
            raise AddressError(address, length)
        return b"".join(self._read_extent(extent) for extent in self.extents(Range.sized(address, length)))

    def read_file(self, offset: int, length: int) -> bytes:
        """Read ``length`` bytes of the file itself from ``offset``.

        :raises FormatError: the file doesn't have them, or no longer has them.
        :raises OSError: the file can't be read.
        """
        return self._file.read(offset, length, "file")

    def read_file_into(self, offset: int, buffer: memoryview) -> None:
        """Fill ``buffer`` with the bytes of the file from ``offset``; several times faster than :meth:`read_file`.

        :raises FormatError: as :meth:`read_file`.
        :raises OSError: the file can't be read.
        """
        self._file.read_into(offset, buffer, "file")

    def data_ranges(self, segment: LoadSegment) -> Iterator[Range]:
        """The physical addresses of a segment that may have anything but zeros in the file.

        :raises FormatError: as :meth:`read_file`.
        :raises OSError: the file can't be read.
        """
        shift = segment.physical.start - segment.file_offset
        for found in self._file.data_ranges(Range.sized(segment.file_offset, segment.file_bytes)):
            yield Range(found.start + shift, found.end + shift)

    def close(self) -> None:
        """Close the file; nothing but headers and notes can be read any more. May be called twice."""
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _read_extent(self, extent: Extent) -> bytes:
        if extent.file_offset is None:
            return bytes(extent.physical.size_bytes)
        return self.read_file(extent.file_offset, extent.physical.size_bytes)


_Report = Callable[[FormatError], None]
"""What is done with an error: it is raised or recorded."""


def _refuse(error: FormatError) -> None:
    raise error


class _Header(NamedTuple):
    """The fields used of the ELF header; ``program_headers`` is their number, at offset ``count_offset``."""

    byte_order: ByteOrder
    machine: int
    flags: int
    program_headers_offset: int
    program_headers: int
    count_offset: int


class _Entry(NamedTuple):
    """A program header; ``at`` is its offset in the file."""

    at: int
    header: elf.ProgramHeader


def _read_header(file: Source) -> _Header:
    layout = elf.ELF_HEADER
    ident = file.read(0, layout.offset("e_type"), "ELF header")
    _expect("ei_mag", elf.ELFMAG, ident[: len(elf.ELFMAG)], "not an ELF file")
    _expect("ei_class", elf.ELFCLASS64, layout.number(ident, "ei_class"), "not a 64-bit ELF file")
    data = layout.number(ident, "ei_data")
    if data not in elf.BYTE_ORDERS:
        at = layout.offset("ei_data")
        raise FormatError("ELF byte order unknown", offset=at, expected=[*elf.BYTE_ORDERS], found=data)
    _expect("ei_version", elf.EV_CURRENT, layout.number(ident, "ei_version"), "ELF version unknown")

    byte_order = elf.BYTE_ORDERS[data]
    rest = file.read(len(ident), layout.size_bytes - len(ident), "ELF header")
    header = layout.in_order(byte_order).decode(ident + rest)
    _expect("e_type", elf.ET_CORE, header.e_type, _NO_CORE)
    _expect("e_version", elf.EV_CURRENT, header.e_version, "ELF version unknown")
    _expect("e_phentsize", elf.PROGRAM_HEADER.size_bytes, header.e_phentsize, "program headers of unknown size")
    program_headers, count_offset = header.e_phnum, layout.offset("e_phnum")
    if program_headers == elf.PN_XNUM:
        if not header.e_shoff:
            at = layout.offset("e_shoff")
            raise FormatError("PN_XNUM without a section header that has the number", offset=at)
        count_offset = header.e_shoff + elf.SECTION_HEADER.offset("sh_info")
        count = file.read(count_offset, elf.SECTION_HEADER.size("sh_info"), "section header 0")
        program_headers = int.from_bytes(count, byte_order)
    return _Header(byte_order, header.e_machine, header.e_flags, header.e_phoff, program_headers, count_offset)


def _read_program_headers(file: Source, header: _Header, report: _Report) -> Iterator[_Entry]:
    offset, count, count_at = header.program_headers_offset, header.program_headers, header.count_offset
    if not count:
        raise FormatError(_NO_PROGRAM_HEADERS, offset=count_at, expected="1 or more", found=count)
    if count > MOST_MEMORY_RANGES:
        raise LimitError("program headers", found=count, limit=MOST_MEMORY_RANGES, offset=count_at)
    layout = elf.PROGRAM_HEADER.in_order(header.byte_order)
    try:
        file.check_has(offset, count * layout.size_bytes, "program headers")
    except FormatError as error:
        report(error)
        count = max(0, file.size_bytes - offset) // layout.size_bytes
    raw = file.read(offset, count * layout.size_bytes, "program headers") if count else b""
    for index, entry in enumerate(layout.decode_all(raw)):
        at = offset + index * layout.size_bytes
        if entry.p_type in (elf.PT_LOAD, elf.PT_NOTE):
            try:
                file.check_has(entry.p_offset, entry.p_filesz, f"segment of the program header at {at:#x}")
            except FormatError as error:
                report(error)
        yield _Entry(at, entry)


def _load_segments(entries: Sequence[_Entry], report: _Report) -> Iterator[LoadSegment]:
    for at, entry in entries:
        if entry.p_type != elf.PT_LOAD:
            continue
        if entry.p_filesz > entry.p_memsz:
            report(FormatError("PT_LOAD larger in the file than in memory", offset=at))
        elif entry.p_paddr + entry.p_memsz > _ADDRESS_LIMIT:
            report(FormatError("PT_LOAD whose physical addresses wrap, or aren't known", offset=at))
        else:
            physical = Range.sized(entry.p_paddr, entry.p_memsz)
            yield LoadSegment(physical, entry.p_vaddr, entry.p_offset, entry.p_filesz)


def _read_notes(file: Source, byte_order: ByteOrder, entries: Sequence[_Entry], report: _Report) -> Iterator[Note]:
    note_bytes = note_count = 0
    segments = [entry for entry in entries if entry.header.p_type == elf.PT_NOTE]
    shared = _sharing(segments)
    for at, entry in segments:
        there = min(entry.p_filesz, max(0, file.size_bytes - entry.p_offset))  # a segment with fewer has been reported
        if at in shared or not there:
            continue
        note_bytes += there
        if note_bytes > MOST_NOTES_BYTES:
            wanted = f"at most {MOST_NOTES_BYTES:#x}"
            report(FormatError("size of all PT_NOTEs", offset=at, expected=wanted, found=note_bytes))
            return
        try:
            for note in iter_notes(file.read(entry.p_offset, there, "PT_NOTE"), byte_order, entry.p_offset):
                note_count += 1
                if note_count > MOST_NOTES:
                    report(FormatError(f"more than {MOST_NOTES} notes", offset=note.offset))
                    return
                yield note
        except FormatError as error:
            report(error)
    if shared:
        message = f"{len(shared):,} PT_NOTE that share bytes of the file with others and aren't read, the first"
        report(FormatError(message, offset=min(shared)))


def _sharing(segments: Sequence[_Entry]) -> set[int]:
    """Where the program headers are of those that begin before the end of one that begins earlier in the file."""
    shared: set[int] = set()
    end = 0
    for at, entry in sorted(segments, key=lambda segment: (segment.header.p_offset, segment.at)):
        if entry.p_filesz and entry.p_offset < end:
            shared.add(at)
        end = max(end, entry.p_offset + entry.p_filesz)
    return shared


def _extents(segment: LoadSegment) -> Iterator[Extent]:
    zeros = Range(segment.in_file.end, segment.physical.end)
    if segment.in_file:
        yield Extent(segment.in_file, segment.file_offset)
    if zeros:
        yield Extent(zeros, None)


def _expect(field: str, expected: object, found: object, message: str) -> None:
    if expected != found:
        raise FormatError(message, offset=elf.ELF_HEADER.offset(field), expected=expected, found=found)

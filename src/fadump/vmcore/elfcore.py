"""Reading an ELF core: where in the file each byte of the crashed system's memory is.

Step "capture boot" of docs/architecture.md: what the kernel offers as /proc/vmcore, and everything saved in
that form. Specification: gABI, "ELF Header" and "Program Header", ELFCLASS64, ET_CORE, of either byte order and
any machine; more than 65,534 program headers as Linux counts them (PN_XNUM, include/uapi/linux/elf.h:
the number is sh_info of section header 0). Linux's writer: fs/proc/vmcore.c.

Nothing but headers and notes is kept in memory. Nothing in the file is trusted: every offset and
size is checked against the file before it is used, and there is a limit to the number of headers and
to the size of notes.
"""

import heapq
import os
import struct
from bisect import bisect_right
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from types import TracebackType
from typing import NamedTuple, Self

from fadump.errors import AddressError, FormatError
from fadump.memory.ranges import Range
from fadump.vmcore.notes import STRUCT_ORDER, ByteOrder, Note, iter_notes

EM_PPC64 = 21

_MAGIC = b"\x7fELF"
_CLASS_64 = 2
_VERSION = 1
_BYTE_ORDERS: dict[int, ByteOrder] = {1: "little", 2: "big"}
_ET_CORE = 4
_PT_LOAD = 1
_PT_NOTE = 4
_PN_XNUM = 0xFFFF

_IDENT_BYTES = 16
_HEADER_FIELDS = "HHIQQQIHHHHHH"
"""Elf64_Ehdr from e_type on: type, machine, version, entry, phoff, shoff, flags, ehsize, phentsize, phnum, ..."""
_PROGRAM_HEADER_FIELDS = "IIQQQQQQ"
_PROGRAM_HEADER_BYTES = 0x38
_TYPE_OFFSET = 0x10
_VERSION_OFFSET = 0x14
_SHOFF_OFFSET = 0x28
_PHENTSIZE_OFFSET = 0x36
_PHNUM_OFFSET = 0x38
_SH_INFO_OFFSET = 0x2C
"""In a section header, Elf64_Shdr."""

_MOST_PROGRAM_HEADERS = 1 << 17
_MOST_NOTE_BYTES = 128 << 20
_MOST_NOTES = 1 << 18
_ADDRESS_LIMIT = 1 << 64


@dataclass(frozen=True, slots=True)
class LoadSegment:
    """A PT_LOAD: the file has ``file_bytes`` bytes of it from ``file_offset``; what follows in memory is zeros.

    ``physical`` are all its guest physical addresses (p_paddr, p_memsz), ``virtual_address`` is p_vaddr.
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


@dataclass(frozen=True, slots=True)
class Extent:
    """Where the bytes of some physical addresses are: in the file from ``file_offset``; None: they are zeros."""

    physical: Range
    file_offset: int | None

    def part(self, wanted: Range) -> "Extent":
        """The same for some of its addresses."""
        if self.file_offset is None:
            return Extent(wanted, None)
        return Extent(wanted, self.file_offset + wanted.start - self.physical.start)


class ElfCore:
    """An open ELF core. Also a context manager; safe to read from several threads.

    Where PT_LOADs overlap, the first in the file counts, as in crash; kexec-tools lists the kernel's
    text so on some machines.
    """

    def __init__(self, fd: int) -> None:
        """Read the headers and notes of the file ``fd``; from then on the descriptor is this object's.

        If this fails, the descriptor is still the caller's.

        :raises FormatError: it isn't a 64-bit ELF core, or some of it is missing or contradicts the rest.
        :raises OSError: the file can't be read.
        """
        self._file = _File(fd)
        header = _read_header(self._file)
        entries = _read_program_headers(self._file, header)
        self._machine = header.machine
        self._byte_order = header.byte_order
        self._segments = tuple(_load_segment(entry) for entry in entries if entry.type == _PT_LOAD)
        self._notes = tuple(_read_notes(self._file, header.byte_order, entries))
        self._extents = list(_first_wins([extent for load in self._segments for extent in _extents(load)]))
        self._starts = [extent.physical.start for extent in self._extents]

    @classmethod
    def open(cls, path: str | os.PathLike[str]) -> Self:
        """Open a dump.

        :raises OSError: the file can't be opened or read.
        :raises FormatError: as above.
        """
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            return cls(fd)
        except BaseException:
            os.close(fd)
            raise

    @property
    def machine(self) -> int:
        """e_machine: :data:`EM_PPC64` on Power."""
        return self._machine

    @property
    def byte_order(self) -> ByteOrder:
        """The byte order of headers and notes; it is the kernel's."""
        return self._byte_order

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
        found = []
        at = wanted.start
        index = bisect_right(self._starts, at) - 1
        while at < wanted.end:
            if not 0 <= index < len(self._extents) or at not in self._extents[index].physical:
                raise AddressError(wanted.start, wanted.size_bytes)
            extent = self._extents[index]
            part = extent.part(Range(at, min(wanted.end, extent.physical.end)))
            found.append(part)
            at, index = part.physical.end, index + 1
        return found

    def read_physical(self, address: int, length: int) -> bytes:
        """``length`` bytes of the crashed system's memory from physical ``address``.

        :raises AddressError: some of it is in no PT_LOAD.
        :raises FormatError: the file has become shorter since it was opened.
        :raises OSError: the file can't be read.
        """
        if address < 0 or length < 0:
            raise AddressError(address, length)
        return b"".join(self._read_extent(extent) for extent in self.extents(Range.sized(address, length)))

    def read_file(self, offset: int, length: int) -> bytes:
        """``length`` bytes of the file itself from ``offset``.

        :raises FormatError: the file doesn't have them, or no longer has them.
        :raises OSError: the file can't be read.
        """
        return self._file.read(offset, length, "file")

    def read_file_into(self, offset: int, buffer: memoryview) -> None:
        """Fill ``buffer`` with the bytes of the file from ``offset``; several times faster than new bytes each time.

        :raises FormatError: as :meth:`read_file`.
        :raises OSError: the file can't be read.
        """
        self._file.read_into(offset, buffer, "file")

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


class _File:
    """A file of which every read is whole or an error. A mapping would kill the process where this raises."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self.size_bytes = os.lseek(fd, 0, os.SEEK_END)

    def read(self, offset: int, length: int, what: str) -> bytes:
        self.check_has(offset, length, what)
        data = bytearray(length)
        self.read_into(offset, memoryview(data), what)
        return bytes(data)

    def read_into(self, offset: int, buffer: memoryview, what: str) -> None:
        self.check_has(offset, len(buffer), what)
        done = 0
        while done < len(buffer):
            count = os.preadv(self._fd, [buffer[done:]], offset + done)
            if not count:
                raise FormatError(f"{what} has gone: the file was made shorter meanwhile", offset=offset + done)
            done += count

    def check_has(self, offset: int, length: int, what: str) -> None:
        if offset < 0 or length < 0 or offset + length > self.size_bytes:
            there = max(0, self.size_bytes - offset)
            raise FormatError(f"{what} cut short", offset=offset, expected=length, found=there)

    def close(self) -> None:
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)


class _Header(NamedTuple):
    """What is needed of the ELF header; ``program_headers`` is their number."""

    byte_order: ByteOrder
    machine: int
    program_headers_offset: int
    program_headers: int


class _ProgramHeader(NamedTuple):
    """One program header; ``at`` is its own offset, the rest is as in Elf64_Phdr."""

    at: int
    type: int
    flags: int
    offset: int
    vaddr: int
    paddr: int
    filesz: int
    memsz: int
    align: int


def _read_header(file: _File) -> _Header:
    ident = file.read(0, _IDENT_BYTES, "ELF header")
    _expect(_MAGIC, ident[:4], "not an ELF file", 0)
    _expect(_CLASS_64, ident[4], "not a 64-bit ELF file", 4)
    byte_order = _BYTE_ORDERS.get(ident[5])
    if byte_order is None:
        raise FormatError("ELF byte order unknown", offset=5, expected=[*_BYTE_ORDERS], found=ident[5])
    _expect(_VERSION, ident[6], "ELF version unknown", 6)

    layout = struct.Struct(STRUCT_ORDER[byte_order] + _HEADER_FIELDS)
    raw = file.read(_IDENT_BYTES, layout.size, "ELF header")
    type_, machine, version, _entry, phoff, shoff, _flags, _ehsize, phentsize, phnum, *_sections = layout.unpack(raw)
    _expect(_ET_CORE, type_, "not an ELF core", _TYPE_OFFSET)
    _expect(_VERSION, version, "ELF version unknown", _VERSION_OFFSET)
    _expect(_PROGRAM_HEADER_BYTES, phentsize, "program headers of unknown size", _PHENTSIZE_OFFSET)
    if phnum == _PN_XNUM:
        if not shoff:
            raise FormatError("PN_XNUM without a section header that has the number", offset=_SHOFF_OFFSET)
        at = shoff + _SH_INFO_OFFSET
        phnum = int.from_bytes(file.read(at, 4, "section header 0"), byte_order)
    return _Header(byte_order, machine, phoff, phnum)


def _read_program_headers(file: _File, header: _Header) -> list[_ProgramHeader]:
    offset, count = header.program_headers_offset, header.program_headers
    if not 0 < count <= _MOST_PROGRAM_HEADERS:
        wanted = f"1 to {_MOST_PROGRAM_HEADERS}"
        raise FormatError("number of program headers", offset=_PHNUM_OFFSET, expected=wanted, found=count)
    layout = struct.Struct(STRUCT_ORDER[header.byte_order] + _PROGRAM_HEADER_FIELDS)
    raw = file.read(offset, count * layout.size, "program headers")
    entries = [
        _ProgramHeader(offset + index * layout.size, *fields) for index, fields in enumerate(layout.iter_unpack(raw))
    ]
    for entry in entries:
        if entry.type in (_PT_LOAD, _PT_NOTE):
            file.check_has(entry.offset, entry.filesz, f"segment of the program header at {entry.at:#x}")
    return entries


def _load_segment(entry: _ProgramHeader) -> LoadSegment:
    if entry.filesz > entry.memsz:
        raise FormatError("PT_LOAD larger in the file than in memory", offset=entry.at)
    if entry.paddr + entry.memsz > _ADDRESS_LIMIT:
        raise FormatError("PT_LOAD whose physical addresses wrap, or aren't known", offset=entry.at)
    return LoadSegment(Range.sized(entry.paddr, entry.memsz), entry.vaddr, entry.offset, entry.filesz)


def _read_notes(file: _File, byte_order: ByteOrder, entries: Sequence[_ProgramHeader]) -> Iterator[Note]:
    note_bytes = note_count = 0
    for entry in entries:
        if entry.type != _PT_NOTE:
            continue
        note_bytes += entry.filesz
        if note_bytes > _MOST_NOTE_BYTES:
            wanted = f"at most {_MOST_NOTE_BYTES:#x}"
            raise FormatError("size of all PT_NOTEs", offset=entry.at, expected=wanted, found=note_bytes)
        for note in iter_notes(file.read(entry.offset, entry.filesz, "PT_NOTE"), byte_order, entry.offset):
            note_count += 1
            if note_count > _MOST_NOTES:
                raise FormatError(f"more than {_MOST_NOTES} notes", offset=note.offset)
            yield note


def _extents(segment: LoadSegment) -> Iterator[Extent]:
    zeros = Range(segment.in_file.end, segment.physical.end)
    if segment.in_file:
        yield Extent(segment.in_file, segment.file_offset)
    if zeros:
        yield Extent(zeros, None)


def _first_wins(extents: Sequence[Extent]) -> Iterator[Extent]:
    """The same extents cut so that none overlap, sorted by address. Where several do, the first one has it."""
    rising = deque(sorted(enumerate(extents), key=lambda numbered: numbered[1].physical.start))
    borders = sorted({border for extent in extents for border in (extent.physical.start, extent.physical.end)})
    here: list[tuple[int, Extent]] = []  # a heap of those that hold `start`, or held an earlier one
    for start, end in pairwise(borders):
        while rising and rising[0][1].physical.start == start:
            heapq.heappush(here, rising.popleft())
        while here and here[0][1].physical.end <= start:
            heapq.heappop(here)
        if here:
            yield here[0][1].part(Range(start, end))


def _expect(expected: object, found: object, message: str, offset: int) -> None:
    if expected != found:
        raise FormatError(message, offset=offset, expected=expected, found=found)

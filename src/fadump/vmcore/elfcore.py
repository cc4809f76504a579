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
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from types import TracebackType
from typing import NamedTuple, Self

from fadump.errors import AddressError, FormatError
from fadump.memory.ranges import Range
from fadump.vmcore.notes import ByteOrder, Note, iter_notes

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
_MACHINE_OFFSET = 0x12
_PHOFF_OFFSET = 0x20
_SHOFF_OFFSET = 0x28
_PHENTSIZE_OFFSET = 0x36
_PHNUM_OFFSET = 0x38
_SH_INFO_OFFSET = 0x2C

_MOST_PROGRAM_HEADERS = 1 << 18
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
        """
        file = _File(fd)
        header = _read_header(file)
        loads: list[LoadSegment] = []
        notes: list[Note] = []
        note_bytes = 0
        for header_offset, entry in _program_headers(file, header):
            if entry.type == _PT_LOAD:
                loads.append(_load_segment(file, header_offset, entry))
            elif entry.type == _PT_NOTE:
                note_bytes += entry.filesz
                _check(note_bytes <= _MOST_NOTE_BYTES, "too many bytes of notes", header_offset, _MOST_NOTE_BYTES)
                _check_in_file(file, header_offset, entry, "PT_NOTE")
                data = file.read(entry.offset, entry.filesz, "PT_NOTE")
                for note in iter_notes(data, header.byte_order, entry.offset):
                    notes.append(note)
                    _check(len(notes) <= _MOST_NOTES, "too many notes", note.offset, _MOST_NOTES)
        self._file = file
        self._machine = header.machine
        self._byte_order = header.byte_order
        self._segments = tuple(loads)
        self._notes = tuple(notes)
        self._extents = list(_first_wins([extent for load in loads for extent in _extents(load)]))
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

    def extents(self, wanted: Range) -> Iterator[Extent]:
        """Where the bytes of ``wanted`` are, in the order of addresses.

        :raises AddressError: some of it is in no PT_LOAD; nothing is yielded then from there on.
        """
        at = wanted.start
        index = bisect_right(self._starts, at) - 1
        while at < wanted.end:
            if not 0 <= index < len(self._extents) or at not in self._extents[index].physical:
                raise AddressError(wanted.start, wanted.size_bytes)
            extent = self._extents[index]
            part = Range(at, min(wanted.end, extent.physical.end))
            yield extent.part(part)
            at, index = part.end, index + 1

    def read_physical(self, address: int, length: int) -> bytes:
        """``length`` bytes of the crashed system's memory from physical ``address``.

        :raises AddressError: some of it is in no PT_LOAD.
        :raises OSError: the file can't be read.
        """
        if address < 0 or length < 0:
            raise AddressError(address, length)
        return b"".join(self._read_extent(extent) for extent in list(self.extents(Range.sized(address, length))))

    def read_file(self, offset: int, length: int) -> bytes:
        """``length`` bytes of the file itself from ``offset``.

        :raises FormatError: the file doesn't have them, or no longer has them.
        :raises OSError: the file can't be read.
        """
        return self._file.read(offset, length, "file")

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
    """A file of which every read is whole or an error. Reads of a mapping would end in SIGBUS where these raise."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self.size_bytes = os.lseek(fd, 0, os.SEEK_END)

    def read(self, offset: int, length: int, what: str) -> bytes:
        if offset < 0 or length < 0 or offset + length > self.size_bytes:
            self._cut_short(offset, length, what, self.size_bytes)
        parts = []
        at, end = offset, offset + length
        while at < end:
            data = os.pread(self._fd, end - at, at)
            if not data:  # somebody has cut it since
                self._cut_short(offset, length, what, at)
            parts.append(data)
            at += len(data)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def close(self) -> None:
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)

    def _cut_short(self, offset: int, length: int, what: str, file_end: int) -> None:
        raise FormatError(f"{what} cut short", offset=offset, expected=length, found=max(0, file_end - offset))


class _Header(NamedTuple):
    byte_order: ByteOrder
    machine: int
    program_headers_offset: int
    program_headers: int


class _ProgramHeader(NamedTuple):
    type: int
    flags: int
    offset: int
    vaddr: int
    paddr: int
    filesz: int
    memsz: int
    align: int

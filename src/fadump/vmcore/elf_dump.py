"""An ELF core as a :class:`~fadump.vmcore.contract.Dump`: whole, cut short or unflattened.

The format is read by :mod:`fadump.vmcore.elfcore`; errors are recorded and not raised.
"""

from collections.abc import Iterator, Sequence
from itertools import chain

from fadump.abi.elf import CORE_NAME, DUMP_ELF_INCOMPLETE, ELF_HEADER, MACHINES, NT_AUXV
from fadump.errors import AddressError, FormatError
from fadump.memory.ranges import Range, RangeSet
from fadump.vmcore.contract import (
    READABLE,
    Bytes,
    Dump,
    Kind,
    NotInDumpError,
    Piece,
    State,
    VirtualRange,
    merged,
    vmcoreinfo_of,
)
from fadump.vmcore.elfcore import ElfCore
from fadump.vmcore.extents import Extent
from fadump.vmcore.notes import Note, erase_info_of
from fadump.vmcore.opal_core import opal_entry
from fadump.vmcore.seal import unsealed
from fadump.vmcore.source import Source, data_or_all


def _of_process(notes: Sequence[Note]) -> FormatError | None:
    """The error if it is the core of a process, whose addresses aren't physical; None: it isn't.

    All of those have NT_AUXV (Linux fs/binfmt_elf.c, fill_note_info()); the core of a system never has it, but OPAL's.
    """
    for note in notes:
        if note.name == CORE_NAME and note.type == NT_AUXV:
            return FormatError("the core of a process, and not of a system", offset=note.offset)
    return None


class ElfDump(Dump):
    """An open ELF core. Memory beyond p_filesz is zeros, as in drgn and crash; if PT_LOADs overlap, the first in the
    file counts."""

    kind = Kind.ELF

    def __init__(self, source: Source) -> None:
        """Read headers and notes; this object owns ``source`` from then on, unless this fails.

        :raises FormatError: it isn't a 64-bit ELF core.
        :raises OSError: the file can't be read.
        """
        damage: list[FormatError] = []
        self._core = ElfCore(source, damage=damage)
        self._source = source
        self.flattened = False
        self.byte_order = self._core.byte_order
        self.machine = MACHINES.get((self._core.machine, self.byte_order), f"e_machine {self._core.machine}")
        self.notes = self._core.notes
        self.vmcoreinfo = vmcoreinfo_of(self.notes)
        self.erase_info = erase_info_of(self.notes)
        segments = self._core.segments
        self.virtual_ranges = tuple(VirtualRange(segment.physical, segment.virtual_address) for segment in segments)
        self.memory = RangeSet(segment.physical for segment in segments)
        in_file = [
            Range.sized(extent.file_offset, extent.physical.size_bytes)
            for memory in self.memory
            for extent in self._core.extents_within(memory)
            if extent.file_offset is not None
        ]
        self.shared_bytes = sum(part.size_bytes for part in in_file) - RangeSet(in_file).size_bytes
        if self._core.flags & DUMP_ELF_INCOMPLETE and self.machine != "ppc64":
            damage.append(FormatError("marked as incomplete by who wrote it", offset=ELF_HEADER.offset("e_flags")))
        self.opal_entry = opal_entry(self.notes, self.byte_order)
        damage += filter(None, [unsealed(self.notes, self.byte_order)])
        if self.opal_entry is None:
            damage += filter(None, [_of_process(self.notes)])
        self.damage = damage

    @property
    def core(self) -> ElfCore:
        """Its program headers; a segment may be beyond the end of the file."""
        return self._core

    def mapping(self, wanted: Range) -> Iterator[Piece]:
        return merged(self._all_pieces(wanted))

    def data_ranges(self, wanted: Range) -> Iterator[Range]:
        for piece in self.mapping(wanted):
            if piece.file_offset is not None:
                shift = piece.range.start - piece.file_offset
                for data in data_or_all(self._source, Range.sized(piece.file_offset, piece.range.size_bytes)):
                    yield Range(data.start + shift, data.end + shift)

    def read_physical(self, address: int, length: int) -> bytes:
        if address < 0 or length < 0:
            raise AddressError(address, length)
        wanted = Range.sized(address, length)
        offset = self._offset_of(wanted)
        if offset is not None:  # the usual case
            return self._source.read(offset, length, "memory")
        pieces = list(self._readable_pieces(wanted))
        return b"".join(
            bytes(piece.range.size_bytes)
            if piece.file_offset is None
            else self._source.read(piece.file_offset, piece.range.size_bytes, "memory")
            for piece in pieces
        )

    def view_physical(self, wanted: Range) -> Bytes:
        pieces = list(self._readable_pieces(wanted))
        if len(pieces) == 1 and pieces[0].file_offset is not None:
            view = self._source.view(pieces[0].file_offset, wanted.size_bytes)
            if view is not None:
                return view
        return super().view_physical(wanted)

    def read_or_view(self, wanted: Range, buffer: Bytes) -> Bytes:
        pieces = list(self._readable_pieces(wanted))
        offset = pieces[0].file_offset if len(pieces) == 1 else None
        if offset is None or self._source.next_data(offset) >= offset + wanted.size_bytes:
            return self.view_physical(wanted)
        data = buffer[: wanted.size_bytes]
        self._source.read_into(offset, data.data, "memory")
        return data

    def close(self) -> None:
        self._core.close()

    def _offset_of(self, wanted: Range) -> int | None:
        """Where all of ``wanted`` is in the file, if it is in one segment."""
        extent = next(self._core.extents_within(wanted), None)
        if extent is None or extent.physical != wanted or extent.file_offset is None:
            return None
        return extent.file_offset if extent.file_offset + wanted.size_bytes <= self._source.size_bytes else None

    def _readable_pieces(self, wanted: Range) -> Iterator[Piece]:
        for piece in self.mapping(wanted):
            if piece.state not in READABLE:
                raise NotInDumpError(wanted.start, wanted.size_bytes, piece.range.start, piece.state)
            yield piece

    def _all_pieces(self, wanted: Range) -> Iterator[Piece]:
        at = wanted.start
        for piece in chain.from_iterable(map(self._pieces, self._core.extents_within(wanted))):
            if at < piece.range.start:
                yield Piece(Range(at, piece.range.start), State.HOLE)
            yield piece
            at = piece.range.end
        if at < wanted.end:
            yield Piece(Range(at, wanted.end), State.HOLE)

    def _pieces(self, extent: Extent) -> Iterator[Piece]:
        where, offset = extent.physical, extent.file_offset
        if offset is None:
            yield Piece(where, State.ZEROS)
            return
        there = min(where.size_bytes, max(0, self._source.size_bytes - offset))
        if there:
            yield Piece(Range.sized(where.start, there), State.STORED, offset)
        if there < where.size_bytes:
            yield Piece(Range(where.start + there, where.end), State.MISSING)

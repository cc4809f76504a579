"""Writing a filtered ELF core so that at any time it is either complete or says that it isn't.

Step "saved" of docs/architecture.md; the headers are :mod:`fadump.abi.elf`'s, what is added
:mod:`fadump.vmcore.seal`'s. As in a kdump-compressed file, program headers of memory are written when that memory is
durable, so what can be read is right. Each is written once, when all of its memory is there: one that grows could be
torn by a power cut between its two sizes, and what is beyond the smaller one would read as zeros. Memory that was left
out is in no PT_LOAD, so that no reader takes it for zeros. Pages of zeros are holes of the file and take no room; long
runs of them, as far as they are known before, are PT_LOADs of which nothing is in the file.
"""

import heapq
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from fadump.abi import elf
from fadump.capture.about import About
from fadump.capture.batches import long_zeros
from fadump.capture.bits import PageBits
from fadump.capture.packing import PackedBatch
from fadump.capture.sealing import Checksums, SealedNotes, agrees, chunks, sealed
from fadump.capture.selection import Selection
from fadump.capture.target import FileTarget, Target
from fadump.capture.virtual_addresses import VirtualAddresses
from fadump.errors import FadumpError, FormatError
from fadump.limits import MOST_MEMORY_RANGES
from fadump.memory.ranges import Range, RangeSet
from fadump.vmcore.contract import READABLE, Dump
from fadump.vmcore.elfcore import ElfCore
from fadump.vmcore.seal import Seal
from fadump.vmcore.source import Source, data_or_all

CHECKPOINT_BYTES = 256 << 20
"""How many bytes of memory are written before their program headers are."""

MOST_SEGMENTS = 50_000
"""With those that are cut, more wouldn't fit into e_phnum, and not all readers know its extension, PN_XNUM."""
_MOST_CUTS = 1 << 13
"""How many more segments there may be because large ones are cut to about what one checkpoint writes."""
_LEAST_HOLE_BYTES = 64 << 10
"""Fewer zeros are written: a hole for them would cost more than it saves."""
LEAST_ABSENT_BYTES = 16 << 20
"""Fewer zeros are in the file, if only as a hole."""
_MOST_ABSENT = 1 << 11
"""How many runs of zeros may be PT_LOADs of their own."""
_MOST_GAP_PAGES = 1 << 20
_MACHINES = {name: machine for (machine, _byte_order), name in elf.MACHINES.items()}


@dataclass(frozen=True, slots=True)
class _Segment:
    """Memory that is contiguous in the file, too; its first page is number ``rank`` of those in the file.

    ``end_rank`` is the number of the page after its last one, the same if it is zeros that aren't in the file;
    ``virtual`` is p_vaddr. Memory that has several virtual
    addresses is in as many segments, with the same bytes of the file.
    """

    physical: Range
    rank: int
    end_rank: int
    virtual: int

    @property
    def file_bytes(self) -> int:
        """How much of it is in the file."""
        return self.physical.size_bytes if self.rank < self.end_rank else 0


class ElfWriter:
    """Writes one file."""

    def __init__(self, target: Target, about: About, selection: Selection, memory: RangeSet) -> None:
        """``memory`` is all that the source has, of which ``selection`` says what is wanted.

        :raises FadumpError: it is in too many pieces for an ELF core, or of an unknown machine.
        """
        self._target = target
        self._about = about
        self._page_bytes = selection.page_bytes
        self._flags = elf.PPC64_ABI.get(about.machine, 0)
        self._machine = _machine(about.machine)
        absent = _absent(selection)
        self._segments = _segments(selection, absent, memory, VirtualAddresses(about.machine, about.virtual_ranges))
        if len(self._segments) >= MOST_MEMORY_RANGES:
            raise FadumpError(
                f"memory is in {len(self._segments):,} pieces, too many for an ELF core: use --format kdump"
            )
        self._ranks = [segment.rank for segment in self._segments]
        count = 1 + len(self._segments)
        notes_at = elf.ELF_HEADER.size_bytes + count * elf.PROGRAM_HEADER.size_bytes
        notes_at += len(elf.encode_section_header_0(about.byte_order, count))
        self._notes = SealedNotes(about.notes, about.byte_order, notes_at)
        self._data_at = -(-self._notes.where.end // self._page_bytes) * self._page_bytes
        self._checksums = Checksums(about.byte_order)
        self._in_file = selection.wanted.copy()
        for run in absent:
            self._in_file.fill(run.start, run.end, value=False)
        self._rank = self._durable_rank = 0
        self._unsafe_bytes = self._end = 0

    @property
    def size_bytes(self) -> int:
        """How large the file is by now, its holes included."""
        return max(self._offset(self._rank), self._end)

    def begin(self) -> None:
        """Headers that say INCOMPLETE and have no memory yet.

        :raises OSError: the file can't be written; the other steps raise it too.
        """
        self._target.allocate(0, self._data_at)
        self._target.write(0, self._head(0, Seal(complete=False)))
        self._target.barrier()

    def add(self, batch: PackedBatch) -> None:
        """The next pages, zeros and all."""
        start = self._offset(self._rank)
        data = memoryview(batch.data)
        for run in without_holes(batch, self._page_bytes):
            written = slice(run.start * self._page_bytes, run.end * self._page_bytes)
            self._target.write(start + written.start, data[written])
        self._checksums.add(start, len(data), batch.crc)
        self._rank += len(batch.pages)
        self._unsafe_bytes += int((~batch.zeros).sum()) * self._page_bytes
        if self._unsafe_bytes >= CHECKPOINT_BYTES:
            self.checkpoint()

    def add_zeros(self, pages: Range) -> None:
        """The next pages, of which nothing is written; where they are in the file, they are a hole."""
        self._rank += self._in_file.count_between(pages.start, pages.end)

    def checkpoint(self) -> None:
        """Make all memory so far durable, then write its program headers."""
        if self._rank > self._durable_rank:
            self._target.barrier()
            first = max(0, bisect_left(self._ranks, self._durable_rank) - 1)
            first = bisect_left(self._ranks, self._ranks[first])
            headers = self._program_headers(self._rank, Range(first, bisect_left(self._ranks, self._rank)))
            self._target.write(elf.ELF_HEADER.size_bytes + (1 + first) * elf.PROGRAM_HEADER.size_bytes, headers)
            self._durable_rank = self._rank
        self._unsafe_bytes = 0

    def finish(self, *, complete: bool) -> None:
        """The checksums, then headers that don't say INCOMPLETE, unless the source wasn't ``complete``."""
        self.checkpoint()
        table = self._checksums.encode()
        at = self._offset(self._rank)
        self._target.write(at, table)
        self._target.barrier()
        self._end = at + len(table)
        head = self._head(self._rank, Seal(complete=complete))
        seal = sealed(head[: self._notes.seal.start], table, at, complete=complete)
        self._target.write(0, self._head(self._rank, seal))
        self._target.barrier()

    def matches(self, source: Source) -> bool:
        return self._agrees(source, exactly=False)

    def has_begun(self, source: Source) -> bool:
        if not self._agrees(source, exactly=True):
            return False
        try:
            core = ElfCore(source, damage=[])
        except FormatError:
            return False
        ends = {(segment.physical.start, self._offset_of(segment)): segment.physical.end for segment in self._segments}
        return all(load.physical.end <= ends.get((load.physical.start, load.file_offset), 0) for load in core.segments)

    def _agrees(self, source: Source, *, exactly: bool) -> bool:
        """Whether the headers, apart from program headers of memory, are as they would be written."""
        variants = [self._head(0, Seal(complete=complete)) for complete in (False, True)]
        first = elf.ELF_HEADER.size_bytes + elf.PROGRAM_HEADER.size_bytes
        varying = [Range(first, self._notes.where.start), self._notes.seal]
        return any(agrees(source, 0, head, varying, exactly=exactly) for head in variants)

    def resume(self, target: FileTarget, source: Source, page: int) -> None:
        self._rank = self._durable_rank = self._in_file.count_between(0, page)
        for data in data_or_all(source, Range(self._data_at, self._offset(self._rank))):
            for offset, size_bytes in chunks(data.start, data.end):
                self._checksums.add_bytes(offset, source.read(offset, size_bytes, "memory"))
        target.write(0, self._head(self._rank, Seal(complete=False)))
        target.barrier()
        target.truncate(self._offset(self._rank))

    def _offset(self, rank: int) -> int:
        return self._data_at + rank * self._page_bytes

    def _offset_of(self, segment: _Segment) -> int:
        return self._offset(segment.rank) + segment.physical.start % self._page_bytes

    def _head(self, durable_rank: int, seal: Seal) -> bytes:
        """Everything before the memory, with program headers for the first ``durable_rank`` pages."""
        order, count = self._about.byte_order, 1 + len(self._segments)
        flags = (
            self._flags if seal.complete or self._about.machine == "ppc64" else self._flags | elf.DUMP_ELF_INCOMPLETE
        )
        parts = [
            elf.encode_core_header(order, self._machine, flags, count),
            elf.PROGRAM_HEADER.in_order(order).encode(_note_header(self._notes.where)),
            self._program_headers(durable_rank, Range(0, len(self._segments))),
            elf.encode_section_header_0(order, count),
            self._notes.encode(seal),
        ]
        return b"".join(parts)

    def _program_headers(self, durable_rank: int, segments: Range) -> bytes:
        """The program headers of some segments; zeros, PT_NULL, if not all is in the first ``durable_rank`` pages."""
        headers = []
        layout = elf.PROGRAM_HEADER.in_order(self._about.byte_order)
        for segment in self._segments[segments.start : segments.end]:
            if segment.end_rank > durable_rank:
                headers.append(bytes(elf.PROGRAM_HEADER.size_bytes))
                continue
            physical, size_bytes = segment.physical.start, segment.physical.size_bytes
            offset = self._offset_of(segment)
            header = elf.ProgramHeader(
                elf.PT_LOAD, elf.PF_RWX, offset, segment.virtual, physical, segment.file_bytes, size_bytes
            )
            headers.append(layout.encode(header))
        return b"".join(headers)


def _note_header(where: Range) -> elf.ProgramHeader:
    return elf.ProgramHeader(
        elf.PT_NOTE,
        p_offset=where.start,
        p_filesz=where.size_bytes,
        p_memsz=where.size_bytes,
        p_align=elf.NOTE_ALIGNMENT_BYTES,
    )


def fit_for_elf(dump: Dump, selection: Selection) -> Selection:
    """What of a selection an ELF core can hold: it can't mark missing pages, and its segments are limited.

    If there are more, unwanted pages between wanted ones stay in after all, first those in the smallest gaps.

    :raises FadumpError: they are still too many.
    :raises OSError: the dump can't be read.
    """
    wanted = selection.wanted.copy()
    for window in selection.missing.windows(0, selection.pages):
        kept = wanted.flags(window.start, window.end) & ~selection.missing.flags(window.start, window.end)
        wanted.put(window.start, kept)
    gap_pages = 1
    while sum(1 for _run in wanted.runs()) > MOST_SEGMENTS:
        if gap_pages > _MOST_GAP_PAGES:
            raise FadumpError(f"the pages to save are in more than {MOST_SEGMENTS} pieces: use --format kdump")
        _fill_gaps(dump, wanted, selection.page_bytes, gap_pages)
        gap_pages *= 2
    more = wanted.count() - selection.wanted.count() + selection.missing.count()
    remarks = [f"{more} pages are saved after all, as an ELF core would be in too many pieces"] if more else []
    return replace(selection, wanted=wanted, missing=PageBits(selection.pages), remarks=(*selection.remarks, *remarks))


def _fill_gaps(dump: Dump, wanted: PageBits, page_bytes: int, most_pages: int) -> None:
    last_end: int | None = None
    for run in list(wanted.runs()):
        if last_end is not None and 0 < run.start - last_end <= most_pages:
            gap = Range(last_end * page_bytes, run.start * page_bytes)
            if all(piece.state in READABLE for piece in dump.mapping(gap)):
                wanted.fill(last_end, run.start, value=True)
        last_end = run.end


def without_holes(batch: PackedBatch, page_bytes: int) -> Iterator[Range]:
    """Which of a batch's pages are written, by their places in it: all but long runs of zeros."""
    numbers = np.flatnonzero(~batch.zeros)
    cuts = np.flatnonzero(np.diff(numbers) > _LEAST_HOLE_BYTES // page_bytes) + 1
    for part in np.split(numbers, cuts):
        if len(part):
            yield Range(int(part[0]), int(part[-1]) + 1)


def _absent(selection: Selection) -> list[Range]:
    """The longest runs of pages that are known to be zeros: they needn't be in the file."""
    least_bytes = LEAST_ABSENT_BYTES
    while sum(1 for _run in long_zeros(selection, least_bytes)) > _MOST_ABSENT:
        least_bytes *= 2
    return list(long_zeros(selection, least_bytes))


def _segments(
    selection: Selection, absent: Sequence[Range], memory: RangeSet, addresses: VirtualAddresses
) -> list[_Segment]:
    """All segments; ``absent`` are pages that are not in the file."""
    page_bytes = selection.page_bytes
    zeros = RangeSet(_addresses(run, page_bytes) for run in absent)
    stored = RangeSet(_addresses(run, page_bytes) for run in selection.wanted.runs()) - zeros
    most_bytes = max(CHECKPOINT_BYTES, -(-stored.size_bytes // _MOST_CUTS // page_bytes) * page_bytes)
    segments = []
    rank = 0
    for run, is_stored in heapq.merge(((run, True) for run in stored), ((run, False) for run in zeros)):
        for start in range(run.start, run.end, most_bytes if is_stored else run.size_bytes):
            part = Range(start, min(start + most_bytes, run.end)) if is_stored else run
            for physical, virtual in addresses.of(memory.within(part)):
                first, end = physical.start // page_bytes, -(-physical.end // page_bytes)
                at = rank + first - run.start // page_bytes if is_stored else rank
                segments.append(_Segment(physical, at, at + end - first if is_stored else rank, virtual))
        rank += run.size_bytes // page_bytes if is_stored else 0
    return segments


def _addresses(pages: Range, page_bytes: int) -> Range:
    return Range(pages.start * page_bytes, pages.end * page_bytes)


def _machine(name: str) -> int:
    machine = _MACHINES.get(name)
    if machine is None:
        raise FadumpError(f"there is no ELF core of the machine {name!r} here: use --format kdump")
    return machine

"""One kdump-compressed file: its headers, notes, bitmaps and page descriptors, and one page at a time.

The layout is :mod:`fadump.vmcore.kdump_header`'s.

All pages of zeros share the same bytes in the file, so a stored page is identified by its offset.
"""

from bisect import bisect_right
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from itertools import chain

import numpy as np
import numpy.typing as npt

from fadump.errors import FormatError, ReadError, SetupError
from fadump.limits import MOST_MEMORY_RANGES, MOST_NOTES, MOST_NOTES_BYTES, MOST_VMCOREINFO_BYTES
from fadump.memory.ranges import Range, RangeSet
from fadump.vmcore.bitmap import PageBitmap
from fadump.vmcore.codecs import unpack_page
from fadump.vmcore.contract import State, limited_set, vmcoreinfo_of
from fadump.vmcore.kdump_header import (
    DESCRIPTOR,
    DESCRIPTOR_BYTES,
    HEADER,
    INCOMPLETE,
    NEWEST_VERSION,
    Descriptor,
    read_kdump_header,
)
from fadump.vmcore.notes import Note, erase_info_of, iter_notes
from fadump.vmcore.seal import unsealed
from fadump.vmcore.source import Source

_LAST_PAGES = 1 << 16
"""How many descriptors are checked to see whether a file was cut short."""
STATES = (State.EXCLUDED, State.STORED, State.MISSING)
"""What the numbers in :attr:`Pages.states` mean."""
_EXCLUDED, _STORED, _MISSING = range(3)


@dataclass(frozen=True, slots=True)
class Pages:
    """What a file says about pages from number ``start`` on; all arrays have an element for each page.

    ``states`` are indices of :data:`STATES`; the others are the descriptors' fields, 0 for a page without one.
    """

    start: int
    states: npt.NDArray[np.uint8]
    offsets: npt.NDArray[np.uint64]
    sizes: npt.NDArray[np.uint32]
    flags: npt.NDArray[np.uint32]

    @property
    def stored(self) -> npt.NDArray[np.bool_]:
        """Which pages are in the file."""
        return np.equal(self.states, _STORED)


class KdumpFile:
    """An open kdump-compressed file. Errors that don't prevent reading it are in ``damage``."""

    def __init__(self, source: Source) -> None:
        """Read headers, notes and bitmaps; this object owns ``source`` from then on, unless this fails.

        :raises FormatError: it is not a kdump-compressed file, or its headers make no sense.
        :raises OSError: the file can't be read.
        """
        self.source = source
        self.damage: list[FormatError] = []
        self.header = header = read_kdump_header(source)
        self.notes = tuple(self._read_notes())
        self.vmcoreinfo = self._read_vmcoreinfo()
        self.erase_info = self._read_part(header.erase_info, MOST_NOTES_BYTES, "erase info") or erase_info_of(
            self.notes
        )
        self.pages = Range(0, header.pages) if header.split is None else header.split
        """The pages that this file covers: all, or its part of a set."""
        second_bitmap = header.bitmaps_bytes // 2 if header.has_two_bitmaps else 0
        self.bitmap = PageBitmap(source, header.bitmap_offset + second_bitmap, header.pages)
        """The pages that were written, here or in another file of the set."""
        first_rank = self.bitmap.rank(self.pages.start)
        self._rank_zero_offset = header.descriptors_offset - first_rank * DESCRIPTOR_BYTES
        """Where the descriptor of the first page of all files would be."""
        self.page_count = self.bitmap.count_between(self.pages.start, self.pages.end)
        """How many descriptors the file has."""
        self.data_offset = header.descriptors_offset + self.page_count * DESCRIPTOR_BYTES
        """Where the descriptors end and pages may begin."""
        self._descriptor = DESCRIPTOR.in_order(header.byte_order)
        self._vector = self._descriptor.dtype
        self._zeros: tuple[Descriptor, bool] | None = None
        """The first page of the data, and whether it is of zeros."""
        self._zero_runs: list[Range] = []
        """What :meth:`has_only_zeros` has found, rising."""
        self._judge()

    def memory(self) -> RangeSet:
        """All physical addresses that were memory. If the bitmap is cut short, also those that may have been.

        :raises FormatError: they are too many ranges.
        :raises OSError: the file can't be read.
        """
        page_bytes = self.header.page_bytes
        bitmap = self.bitmap
        if self.header.has_two_bitmaps:
            bitmap = PageBitmap(self.source, self.header.bitmap_offset, self.header.pages)
        runs = chain(bitmap.runs(), [(bitmap.pages_known, bitmap.pages)])
        ranges = (Range(start * page_bytes, end * page_bytes) for start, end in runs)
        return limited_set(ranges, MOST_MEMORY_RANGES)

    def look(self, start: int, end: int) -> Pages:
        """What the file says about pages from ``start`` up to ``end``, which must be in :attr:`pages` and the bitmap.

        :raises FormatError: the file has become shorter since it was opened.
        :raises OSError: the file can't be read.
        """
        written = self.bitmap.flags(start, end)
        states = np.where(written, np.uint8(_MISSING), np.uint8(_EXCLUDED))
        table = np.zeros(end - start, dtype=self._vector)
        offset = self._descriptor_offset(start)
        places = np.flatnonzero(written)[: max(0, self.source.size_bytes - offset) // DESCRIPTOR_BYTES]
        if len(places):
            raw = self.source.read(offset, len(places) * DESCRIPTOR_BYTES, "page descriptors")
            table[places] = np.frombuffer(raw, dtype=self._vector)
        offsets, sizes = table["offset"].astype(np.uint64), table["size"].astype(np.uint32)
        states[(offsets != 0) & self._are_there(offsets, sizes)] = _STORED
        return Pages(start, states, offsets, sizes, table["flags"].astype(np.uint32))

    def are_zeros(self, pages: Pages) -> npt.NDArray[np.bool_]:
        """Which pages are the one of zeros that all writers have as the first of a file, without a look at others.

        :raises SetupError: as :meth:`unpack`.
        """
        first: npt.NDArray[np.bool_] = pages.stored & (pages.offsets == self.data_offset)
        if not first.any():
            return first
        if self._zeros is None:
            place = int(np.argmax(first))
            found = Descriptor(self.data_offset, int(pages.sizes[place]), int(pages.flags[place]))
            with suppress(ReadError, FormatError):
                self._zeros = found, not any(self.unpack(found))
        if self._zeros is None or not self._zeros[1]:
            return np.zeros(len(first), np.bool_)
        zeros = self._zeros[0]
        first &= (pages.sizes == zeros.size) & (pages.flags == zeros.flags)
        return first

    def has_only_zeros(self, start: int, end: int) -> bool:
        """Whether each page from ``start`` up to ``end`` is the one of zeros, by comparing descriptors' bytes.

        A sparse dump has many in a row, which are compared once however often they are asked for. Without the library
        that unpacks the page of zeros, no page is known to be it.

        :raises OSError: the file can't be read.
        """
        wanted = Range(start, end)
        before = bisect_right(self._zero_runs, start, key=_start) - 1
        if before >= 0 and self._zero_runs[before].contains(wanted):
            return True
        count, offset = end - start, self._descriptor_offset(start)
        table_bytes = count * DESCRIPTOR_BYTES
        if self.bitmap.count_between(start, end) != count or offset + table_bytes > self.source.size_bytes:
            return False
        try:
            if not self.are_zeros(self.look(start, start + 1))[0]:
                return False
        except SetupError:
            return False
        raw = self.source.read(offset, table_bytes, "page descriptors")
        if not raw.startswith(raw[-DESCRIPTOR_BYTES:]) or raw[DESCRIPTOR_BYTES:] != raw[:-DESCRIPTOR_BYTES]:
            return False
        if before >= 0 and self._zero_runs[before].end == start:
            self._zero_runs[before] = Range(self._zero_runs[before].start, end)
        elif before == len(self._zero_runs) - 1:  # those in between are few
            self._zero_runs.append(wanted)
        return True

    def find(self, page: int) -> Descriptor | State:
        """Where a page of :attr:`pages` is, or why it isn't in the file.

        :raises FormatError: its descriptor makes no sense, or the file has become shorter since it was opened.
        :raises OSError: the file can't be read.
        """
        rank = self.bitmap.rank_if_set(page)
        if rank is None:
            return State.EXCLUDED if page < self.bitmap.pages_known else State.MISSING
        at = self._rank_zero_offset + rank * DESCRIPTOR_BYTES
        if at + DESCRIPTOR_BYTES > self.source.size_bytes:
            return State.MISSING
        found = self._descriptor.decode(self.source.read(at, DESCRIPTOR_BYTES, "page descriptor"))
        if not found.offset or found.offset + found.size > self.source.size_bytes:
            return State.MISSING
        self._check(found)
        return found

    def unpack(self, found: Descriptor) -> bytes:
        """The page's bytes.

        :raises FormatError: it doesn't unpack, or its descriptor makes no sense.
        :raises SetupError: it is packed with LZO or Snappy, which the host lacks.
        :raises OSError: the file can't be read.
        """
        self._check(found)
        data = self.source.read(found.offset, found.size, "page")
        return unpack_page(data, found.flags, self.header.page_bytes, found.offset)

    def _check(self, found: Descriptor) -> None:
        if found.offset < self.data_offset:
            wanted = f"{self.data_offset:#x} or more"
            raise FormatError("page among the headers", offset=found.offset, expected=wanted, found=found.offset)
        if found.size > self.header.page_bytes:
            wanted = f"at most {self.header.page_bytes:#x} bytes"
            raise FormatError("packed page", offset=found.offset, expected=wanted, found=found.size)

    def _descriptor_offset(self, page: int) -> int:
        return self._rank_zero_offset + self.bitmap.rank(page) * DESCRIPTOR_BYTES

    def _judge(self) -> None:
        header = self.header
        if header.version > NEWEST_VERSION:
            message = f"kdump header version newer than {NEWEST_VERSION}, read as that"
            self.damage.append(FormatError(message, offset=HEADER.offset("header_version"), found=header.version))
        if header.status & INCOMPLETE:
            self.damage.append(FormatError("marked as incomplete by who wrote it", offset=HEADER.offset("status")))
        self.damage += filter(None, [unsealed(self.notes, header.byte_order)])
        for what, offset, size_bytes in (
            ("page bitmaps", header.bitmap_offset, header.bitmaps_bytes),
            ("page descriptors", header.descriptors_offset, self.page_count * DESCRIPTOR_BYTES),
        ):
            if offset + size_bytes > self.source.size_bytes and size_bytes:
                there = max(0, self.source.size_bytes - offset)
                self.damage.append(FormatError(f"{what} cut short", offset=offset, expected=size_bytes, found=there))
                return
        if self._last_pages_are_cut():
            self.damage.append(FormatError("pages cut short", offset=self.source.size_bytes))

    def _last_pages_are_cut(self) -> bool:
        """Whether the file ends before its last pages, which are in the order of their descriptors.

        Only some are checked. An error of the disk is left to later reads.
        """
        size_bytes = min(self.page_count, _LAST_PAGES) * DESCRIPTOR_BYTES
        try:
            raw = self.source.read(self.data_offset - size_bytes, size_bytes, "page descriptors")
        except ReadError:
            return False
        table = np.frombuffer(raw, dtype=self._vector)
        return not self._are_there(table["offset"].astype(np.uint64), table["size"].astype(np.uint32)).all()

    def _are_there(self, offsets: npt.NDArray[np.uint64], sizes: npt.NDArray[np.uint32]) -> npt.NDArray[np.bool_]:
        """Which descriptors' pages are whole in the file; a descriptor of zeros counts as one."""
        end = np.uint64(self.source.size_bytes)
        return (offsets <= end) & (sizes <= end - np.minimum(offsets, end))

    def _read_notes(self) -> Iterator[Note]:
        data = self._read_part(self.header.notes, MOST_NOTES_BYTES, "notes")
        try:
            for number, note in enumerate(iter_notes(data, self.header.byte_order, self.header.notes.start)):
                if number == MOST_NOTES:
                    self.damage.append(FormatError(f"more than {MOST_NOTES} notes", offset=note.offset))
                    return
                yield note
        except FormatError as error:
            self.damage.append(error)

    def _read_vmcoreinfo(self) -> bytes | None:
        data = self._read_part(self.header.vmcoreinfo, MOST_VMCOREINFO_BYTES, "VMCOREINFO")
        return data if data.strip(b"\0\n") else vmcoreinfo_of(self.notes)

    def _read_part(self, where: Range, most_bytes: int, what: str) -> bytes:
        """Read as much of ``where`` as the file has."""
        try:
            self.source.check_has(where.start, where.size_bytes, what)
        except FormatError as error:
            self.damage.append(error)
        if where.size_bytes > most_bytes:
            wanted = f"at most {most_bytes:#x}"
            self.damage.append(
                FormatError(f"size of {what}", offset=where.start, expected=wanted, found=where.size_bytes)
            )
        there = min(where.size_bytes, most_bytes, max(0, self.source.size_bytes - where.start))
        return self.source.read(where.start, there, what) if there else b""


def _start(run: Range) -> int:
    return run.start

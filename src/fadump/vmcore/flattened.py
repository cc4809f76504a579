"""A flattened dump, makedumpfile's -F: a file written as a stream of records, read as the file that it describes.

Specification: makedumpfile's IMPLEMENTATION and makedumpfile.h (struct makedumpfile_header, struct
makedumpfile_data_header). All fields are big-endian, whatever the machine:

    0x0000  16s  "makedumpfile", padded with zeros
    0x0010  s64  type, 1
    0x0018  s64  version, 1; the header takes 4096 bytes
    0x1000       records: s64 offset in the file described, s64 size, then so many bytes; offset and size -1: the end

A byte may be written more than once, as writers correct their headers at the end: the last one counts. Bytes that are
never written are zeros, as in a sparse file. Records are indexed once and then found by binary search; each takes
24 bytes of memory.
"""

import struct
from array import array
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from fadump.errors import FormatError
from fadump.limits import MOST_PIECES, MOST_RECORDS, Budget
from fadump.memory.ranges import Range
from fadump.vmcore.contract import Bytes
from fadump.vmcore.extents import Extent, first_wins
from fadump.vmcore.source import Source, check_has

SIGNATURE = b"makedumpfile\0\0\0\0"

_HEADER_FIELDS = ">16sqq"
_HEADER_BYTES = 4096
_TYPE = _VERSION = 1
_RECORD = struct.Struct(">qq")
_END = -1
END_OF_STREAM = _RECORD.pack(_END, _END)
_MOST_BYTES = 1 << 62
_OVERLAPPING = "records of a flattened dump that overlap"


class FlattenedSource:
    """The bytes that a flattened file describes.

    ``damage`` says what is missing if the stream has no end; what comes before can be read.
    """

    def __init__(self, source: Source) -> None:
        """Index all records; this object owns ``source`` from then on, unless this fails.

        :raises FormatError: it is not a flattened file, or very many records overlap.
        :raises OSError: the file can't be read.
        """
        raw = source.read(0, struct.calcsize(_HEADER_FIELDS), "header of a flattened dump")
        signature, type_, version = struct.unpack(_HEADER_FIELDS, raw)
        for expected, found, message, at in (
            (SIGNATURE, signature, "not a flattened dump", 0),
            (_TYPE, type_, "flattened dump of unknown type", 0x10),
            (_VERSION, version, "flattened dump of unknown version", 0x18),
        ):
            if expected != found:
                raise FormatError(message, offset=at, expected=expected, found=found)
        self.damage: list[FormatError] = []
        self._source = source
        self._starts, self._ends, self._places = _without_overlaps(self._records())
        self.size_bytes = int(self._ends[-1]) if len(self._ends) else 0

    def read(self, offset: int, length: int, what: str) -> bytes:
        check_has(self, offset, length, what)
        index = self._index(offset)
        if index >= 0 and offset + length <= self._ends[index]:
            return self._source.read(int(self._places[index]) + offset - int(self._starts[index]), length, what)
        data = bytearray(length)
        self.read_into(offset, memoryview(data), what)
        return bytes(data)

    def data_ranges(self, wanted: Range) -> Iterator[Range]:
        """The parts of ``wanted`` that are in a record; the rest was never written and is zeros."""
        if not wanted:
            return
        first, last = max(0, self._index(wanted.start)), self._index(wanted.end - 1) + 1
        starts, ends = self._starts[first:last], self._ends[first:last]
        gaps = starts[1:] != ends[:-1]
        for start, end in zip(starts[np.append(True, gaps)], ends[np.append(gaps, True)], strict=True) if last else ():
            found = Range(int(start), int(end)).intersection(wanted)
            if found is not None:
                yield found

    def next_data(self, offset: int) -> int:
        index = self._index(offset)
        if index >= 0 and offset < self._ends[index]:
            return offset
        return int(self._starts[index + 1]) if index + 1 < len(self._starts) else self.size_bytes

    def _index(self, offset: int) -> int:
        """The last record that begins at or before ``offset``; -1: none does."""
        return int(np.searchsorted(self._starts, offset, side="right")) - 1

    def read_into(self, offset: int, buffer: memoryview, what: str) -> None:
        check_has(self, offset, len(buffer), what)
        end = offset + len(buffer)
        at = offset
        index = max(0, self._index(offset))
        while at < end:
            start, stop = (
                (int(self._starts[index]), int(self._ends[index])) if index < len(self._starts) else (end, end)
            )
            if at < start:  # between records there are zeros
                zeros = min(start, end) - at
                buffer[at - offset : at - offset + zeros] = bytes(zeros)
                at += zeros
            if start <= at < min(stop, end):
                size = min(stop, end) - at
                place = int(self._places[index]) + at - start
                self._source.read_into(place, buffer[at - offset : at - offset + size], what)
                at += size
            index += 1

    def check_has(self, offset: int, length: int, what: str) -> None:
        check_has(self, offset, length, what)

    def view(self, offset: int, length: int) -> Bytes | None:
        """The bytes without a copy; None if they are in more than one record."""
        check_has(self, offset, length, "view")
        index = self._index(offset)
        if index < 0 or offset + length > self._ends[index]:
            return None
        return self._source.view(int(self._places[index]) + offset - int(self._starts[index]), length)

    def close(self) -> None:
        self._source.close()

    def _records(self) -> npt.NDArray[np.int64]:
        """Offset, size and place in the stream of each record, in the order of the stream."""
        records = array("q")
        at = _HEADER_BYTES
        while at + _RECORD.size <= self._source.size_bytes:
            offset, size = _RECORD.unpack(self._source.read(at, _RECORD.size, "record of a flattened dump"))
            if offset == size == _END:
                break
            if offset < 0 or size < 1 or offset + size > _MOST_BYTES or len(records) == 3 * MOST_RECORDS:
                self.damage.append(FormatError(f"record of {size:#x} bytes for offset {offset:#x}", offset=at))
                break
            at += _RECORD.size
            there = min(size, self._source.size_bytes - at)
            if there:
                records.extend((offset, there, at))
            at += size
        else:
            self.damage.append(FormatError("flattened dump cut short: it has no end", offset=self._source.size_bytes))
        return np.array(records, dtype=np.int64).reshape(-1, 3)


def encode_stream_header() -> bytes:
    """The header of a flattened file."""
    return struct.pack(_HEADER_FIELDS, SIGNATURE, _TYPE, _VERSION).ljust(_HEADER_BYTES, b"\0")


def encode_record(offset: int, size_bytes: int) -> bytes:
    """The header of a record: ``size_bytes`` bytes for ``offset`` of the file described."""
    return _RECORD.pack(offset, size_bytes)


def _without_overlaps(records: npt.NDArray[np.int64]) -> tuple[npt.NDArray[np.int64], ...]:
    """Start, end and place of each piece, by rising start; if records overlap, the last one counts."""
    rising = records[np.argsort(records[:, 0], kind="stable")]
    starts, ends = rising[:, 0], rising[:, 0] + rising[:, 1]
    # A group is records that overlap directly or through others; nearly all groups are of one record.
    firsts = np.flatnonzero(np.concatenate([[True], starts[1:] >= np.maximum.accumulate(ends)[:-1]])[: len(starts)])
    counts = np.diff(np.append(firsts, len(starts)))
    alone = firsts[counts == 1]
    Budget(_OVERLAPPING, MOST_PIECES).spend(len(records) - len(alone))
    pieces = [np.column_stack([starts[alone], ends[alone], rising[alone, 2]])]
    for first, count in zip(firsts[counts > 1].tolist(), counts[counts > 1].tolist(), strict=True):
        group = rising[first : first + count]
        newest_first = group[np.argsort(-group[:, 2])].tolist()
        extents = first_wins([Extent(Range.sized(offset, size), place) for offset, size, place in newest_first])
        pieces.append(np.array([(e.physical.start, e.physical.end, e.file_offset) for e in extents], dtype=np.int64))
    together = np.concatenate(pieces)
    together = together[np.argsort(together[:, 0])]
    return tuple(np.ascontiguousarray(column) for column in together.T)

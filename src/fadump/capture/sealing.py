"""Notes with a seal, and the checksums that the seal points to: what the writers of both formats share.

Step "saved" of docs/architecture.md; the layout is :mod:`fadump.vmcore.seal`'s.
"""

from collections.abc import Iterator, Sequence

from fadump.abi.layout import ByteOrder
from fadump.capture.packers import crc32
from fadump.memory.ranges import Range
from fadump.vmcore.notes import Note, encode_note
from fadump.vmcore.seal import NAME, SEAL_BYTES, TYPE, Row, Seal, encode_table
from fadump.vmcore.source import Source

_MOST_ROW_BYTES = 1 << 30
_CHUNK_BYTES = 1 << 20
_SECTOR_BYTES = 512


class SealedNotes:
    """A dump's notes from ``offset`` of the file on, with a seal as the last one."""

    def __init__(self, notes: Sequence[Note], byte_order: ByteOrder, offset: int) -> None:
        encoded = [encode_note(note.name, note.type, note.desc, byte_order) for note in notes]
        self._before = b"".join(encoded)
        self._byte_order = byte_order
        self.where = Range.sized(offset, len(self.encode(Seal(complete=False))))
        """Where they stand in the file."""
        self.seal = Range(self.where.end - SEAL_BYTES, self.where.end)
        """Where the seal's own bytes stand."""
        self._offset = offset
        self._notes = [(note, len(data)) for note, data in zip(notes, encoded, strict=True)]

    def text_of(self, name: str) -> Range:
        """Where the first note of a name has its text, VMCOREINFO's say; empty: there is none with any."""
        at = self._offset
        for note, size_bytes in self._notes:
            at += size_bytes
            if note.name == name and note.desc:
                return Range.sized(at - _padded(len(note.desc)), len(note.desc))
        return Range(0, 0)

    def encode(self, seal: Seal) -> bytes:
        """All notes."""
        return self._before + encode_note(NAME, TYPE, seal.encode(self._byte_order), self._byte_order)


class Checksums:
    """The table of checksums of a file that is being written."""

    def __init__(self, byte_order: ByteOrder) -> None:
        self._byte_order = byte_order
        self._rows: list[Row] = []

    def add(self, offset: int, size_bytes: int, crc: int) -> None:
        """Add a row: these bytes have been written and have this checksum. Rows may be added in any order."""
        if size_bytes:
            self._rows.append(Row(offset, size_bytes, crc))

    def add_bytes(self, offset: int, data: bytes) -> None:
        """Add a row for bytes that are to be written at ``offset``."""
        for at in range(0, len(data), _MOST_ROW_BYTES):
            part = memoryview(data)[at : at + _MOST_ROW_BYTES]
            self.add(offset + at, len(part), crc32(part))

    def encode(self) -> bytes:
        """The table."""
        return encode_table(sorted(self._rows, key=lambda row: row.offset), self._byte_order)


def sealed(head: bytes, table: bytes, table_offset: int, *, complete: bool) -> Seal:
    """The seal of a file to which nothing will be added: ``head`` is the file up to the seal's bytes."""
    return Seal(
        complete=complete,
        table_offset=table_offset,
        table_bytes=len(table),
        table_crc=crc32(table),
        head_crc=crc32(head),
    )


def agrees(source: Source, offset: int, expected: bytes, varying: Sequence[Range], *, exactly: bool) -> bool:
    """Whether a file has ``expected`` at ``offset``, but for what is ``varying``.

    Not ``exactly``: whole sectors may be missing or zeros, as a power cut leaves them.
    """
    there = max(0, min(len(expected), source.size_bytes - offset))
    found = (source.read(offset, there, "headers") if there else b"").ljust(len(expected), b"\0")
    lost = bytearray(expected)
    for at in range(0, len(expected), _SECTOR_BYTES):
        sector = slice(at, at + _SECTOR_BYTES)
        if exactly or any(found[sector]):
            lost[sector] = found[sector]
    for where in varying:
        lost[where.start - offset : where.end - offset] = expected[where.start - offset : where.end - offset]
    return lost == expected


def chunks(start: int, end: int) -> Iterator[tuple[int, int]]:
    """Offset and size of pieces of a file that are read one at a time."""
    for at in range(start, end, _CHUNK_BYTES):
        yield at, min(_CHUNK_BYTES, end - at)


def _padded(size_bytes: int) -> int:
    return -(-size_bytes // 4) * 4

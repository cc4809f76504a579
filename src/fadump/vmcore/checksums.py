"""Whether the bytes of a file are those that ``fadump save`` wrote, as its seal proves.

After the last step of "follow one crash" in docs/architecture.md; the layout is :mod:`fadump.vmcore.seal`'s. Every
byte is read once, as rows about the same bytes are damage. Bytes that no file system or stream has stored are zeros,
and aren't read: their part of a checksum is computed.
"""

import zlib
from collections.abc import Callable, Iterator, Sequence
from functools import cache, reduce
from operator import xor

from fadump.abi.layout import ByteOrder
from fadump.errors import FormatError
from fadump.limits import MOST_CHECKSUMS_BYTES
from fadump.memory.ranges import Range
from fadump.vmcore.notes import Note
from fadump.vmcore.seal import SEAL_BYTES, Row, Seal, decode_rows, find_seal
from fadump.vmcore.source import Source

_PIECE_BYTES = 1 << 20
_ZEROS = bytes(_PIECE_BYTES)
_ALL_ONES = 0xFFFF_FFFF


def broken_checksums(
    source: Source, notes: Sequence[Note], byte_order: ByteOrder, advance: Callable[[int], None]
) -> Iterator[str]:
    """What is wrong with a file, in sentences; nothing if it has no seal, or one copied from another file.

    ``advance`` is called with the number of bytes that were proven since its last call; see :func:`proven_bytes`.

    :raises OSError: the file can't be read.
    """
    found = find_seal(notes, byte_order)
    if found is None or not found[0].table_offset:
        return
    seal, seal_offset = found
    sums = _Sums(source)
    end = seal.table_offset + seal.table_bytes
    head_is_right = sums.crc(Range(0, seal_offset)) == seal.head_crc
    if not head_is_right and source.size_bytes != end and not _has_table(sums, seal):
        return  # a tool has rewritten the dump and copied the note
    if not head_is_right:
        yield f"its headers, before offset {seal_offset:#x}, are not what was written"
    if source.size_bytes < end:
        yield f"the file was {end:#x} bytes when it was written and is {source.size_bytes:#x} now"
    yield from _broken_rows(source, sums, seal, seal_offset + SEAL_BYTES, byte_order, advance)


def proven_bytes(source: Source, notes: Sequence[Note], byte_order: ByteOrder) -> int:
    """How many bytes of a file have checksums in its table."""
    found = find_seal(notes, byte_order)
    if found is None or not found[0].table_offset or not _has_table(_Sums(source), found[0]):
        return 0
    table = Range.sized(found[0].table_offset, found[0].table_bytes)
    return sum(row.size_bytes for row in _rows(source, table, byte_order))


def bytes_behind(source: Source, notes: Sequence[Note], byte_order: ByteOrder) -> int:
    """How many bytes follow a sealed dump: it was written to a disk, or a copy of it is padded. 0 if it has no seal."""
    found = find_seal(notes, byte_order)
    if found is None or not found[0].table_offset or not _has_table(_Sums(source), found[0]):
        return 0
    return source.size_bytes - found[0].table_offset - found[0].table_bytes


def _has_table(sums: "_Sums", seal: Seal) -> bool:
    where = Range.sized(seal.table_offset, seal.table_bytes)
    return seal.table_bytes <= MOST_CHECKSUMS_BYTES and sums.crc(where) == seal.table_crc


def _broken_rows(
    source: Source, sums: "_Sums", seal: Seal, start: int, byte_order: ByteOrder, advance: Callable[[int], None]
) -> Iterator[str]:
    table = Range.sized(seal.table_offset, seal.table_bytes)
    if seal.table_bytes > MOST_CHECKSUMS_BYTES:
        yield f"a table of checksums of {seal.table_bytes:#x} bytes is more than any file has"
        return
    try:
        source.check_has(table.start, table.size_bytes, "table of checksums")
    except FormatError as error:
        yield str(error)
        return
    if sums.crc(table) != seal.table_crc:
        yield f"the table of checksums at offset {table.start:#x} is not what was written"
        return
    at = start
    for row in _rows(source, table, byte_order):
        if row.offset < at or not row.size_bytes:
            yield f"the table of checksums at offset {table.start:#x} has two about the same bytes, or one about none"
            return
        yield from _broken_zeros(source, Range(at, row.offset))
        where = Range.sized(row.offset, row.size_bytes)
        if sums.crc(where) != row.crc:
            yield f"bytes {where} of the file are not what was written: their checksum is wrong"
        advance(row.size_bytes)
        at = where.end
    yield from _broken_zeros(source, Range(at, max(at, table.start)))


def _broken_zeros(source: Source, where: Range) -> Iterator[str]:
    if not _is_zeros(source, where):
        yield f"bytes {where} of the file were zeros when it was written"


def _rows(source: Source, table: Range, byte_order: ByteOrder) -> Iterator[Row]:
    for offset in range(table.start, table.end, _PIECE_BYTES):
        size_bytes = min(_PIECE_BYTES, table.end - offset)
        yield from decode_rows(source.read(offset, size_bytes, "table of checksums"), byte_order)


class _Sums:
    """The checksums of parts of a file. A hole is looked for behind a piece of zeros, so that other files take none."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._hole = Range(0, 0)

    def crc(self, where: Range) -> int | None:
        """The checksum of some bytes; None if the file doesn't have all of them."""
        crc, at = 0, where.start
        try:
            self._source.check_has(where.start, where.size_bytes, "file")
            while at < where.end:
                if at in self._hole:
                    end = min(self._hole.end, where.end)
                    crc = crc32_with_zeros(crc, end - at)
                else:
                    end = min(at + _PIECE_BYTES, where.end)
                    piece = self._source.read(at, end - at, "file")
                    crc = zlib.crc32(piece, crc)
                    if piece == _ZEROS[: len(piece)]:
                        self._hole = Range(end, max(end, self._source.next_data(end)))
                at = end
        except FormatError:
            return None
        return crc


def crc32_with_zeros(crc: int, size_bytes: int) -> int:
    """The checksum of bytes whose checksum is ``crc``, followed by so many zeros; in time logarithmic in these.

    A zero changes the register by a linear map over GF(2), so 2^n zeros do too: its square, n times.
    """
    register = crc ^ _ALL_ONES
    for power in range(size_bytes.bit_length()):
        if size_bytes >> power & 1:
            register = _mapped(_zeros_map(power), register)
    return register ^ _ALL_ONES


@cache
def _zeros_map(power: int) -> tuple[int, ...]:
    """What 2^``power`` zeros make of each bit of the register."""
    if not power:
        return tuple(zlib.crc32(b"\0", 1 << bit ^ _ALL_ONES) ^ _ALL_ONES for bit in range(32))
    half = _zeros_map(power - 1)
    return tuple(_mapped(half, column) for column in half)


def _mapped(columns: tuple[int, ...], register: int) -> int:
    return reduce(xor, (column for bit, column in enumerate(columns) if register >> bit & 1), 0)


def _is_zeros(source: Source, where: Range) -> bool:
    """Whether the file has all of some bytes and they are zeros; its holes aren't read."""
    try:
        source.check_has(where.start, where.size_bytes, "file")
        return not any(
            any(source.read(offset, min(_PIECE_BYTES, data.end - offset), "file"))
            for data in source.data_ranges(where)
            for offset in range(data.start, data.end, _PIECE_BYTES)
        )
    except FormatError:
        return False

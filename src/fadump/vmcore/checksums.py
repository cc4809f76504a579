"""Whether the bytes of a file are those that ``fadump save`` wrote, as its seal proves.

After the last step of "follow one crash" in docs/architecture.md; the layout is :mod:`fadump.vmcore.seal`'s.
"""

import zlib
from collections.abc import Iterator, Sequence

from fadump.abi.layout import ByteOrder
from fadump.errors import FormatError
from fadump.memory.ranges import Range
from fadump.vmcore.notes import Note
from fadump.vmcore.seal import SEAL_BYTES, Row, Seal, decode_table, find_seal
from fadump.vmcore.source import Source

_PIECE_BYTES = 1 << 20
_MOST_TABLE_BYTES = 1 << 30


def broken_checksums(source: Source, notes: Sequence[Note], byte_order: ByteOrder) -> Iterator[str]:
    """What is wrong with a file, in sentences; nothing if it has no seal, or one copied from another file.

    :raises OSError: the file can't be read.
    """
    found = find_seal(notes, byte_order)
    if found is None or not found[0].table_offset:
        return
    seal, seal_offset = found
    end = seal.table_offset + seal.table_bytes
    head_is_right = _crc(source, Range(0, seal_offset)) == seal.head_crc
    if not head_is_right and source.size_bytes != end and not _has_table(source, seal):
        return  # a tool has rewritten the dump and copied the note
    if not head_is_right:
        yield f"its headers, before offset {seal_offset:#x}, are not what was written"
    if source.size_bytes < end:
        yield f"the file was {end:#x} bytes when it was written and is {source.size_bytes:#x} now"
    yield from _broken_rows(source, seal, seal_offset + SEAL_BYTES, byte_order)


def bytes_behind(source: Source, notes: Sequence[Note], byte_order: ByteOrder) -> int:
    """How many bytes follow a sealed dump: it was written to a disk, or a copy of it is padded. 0 if it has no seal."""
    found = find_seal(notes, byte_order)
    if found is None or not found[0].table_offset or not _has_table(source, found[0]):
        return 0
    return source.size_bytes - found[0].table_offset - found[0].table_bytes


def _has_table(source: Source, seal: Seal) -> bool:
    where = Range.sized(seal.table_offset, seal.table_bytes)
    return seal.table_bytes <= _MOST_TABLE_BYTES and _crc(source, where) == seal.table_crc


def _broken_rows(source: Source, seal: Seal, start: int, byte_order: ByteOrder) -> Iterator[str]:
    if seal.table_bytes > _MOST_TABLE_BYTES:
        yield f"a table of checksums of {seal.table_bytes:#x} bytes is more than any file has"
        return
    try:
        table = source.read(seal.table_offset, seal.table_bytes, "table of checksums")
    except FormatError as error:
        yield str(error)
        return
    if zlib.crc32(table) != seal.table_crc:
        yield f"the table of checksums at offset {seal.table_offset:#x} is not what was written"
        return
    at = start
    for row in [*decode_table(table, byte_order), Row(seal.table_offset, 0, 0)]:
        gap = Range(at, max(at, row.offset))
        if not _is_zeros(source, gap):
            yield f"bytes {gap} of the file were zeros when it was written"
        where = Range.sized(row.offset, row.size_bytes)
        if _crc(source, where) != row.crc:
            yield f"bytes {where} of the file are not what was written: their checksum is wrong"
        at = max(at, where.end)


def _crc(source: Source, where: Range) -> int | None:
    """The checksum of some bytes; None if the file doesn't have all of them."""
    crc = 0
    try:
        for offset in range(where.start, where.end, _PIECE_BYTES):
            crc = zlib.crc32(source.read(offset, min(_PIECE_BYTES, where.end - offset), "file"), crc)
    except FormatError:
        return None
    return crc


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

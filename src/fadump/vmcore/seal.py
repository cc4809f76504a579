"""The seal: what ``fadump save`` adds to a dump, which says whether it is complete and how to prove its bytes.

Step "saved" of docs/architecture.md. It is a note, and a table after the last page; other readers ignore both. All
fields have the byte order of the dump.

    note      name "FADUMP", type 0x5345414c
    0x00  u32  version, 1
    0x04  u32  state: 1 while the dump is being written, 0 once all of it is on the disk
    0x08  u64  offset of the table in the file; 0: there is none yet
    0x10  u64  size of the table, bytes; the dump ends with it
    0x18  u32  CRC-32 of the table
    0x1c  u32  CRC-32 of the file from its first byte up to this note's own

    table     of as many rows as it has room for; together they are all of the file but this note's bytes, the first
              part that 0x1c is about, and the table
    0x00  u64  offset in the file
    0x08  u32  size, bytes; at most 1 GiB
    0x0c  u32  CRC-32, zlib's

Other bytes may follow, as on a partition. A tool that rewrites a dump may copy the note: then 0x18 and 0x1c are wrong,
and the file doesn't end where the table did.
"""

import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from fadump.abi.layout import STRUCT_ORDER, ByteOrder
from fadump.errors import FormatError
from fadump.vmcore.notes import Note

NAME = "FADUMP"
TYPE = int.from_bytes(b"SEAL", "big")
SEAL_BYTES = 0x20

_VERSION = 1
_FIELDS = "IIQQII"


@dataclass(frozen=True, slots=True)
class Seal:
    """What the note says; see above."""

    complete: bool
    table_offset: int = 0
    table_bytes: int = 0
    table_crc: int = 0
    head_crc: int = 0

    def encode(self, byte_order: ByteOrder) -> bytes:
        """The note's bytes."""
        return struct.pack(
            STRUCT_ORDER[byte_order] + _FIELDS,
            _VERSION,
            int(not self.complete),
            self.table_offset,
            self.table_bytes,
            self.table_crc,
            self.head_crc,
        )


@dataclass(frozen=True, slots=True)
class Row:
    """``size_bytes`` bytes of the file from ``offset`` have this checksum."""

    offset: int
    size_bytes: int
    crc: int


def find_seal(notes: Sequence[Note], byte_order: ByteOrder) -> tuple[Seal, int] | None:
    """The seal among a dump's notes, and its offset in the file; None: there is none of a known version."""
    for note in notes:
        if is_seal(note) and len(note.desc) == SEAL_BYTES:
            version, state, *numbers = struct.unpack(STRUCT_ORDER[byte_order] + _FIELDS, note.desc)
            if version == _VERSION:
                return Seal(not state, *numbers), note.offset
    return None


def unsealed(notes: Sequence[Note], byte_order: ByteOrder) -> FormatError | None:
    """The error if a dump's seal says that it was never finished, or is no longer one; None: there is no such error.

    A note that has a seal's name or its type, but isn't one that is known, was one before it was damaged.
    """
    found = find_seal(notes, byte_order)
    if found is None:
        damaged = next((note for note in notes if note.name == NAME or note.type == TYPE), None)
        return None if damaged is None else FormatError("a seal that is damaged, or unknown", offset=damaged.offset)
    return None if found[0].complete else FormatError("marked as incomplete by fadump save", offset=found[1])


def is_seal(note: Note) -> bool:
    """Whether a note is a seal, of any version."""
    return note.name == NAME and note.type == TYPE


def encode_table(rows: Iterable[Row], byte_order: ByteOrder) -> bytes:
    """The table's bytes."""
    fields = [(row.offset, row.size_bytes, row.crc) for row in rows]
    return np.array(fields, dtype=_row_type(byte_order)).tobytes()


def decode_rows(data: bytes, byte_order: ByteOrder) -> list[Row]:
    """The rows of a table, or of a part of it; an incomplete row at its end is left out."""
    layout = _row_type(byte_order)
    whole = len(data) // layout.itemsize * layout.itemsize
    return [Row(*fields) for fields in np.frombuffer(data[:whole], layout).tolist()]


def _row_type(byte_order: ByteOrder) -> "np.dtype[np.void]":
    order = STRUCT_ORDER[byte_order]
    return np.dtype([("offset", f"{order}u8"), ("size", f"{order}u4"), ("crc", f"{order}u4")])

"""The smallest file with the largest claim, for each table and list of a dump."""

import struct

from tests.bounded import MIB, bounded
from tests.vmcore.core_builder import Load, build_core, note
from tests.vmcore.dump_helpers import open_bytes

HEADER_BYTES, OFFSET, SIZE = 56, 8, 32
"""A program header, and the places of two of its fields."""


def with_shared_notes(count, notes):
    """A core with ``count`` PT_NOTEs, all of them about the same bytes."""
    core = bytearray(build_core([Load(0, b"m" * 64)], [b"".join(notes), *[b""] * (count - 1)]))
    (at,) = struct.unpack_from("<Q", core, 64 + OFFSET)
    for number in range(count):
        struct.pack_into("<Q", core, 64 + number * HEADER_BYTES + OFFSET, at)
        struct.pack_into("<Q", core, 64 + number * HEADER_BYTES + SIZE, sum(map(len, notes)))
    return bytes(core)


def read_notes(core):
    with open_bytes(core) as dump:
        return [len(dump.notes), *map(str, dump.damage)]


def test_notes_that_share_bytes_are_read_once():
    """10,000 segments over 64 KiB of notes would be 5 million notes and 640 MiB."""
    core = with_shared_notes(10_000, [note("CORE", 7, bytes(100))] * 500)
    count, *damage = bounded(read_notes, core, most_bytes=128 * MIB)
    assert count == 500
    assert damage == [
        f"9,999 PT_NOTE that share bytes of the file with others and aren't read, the first at offset {64 + 56:#x}"
    ]


def test_notes_side_by_side_share_nothing():
    count, *damage = read_notes(build_core([Load(0, b"m")], [note("CORE", 7, b"1"), b"", note("CORE", 7, b"2")]))
    assert (count, damage) == (2, [])

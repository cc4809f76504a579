"""The smallest file with the largest claim, for each table and list of a dump."""

import resource
import struct

from fadump.vmcore.bitmap import PageBitmap
from fadump.vmcore.check import Weight, check_dump
from fadump.vmcore.kdump_header import HEADER, SUB_HEADER
from tests.bounded import MIB, bounded
from tests.vmcore.core_builder import Load, build_core, note
from tests.vmcore.dump_helpers import BytesSource, open_bytes
from tests.vmcore.kdump_builder import PAGE_BYTES, Kdump, build_kdump, flatten

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


# Flattened files and bitmaps


def flattened_zeros(memory_bytes):
    """A flattened core of so much memory, of which one byte is written, the last."""
    core = build_core([Load(0x10000, b"", memory_bytes=memory_bytes)], [note("CORE", 7, b"x")])
    header = bytearray(core)
    struct.pack_into("<Q", header, 64 + HEADER_BYTES + OFFSET, 0x10000)
    struct.pack_into("<Q", header, 64 + HEADER_BYTES + SIZE, memory_bytes)
    return flatten([(0, bytes(header)), (0x10000 + memory_bytes - 1, b"\1")])


def check(*files):
    advanced = []
    with open_bytes(*files) as dump:
        report = check_dump(dump, advance=advanced.append)
    return [sum(advanced), *(finding.text for finding in report.findings if finding.weight is Weight.DAMAGE)]


def test_zeros_of_a_flattened_file_are_not_read():
    memory_bytes = (1 << 60) - 0x10000
    advanced, *damage = bounded(check, flattened_zeros(memory_bytes), most_bytes=64 * MIB, most_steps=20_000)
    assert (advanced, damage) == (1, [])


def flattened_bitmaps(pages):
    """A flattened kdump-compressed file of so many pages, whose bitmaps were never written."""
    head = bytearray(build_kdump(Kdump({}, pages=16))[: 2 * PAGE_BYTES])
    HEADER.put(head, "bitmap_blocks", 2 * -(-pages // (8 * PAGE_BYTES)))
    SUB_HEADER.put(head, "max_mapnr_64", pages, PAGE_BYTES)
    return flatten([(0, bytes(head)), (1 << 60, b"\1")])


def memory_of_opening(data):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with open_bytes(data) as dump:
        assert not dump.memory
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before


def test_bitmaps_that_were_never_written_take_no_memory():
    """Two bitmaps of 128 MiB; what is counted for them takes an eighth of that, and a quarter of it more meanwhile."""
    kib = bounded(memory_of_opening, flattened_bitmaps(1 << 30), most_bytes=512 * MIB, most_steps=200_000)
    assert kib < 64 << 10


def runs_of(data):
    bitmap = PageBitmap(BytesSource(data), 0, 8 * len(data))
    return sum(1 for _run in bitmap.runs())


def test_a_bitmap_of_many_runs_takes_little_memory():
    assert bounded(runs_of, b"\x55" * (1 << 17), most_bytes=16 * MIB, most_steps=2_000_000) == 1 << 19

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fadump.memory.ranges import Range
from fadump.vmcore.contract import NotInDumpError, State
from fadump.vmcore.notes import Note
from fadump.vmcore.overlay import OverlayDump
from tests.bounded import bounded
from tests.vmcore.core_builder import Load, build_core, note
from tests.vmcore.dump_helpers import open_bytes, pieces

PAGE = 0x1000
DATA = bytes(range(256)) * (4 * PAGE // 256)
MEMORY_BYTES = len(DATA) + PAGE


def base():
    """Five pages from 0x10000 on, of which the last is zeros that aren't in the file."""
    return open_bytes(build_core([Load(0x10000, DATA, MEMORY_BYTES)], [note("CORE", 5, b"desc")]))


def overlay(patches, notes=None):
    return OverlayDump(base(), patches, page_bytes=PAGE, notes=notes)


def test_patched_bytes_are_read_and_no_others():
    dump = overlay({0x10FFE: b"four"})
    wanted = DATA[:0xFFE] + b"four" + DATA[0x1002:]
    assert dump.read_physical(0x10000, len(DATA)) == wanted
    assert bytes(dump.view_physical(Range(0x10000, 0x14000))) == wanted
    assert dump.read_physical(0x10FFF, 2) == b"ou"
    assert dump.read_physical(0x12000, 4) == DATA[:4]


def test_a_view_of_other_memory_is_the_files_own():
    with base() as plain:
        mapped = plain.view_physical(Range(0x12000, 0x13000))
        seen = overlay({0x10000: b"x"}).view_physical(Range(0x12000, 0x13000))
        assert np.array_equal(mapped, seen) and not seen.flags.owndata


def test_what_is_read_for_one_use_is_patched_too():
    dump, buffer = overlay({0x10FFE: b"four"}), np.empty(4 * PAGE, np.uint8)
    wanted = DATA[:0xFFE] + b"four" + DATA[0x1002:]
    assert bytes(dump.read_or_view(Range(0x10000, 0x14000), buffer)) == wanted
    plain = dump.read_or_view(Range(0x12000, 0x14000), buffer)
    assert bytes(plain) == DATA[2 * PAGE :] and np.shares_memory(plain, buffer)


def test_patched_pages_are_stored_but_nowhere_in_the_file():
    found = pieces(overlay({0x10FFE: b"four", 0x14010: b"x"}))
    assert [(piece.range, piece.state, piece.file_offset is None) for piece in found] == [
        (Range(0x10000, 0x12000), State.STORED, True),
        (Range(0x12000, 0x14000), State.STORED, False),
        (Range(0x14000, 0x15000), State.STORED, True),
    ]
    (plain,) = (piece for piece in pieces(base()) if piece.file_offset is not None)
    assert found[1] == plain.part(found[1].range)


def test_zeros_can_be_patched():
    dump = overlay({0x14010: b"x"})
    assert dump.read_physical(0x14000, PAGE) == bytes(0x10) + b"x" + bytes(PAGE - 0x11)


def test_what_is_not_there_stays_so():
    dump = overlay({0x14FFF: b"x"})
    assert dump.why_not(0x15000) is State.HOLE
    with pytest.raises(NotInDumpError):
        dump.read_physical(0x14FFF, 2)


def test_notes_are_the_bases_unless_given():
    assert [note.desc for note in overlay({}).notes] == [b"desc"]
    other = Note("CORE", 5, b"other", 0)
    assert overlay({}, [other]).notes == [other]


def test_closing_closes_the_base():
    plain = base()
    OverlayDump(plain, {}, page_bytes=PAGE).close()
    with pytest.raises(OSError, match="Bad file descriptor"):
        plain.read_physical(0x10000, 1)


@given(
    st.dictionaries(st.integers(0, MEMORY_BYTES - 8), st.binary(min_size=1, max_size=8), max_size=6),
    st.integers(0, MEMORY_BYTES),
    st.integers(0, MEMORY_BYTES),
)
def test_reading_is_the_base_with_the_patches_over_it(patches, start, end):
    start, end = sorted((start, end))
    wanted = bytearray(DATA + bytes(PAGE))
    for at, data in sorted(patches.items()):
        wanted[at : at + len(data)] = data
    dump = overlay({0x10000 + at: data for at, data in patches.items()})
    assert dump.read_physical(0x10000 + start, end - start) == bytes(wanted[start:end])
    assert b"".join(dump.read_physical(piece.range.start, piece.range.size_bytes) for piece in pieces(dump)) == bytes(
        wanted
    )


def read_patches(dump):
    return sum(dump.read_physical(0x10000 + at, 4) == b"abcd" for at in range(0, 0x4000, 16))


def test_many_patches_are_found_without_a_look_at_each():
    dump = overlay({0x10000 + at: b"abcd" for at in range(0, 0x4000, 16)})
    assert bounded(read_patches, dump, most_steps=150_000) == 1024

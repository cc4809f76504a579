"""Where a dump's notes, its seal and the text of VMCOREINFO stand in the file."""

import pytest

from fadump.capture.sealing import SealedNotes, agrees
from fadump.memory.ranges import Range
from fadump.vmcore.notes import Note
from fadump.vmcore.seal import Seal
from tests.vmcore.dump_helpers import BytesSource

OFFSET = 0x1000
FIRST, SECOND = b"OSRELEASE=6.12.0\n", b"OSRELEASE=6.1.0\n"


@pytest.mark.parametrize(
    ("infos", "text"),
    [([], b""), ([FIRST], FIRST), ([FIRST[:-1]], FIRST[:-1]), ([FIRST, SECOND], FIRST), ([b"", SECOND], SECOND)],
    ids=["none", "one", "of an odd length", "two", "an empty one first"],
)
def test_the_text_of_the_first_vmcoreinfo_is_found_among_the_notes(infos, text):
    notes = [
        Note("CORE", 1, b"registers", 0),
        *(Note("VMCOREINFO", 0, info, 0) for info in infos),
        Note("CORE", 6, b"", 0),
    ]
    sealed = SealedNotes(notes, "little", OFFSET)
    data = sealed.encode(Seal(complete=False))
    found = sealed.text_of("VMCOREINFO")
    assert data[found.start - OFFSET : found.end - OFFSET] == text or not found
    assert found.size_bytes == len(text)
    assert (sealed.where.start, sealed.where.size_bytes) == (OFFSET, len(data))
    assert sealed.seal.end == sealed.where.end


@pytest.mark.parametrize(
    ("changed_at", "same"), [(None, True), (0x1000, False), (0x1010, True), (0x101F, True), (0x1020, False)]
)
def test_only_what_varies_may_differ(changed_at, same):
    expected = bytes(range(256)) * 8
    data = bytearray(bytes(0x1000) + expected)
    if changed_at is not None:
        data[changed_at] ^= 0xFF
    assert agrees(BytesSource(bytes(data)), 0x1000, expected, [Range(0x1010, 0x1020)], exactly=True) is same


@pytest.mark.parametrize(("exactly", "same"), [(True, False), (False, True)])
def test_a_sector_that_a_power_cut_took_is_no_difference_unless_all_is_wanted(exactly, same):
    expected = b"x" * 2048
    assert agrees(BytesSource(bytes(512) + expected[512:]), 0, expected, [], exactly=exactly) is same
    assert agrees(BytesSource(expected[:1024]), 0, expected, [], exactly=exactly) is same
    assert not agrees(BytesSource(b"y" + expected[1:]), 0, expected, [], exactly=exactly)

"""Where a dump's notes, its seal and the text of VMCOREINFO stand in the file."""

import pytest

from fadump.capture.sealing import SealedNotes
from fadump.vmcore.notes import Note
from fadump.vmcore.seal import Seal

OFFSET = 0x1000
FIRST, SECOND = b"OSRELEASE=6.12.0\n", b"OSRELEASE=6.1.0\n"


@pytest.mark.parametrize(
    ("infos", "text"),
    [([], b""), ([FIRST], FIRST), ([FIRST[:-1]], FIRST[:-1]), ([FIRST, SECOND], FIRST)],
    ids=["none", "one", "of an odd length", "two"],
)
def test_the_text_of_the_first_vmcoreinfo_is_found_among_the_notes(infos, text):
    notes = [
        Note("CORE", 1, b"registers", 0),
        *(Note("VMCOREINFO", 0, info, 0) for info in infos),
        Note("CORE", 6, b"", 0),
    ]
    sealed = SealedNotes(notes, "little", OFFSET)
    data = sealed.encode(Seal(complete=False))
    found = sealed.vmcoreinfo
    assert data[found.start - OFFSET : found.end - OFFSET] == text or not found
    assert found.size_bytes == len(text)
    assert (sealed.where.start, sealed.where.size_bytes) == (OFFSET, len(data))
    assert sealed.seal.end == sealed.where.end

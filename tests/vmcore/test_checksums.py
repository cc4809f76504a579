"""A file's checksums: each byte is read once, and what is a hole isn't read."""

import struct
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fadump.vmcore.checksums import broken_checksums, crc32_with_zeros
from fadump.vmcore.notes import Note
from fadump.vmcore.seal import NAME, SEAL_BYTES, TYPE
from fadump.vmcore.source import FileSource

GIB = 1 << 30
HEAD = b"the headers and notes"
BODY_AT = len(HEAD) + SEAL_BYTES


@given(st.binary(max_size=20), st.integers(0, 5000))
def test_zeros_change_a_checksum_as_zlib_says(data, zeros):
    assert crc32_with_zeros(zlib.crc32(data), zeros) == zlib.crc32(data + bytes(zeros))


@pytest.fixture
def sealed(tmp_path):
    """Makes a file of so many zeros, most of them a hole, and its table; what is wrong with it."""

    def broken(zeros, rows):
        table = b"".join(struct.pack("<QII", *row) for row in rows)
        at = BODY_AT + zeros
        seal = struct.pack("<IIQQII", 1, 0, at, len(table), zlib.crc32(table), zlib.crc32(HEAD))
        path = tmp_path / "dump"
        with path.open("w+b") as file:
            file.write(HEAD + seal)
            file.seek(at)
            file.write(table)
        with path.open("rb") as file:
            source = ReadCounter(file.fileno())
            note = Note(NAME, TYPE, seal, len(HEAD))
            return list(broken_checksums(source, [note], "little", lambda _bytes: None)), source.read_bytes

    return broken


class ReadCounter(FileSource):
    read_bytes = 0

    def read(self, offset, length, what):
        self.read_bytes += length
        return super().read(offset, length, what)

    def __del__(self):
        self._fd = -1


def test_holes_of_a_file_are_not_read(sealed):
    """The rows are about 64 GiB of zeros, of which none are on the disk."""
    crc = crc32_with_zeros(0, GIB)
    rows = [(BODY_AT + number * GIB, GIB, crc) for number in range(64)]
    texts, read_bytes = sealed(64 * GIB, rows)
    assert texts == []
    assert read_bytes < 4 << 20


def test_a_checksum_of_zeros_may_be_wrong(sealed):
    texts, _read_bytes = sealed(GIB, [(BODY_AT, GIB, 5)])
    assert [text[-len("their checksum is wrong") :] for text in texts] == ["their checksum is wrong"]


@pytest.mark.parametrize("second", [(BODY_AT, 100, zlib.crc32(bytes(100))), (BODY_AT + 100, 0, 0)])
def test_rows_about_the_same_bytes_or_none_end_the_table(sealed, second):
    """A GiB of rows could each be about the same 4 GiB."""
    first = (BODY_AT, 100, zlib.crc32(bytes(100)))
    texts, _read_bytes = sealed(200, [first, second, (BODY_AT + 100, 100, 5)])
    (text,) = texts
    assert text.endswith("has two about the same bytes, or one about none")

"""Bytes that are viewed are in memory by then: who looks at them doesn't end with SIGBUS."""

import errno
import os
from contextlib import closing

import pytest

from fadump.errors import FormatError
from fadump.vmcore.source import FileSource, ReadError, open_file


def test_what_has_been_cut_off_since_the_file_was_opened_is_an_error_and_no_signal(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"x" * 0x10_0000)
    with closing(FileSource(open_file(path))) as source:
        assert bytes(source.view(0, 0x1000)) == b"x" * 0x1000
        with path.open("r+b") as file:
            file.truncate(0x8000)
        with pytest.raises(ReadError):
            source.view(0, 0x10_0000)


def test_a_piece_that_the_disk_cannot_read_is_named(tmp_path, monkeypatch):
    piece = 256 << 10
    read = os.preadv

    def second_piece_is_bad(fd, buffers, offset):
        if offset >= 0x1000 + piece:
            raise OSError(errno.EIO, "bad sector")
        return read(fd, buffers, offset)

    path = tmp_path / "file"
    path.write_bytes(bytes(4 * piece))
    monkeypatch.setattr(os, "preadv", second_piece_is_bad)
    with closing(FileSource(open_file(path))) as source, pytest.raises(ReadError) as raised:
        source.read_into(0x1000, memoryview(bytearray(2 * piece)), "pages")
    assert f"{0x1000 + piece:#x}" in str(raised.value)


def test_what_a_file_loses_while_it_is_read_is_an_error(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(bytes(0x2000))
    with closing(FileSource(open_file(path))) as source:
        with path.open("r+b") as file:
            file.truncate(0x1800)
        with pytest.raises(FormatError, match="pages has gone: the file was made shorter meanwhile"):
            source.read(0x1000, 0x1000, "pages")

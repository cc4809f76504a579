"""Bytes that are viewed are in memory by then: who looks at them doesn't end with SIGBUS."""

from contextlib import closing

import pytest

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

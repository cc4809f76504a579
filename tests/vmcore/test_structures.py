"""A file that begins as a structure is read no further than a structure goes."""

import tracemalloc

import pytest

from fadump.errors import FormatError
from fadump.vmcore.structures import decode_file


def test_of_a_huge_file_no_more_than_a_device_tree_has_is_read(tmp_path):
    path = tmp_path / "fdt"
    with path.open("wb") as file:
        file.write(bytes.fromhex("d00dfeed") + bytes(36))
        file.truncate(1 << 30)
    tracemalloc.start()
    try:
        with pytest.raises(FormatError):
            decode_file(path)
        assert tracemalloc.get_traced_memory()[1] < 160 << 20
    finally:
        tracemalloc.stop()

"""Where a file has data: read off real sparse files."""

import errno
import mmap
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fadump.memory.holes import data_ranges, first_data
from fadump.memory.ranges import Range, RangeSet

PAGE = mmap.PAGESIZE
PAGES = 32


@pytest.fixture(scope="module")
def fd():
    fd = os.memfd_create("sparse")
    yield fd
    os.close(fd)


@given(st.sets(st.integers(0, PAGES - 1)), st.integers(0, PAGES * PAGE), st.integers(0, PAGES * PAGE))
def test_every_written_page_is_found_and_no_other(fd, written, one, other):
    os.ftruncate(fd, 0)
    os.ftruncate(fd, PAGES * PAGE)
    for number in written:
        os.pwrite(fd, b"x", number * PAGE + 17)
    wanted = Range(min(one, other), max(one, other))
    expected = RangeSet(Range.sized(number * PAGE, PAGE) for number in written) & RangeSet([wanted])
    assert RangeSet(data_ranges(fd, wanted)) == expected
    assert first_data(fd, wanted.start) == next(
        (max(wanted.start, number * PAGE) for number in sorted(written) if (number + 1) * PAGE > wanted.start), None
    )


@pytest.mark.parametrize("code", [errno.EINVAL, errno.EOPNOTSUPP])
def test_a_file_system_without_holes_has_data_everywhere(fd, monkeypatch, code):
    def no_holes(_fd, _offset, _whence):
        raise OSError(code, "no holes here")

    monkeypatch.setattr(os, "lseek", no_holes)
    assert list(data_ranges(fd, Range(5, 9000))) == [Range(5, 9000)]


def test_a_disk_that_fails_is_no_hole(fd, monkeypatch):
    def fails(_fd, _offset, _whence):
        raise OSError(errno.EIO, "broken")

    monkeypatch.setattr(os, "lseek", fails)
    with pytest.raises(OSError, match="broken"):
        list(data_ranges(fd, Range(0, 10)))

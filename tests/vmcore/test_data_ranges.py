"""Which memory a dump may have anything but zeros in, as is known without reading it."""

import os
import struct

import pytest

from fadump.errors import FormatError
from fadump.memory.ranges import Range, RangeSet
from fadump.vmcore.check import check_dump, work_bytes
from fadump.vmcore.dump import open_source
from fadump.vmcore.overlay import OverlayDump
from fadump.vmcore.source import FileSource
from tests.vmcore.core_builder import Load, build_core
from tests.vmcore.dump_helpers import open_bytes
from tests.vmcore.kdump_builder import Kdump, build_kdump, flatten

PAGE = 0x1000
OFFSET, FILE_BYTES = 8, 32
"""The places of two fields of a program header."""
PAGES = 2000


def data_of(dump, start=0, end=1 << 63):
    parts = (dump.data_ranges(part) for part in dump.memory.within(Range(start, end)))
    return RangeSet(data for found in parts for data in found)


def test_memory_that_is_not_in_the_file_has_none():
    with open_bytes(build_core([Load(PAGE, b"m" * PAGE, memory_bytes=1 << 40)])) as dump:
        assert data_of(dump) == RangeSet([Range(PAGE, 2 * PAGE)])
        assert data_of(dump, 2 * PAGE) == RangeSet()


def sparse(records):
    """A file of which only the records are written."""
    fd = os.memfd_create("dump")
    for offset, data in records:
        os.pwrite(fd, data, offset)
    return open_source([FileSource(fd)])


@pytest.mark.parametrize("opened", [sparse, lambda records: open_bytes(flatten(records))], ids=["file", "flattened"])
def test_holes_of_a_file_have_none(opened):
    core = bytearray(build_core([Load(PAGE, b"")]))
    header = 64
    struct.pack_into("<Q", core, header + OFFSET, PAGE)
    struct.pack_into("<QQ", core, header + FILE_BYTES, 1 << 30, 1 << 30)
    page = Range.sized(PAGE + (1 << 29), PAGE)
    with opened([(0, bytes(core)), (page.start, b"m" * PAGE), (PAGE + (1 << 30) - 1, b"m")]) as dump:
        data = data_of(dump)
        assert data.contains(page) and data.size_bytes <= 2 * PAGE
        assert data_of(dump, page.start + 16, page.start + 32).size_bytes == 16


def kdump(first):
    """Zeros in the midst of other pages; ``first`` is what the first page has, which all pages of zeros share."""
    stored = {number: bytes([number % 251 + 1]) * PAGE for number in range(PAGES)}
    stored |= dict.fromkeys([0, *range(500, 1000), *range(1500, 1510)], first)
    return build_kdump(Kdump(stored, pages=PAGES, excluded=frozenset()))


def test_pages_that_share_one_of_zeros_have_none():
    """A few of them aren't told from data."""
    with open_bytes(kdump(bytes(PAGE))) as dump:
        assert data_of(dump) == RangeSet([Range(PAGE, 500 * PAGE), Range(1000 * PAGE, PAGES * PAGE)])
        assert data_of(dump, 400 * PAGE + 8, 700 * PAGE) == RangeSet([Range(400 * PAGE + 8, 500 * PAGE)])


def test_pages_that_share_another_one_are_data():
    with open_bytes(kdump(bytes(PAGE - 1) + b"1")) as dump:
        assert data_of(dump) == RangeSet([Range(0, PAGES * PAGE)])


def test_a_check_counts_what_it_reads():
    for first in (bytes(PAGE), bytes(PAGE - 1) + b"1"):
        advanced = []
        with open_bytes(kdump(first)) as dump:
            check_dump(dump, advance=advanced.append)
            zeros = 0 if any(first) else 511
            assert sum(advanced) == work_bytes(dump) == (PAGES - zeros) * PAGE + zeros * 24


def test_what_an_overlay_adds_is_data():
    base = open_bytes(build_core([Load(0, b"m" * PAGE, memory_bytes=64 * PAGE)]))
    with OverlayDump(base, {40 * PAGE + 8: b"patch", 16: b"patch"}, page_bytes=PAGE) as dump:
        assert data_of(dump) == RangeSet([Range(0, PAGE), Range(40 * PAGE, 41 * PAGE)])


def test_a_file_whose_holes_cannot_be_found_is_all_data(monkeypatch):
    with open_bytes(build_core([Load(0, b"m" * PAGE)])) as dump:

        def fail(*_arguments):
            raise FormatError("gone")

        monkeypatch.setattr(dump.core.source, "data_ranges", fail)
        assert data_of(dump) == RangeSet([Range(0, PAGE)])

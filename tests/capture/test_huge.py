"""Memory that is nearly all zeros, as holes of a file: what it costs goes with its data, not with its addresses."""

import os
import struct

import numpy as np
import pytest

from fadump.capture.estimate import estimate_sizes
from fadump.capture.options import Format, SaveOptions
from fadump.capture.virtual_addresses import VirtualAddresses
from fadump.errors import LimitError
from fadump.linux.pages.page_class import DumpLevel
from fadump.linux.system import CrashedSystem
from fadump.memory.ranges import Range
from fadump.vmcore.check import check_dump, work_bytes
from fadump.vmcore.contract import VirtualRange
from fadump.vmcore.dump import open_dump, open_source
from fadump.vmcore.kdump_file import KdumpFile
from fadump.vmcore.source import FileSource
from tests.bounded import MIB, bounded
from tests.capture.saving import save_file
from tests.vmcore.core_builder import Load, build_core, note
from tests.vmcore.dump_helpers import open_bytes

PAGE = 0x10000
GIB, TIB = 1 << 30, 1 << 40
FACTS = note("VMCOREINFO", 0, b"OSRELEASE=6.12.0\nPAGESIZE=65536\n")
HEADER_BYTES, OFFSET, FILE_BYTES, MEMORY_BYTES = 56, 8, 32, 40
"""A program header, and the places of three of its fields."""
DESCRIPTOR = np.dtype([("offset", "<u8"), ("size", "<u4"), ("flags", "<u4"), ("page_flags", "<u8")])


class Counted(FileSource):
    """A file that counts how much of it is read."""

    read_bytes = 0

    def read(self, offset, length, what):
        self.read_bytes += length
        return super().read(offset, length, what)

    def view(self, offset, length):
        self.read_bytes += length
        return super().view(offset, length)


def sparse_core(memory_bytes, in_file, data):
    """A file with a PT_LOAD of so much memory, of which ``in_file`` is in the file; ``data`` is by address."""
    core = bytearray(build_core([Load(0, b"")], [FACTS]))
    at = 64 + HEADER_BYTES
    struct.pack_into("<Q", core, at + OFFSET, PAGE)
    struct.pack_into("<Q", core, at + FILE_BYTES, in_file)
    struct.pack_into("<Q", core, at + MEMORY_BYTES, memory_bytes)
    fd = os.memfd_create("core")
    os.pwrite(fd, core, 0)
    os.truncate(fd, PAGE + in_file)
    for address, page in data.items():
        os.pwrite(fd, page, PAGE + address)
    return Counted(fd)


def pages_at(*addresses):
    return {address: os.urandom(PAGE - 8) + bytes(8) for address in addresses}


def verify(path, data, memory_bytes):
    """A saved dump is whole and has these pages, and zeros around them; how much was told to be checked."""
    advanced = []
    with open_dump(path) as dump:
        report = check_dump(dump, advance=advanced.append)
        assert report.whole, report.findings
        assert sum(advanced) == work_bytes(dump)
        assert list(dump.memory) == [Range(0, memory_bytes)]
        for address, page in data.items():
            assert dump.read_physical(address, PAGE) == page
            for around in (address - PAGE, address + PAGE):
                if 0 <= around < memory_bytes:
                    assert not any(dump.read_physical(around, PAGE))
        assert not any(dump.read_physical(memory_bytes - PAGE, PAGE))
    return sum(advanced)


def save_sparse(path, format_, level, *core):
    """Save a :func:`sparse_core`: how much of it is read, what progress is told, and how large the result is."""
    source, told = sparse_core(*core), []
    options = SaveOptions(threads=1, format=format_, levels=(DumpLevel(level),))
    with open_source([source]) as dump:
        done = save_file(dump, path, options, tell=lambda *amounts: told.append(amounts))
    assert told == sorted(told)
    return [source.read_bytes, *told[-1], done.size_bytes]


@pytest.mark.parametrize("in_file", [64 * TIB, 16 * TIB])
@pytest.mark.parametrize("level", [0, 1, 31])
def test_64_tib_of_holes_are_an_elf_core_as_large_as_its_data(tmp_path, in_file, level):
    data = pages_at(0, 5 * TIB, 16 * TIB - 2 * PAGE)
    path = tmp_path / "out"
    read_bytes, done, total, size_bytes = bounded(save_sparse, path, Format.ELF, level, 64 * TIB, in_file, data)
    assert done == total == 3 * PAGE
    assert read_bytes < MIB
    assert size_bytes == path.stat().st_size < MIB
    assert bounded(verify, path, data, 64 * TIB, most_steps=100_000) < MIB


def test_holes_between_data_are_holes_where_they_are_no_pieces_of_their_own(tmp_path):
    """8 MiB of zeros are too few for a PT_LOAD, and too many to be read."""
    data = pages_at(*(number * 8 * MIB for number in range(64)))
    path = tmp_path / "out"
    core = (512 * MIB, 512 * MIB, data)
    read_bytes, done, total, size_bytes = bounded(save_sparse, path, Format.ELF, 0, *core)
    assert done == total == 64 * PAGE
    assert read_bytes < 16 * MIB and size_bytes > 500 * MIB
    assert path.stat().st_blocks * 512 < 8 * MIB
    assert bounded(verify, path, data, 512 * MIB) < 16 * MIB


@pytest.mark.parametrize("level", [0, 1])
def test_zeros_of_a_kdump_file_cost_one_descriptor_each_and_no_read(tmp_path, level):
    memory_bytes = 64 * GIB
    data = pages_at(PAGE, 32 * GIB, 48 * GIB)
    path = tmp_path / "out"
    read_bytes, done, total, size_bytes = bounded(
        save_sparse, path, Format.KDUMP, level, memory_bytes, memory_bytes, data, most_steps=200_000
    )
    pages = memory_bytes // PAGE
    assert read_bytes < 16 * MIB and size_bytes < pages * 24 + 8 * MIB
    assert done == total
    assert bounded(verify, path, data, memory_bytes, most_steps=200_000) < 2 * pages * 24 + 8 * MIB
    raw = path.read_bytes()
    sub_header_blocks, bitmap_blocks = struct.unpack_from("<II", raw, 0x1B0)
    descriptors = np.frombuffer(raw, DESCRIPTOR, pages, (1 + sub_header_blocks + bitmap_blocks) * PAGE)
    zeros = np.ones(pages, np.bool_)
    zeros[[address // PAGE for address in data]] = False
    assert len(np.unique(descriptors[zeros])) == 1
    assert len(np.unique(descriptors)) == 4


def test_a_check_looks_at_the_pages_around_data_and_reads_what_says_zeros_once(tmp_path, monkeypatch):
    looked_at = []
    look = KdumpFile.look
    monkeypatch.setattr(KdumpFile, "look", lambda file, *pages: looked_at.append(pages) or look(file, *pages))
    core = (256 * GIB, 256 * GIB, pages_at(PAGE, 130 * GIB))
    save_sparse(tmp_path / "kdump", Format.KDUMP, 1, *core)
    source = Counted(os.open(tmp_path / "kdump", os.O_RDONLY))
    with open_source([source]) as dump:
        looked_at.clear()
        before, todo = source.read_bytes, work_bytes(dump)
        advanced = []
        assert check_dump(dump, advance=advanced.append).whole
        assert sum(advanced) == todo
        list(dump.data_ranges(Range(0, 256 * GIB)))
    windows = {pages for pages in looked_at if pages[1] - pages[0] > 1}
    assert {start for start, _end in windows} == {0, 130 * GIB // PAGE // (1 << 16) * (1 << 16)}
    descriptors, bytes_proven = 256 * GIB // PAGE * 24, source.size_bytes
    assert source.read_bytes - before < descriptors + bytes_proven + 32 * MIB


def test_a_kdump_file_of_zeros_becomes_an_elf_core_without_them(tmp_path):
    data = pages_at(PAGE, 32 * GIB)
    core = (64 * GIB, 64 * GIB, data)
    save_sparse(tmp_path / "kdump", Format.KDUMP, 1, *core)
    bounded(convert, tmp_path / "kdump", tmp_path / "elf", most_steps=300_000)
    assert (tmp_path / "elf").stat().st_size < 2 * MIB
    assert bounded(verify, tmp_path / "elf", data, 64 * GIB, most_steps=100_000) < MIB


def convert(source, path):
    with open_dump(source) as dump:
        save_file(dump, path, SaveOptions(threads=1, format=Format.ELF, levels=(DumpLevel(0),)))


def estimate(format_, *core):
    with open_source([sparse_core(*core)]) as dump:
        options = SaveOptions(threads=1, format=format_, levels=(DumpLevel(0),))
        (found,) = estimate_sizes(CrashedSystem(dump), options)
    return [found.size_bytes, found.margin_bytes, list(found.remarks)]


REGULAR = [number * 16 * MIB + GIB for number in range(150)]
IRREGULAR = [number * number * PAGE for number in range(250)]
"""Of these, many are less than 4 MiB apart, and more are more."""


@pytest.mark.parametrize("format_", list(Format))
@pytest.mark.parametrize("places", [REGULAR, IRREGULAR], ids=["regular", "irregular"])
def test_an_estimate_knows_which_pages_are_zeros(tmp_path, places, format_):
    core = (4 * GIB, 4 * GIB, pages_at(*places))
    size_bytes, margin_bytes, _remarks = estimate(format_, *core)
    *_told, really = save_sparse(tmp_path / "out", format_, 0, *core)
    blocks = (tmp_path / "out").stat().st_blocks * 512
    assert abs(size_bytes - min(really, blocks)) < margin_bytes + MIB // 2
    assert margin_bytes < size_bytes / 10


def test_what_zeros_take_in_a_kdump_file_is_told_before():
    core = (64 * TIB, 64 * TIB, pages_at(GIB))
    size_bytes, _margin, remarks = bounded(estimate, Format.KDUMP, *core)
    assert size_bytes > 24 * GIB
    assert [remark for remark in remarks if "takes 24.0 GiB to say so: an ELF core (format elf)" in remark]
    size_bytes, _margin, remarks = bounded(estimate, Format.ELF, *core)
    assert size_bytes < MIB and not [remark for remark in remarks if "zeros" in remark]


# Small files with large claims


def sharing_core(count, data):
    """``count`` PT_LOADs at different addresses, all of them about the same bytes."""
    core = bytearray(build_core([Load(number << 32, data if not number else b"") for number in range(count)], [FACTS]))
    (at,) = struct.unpack_from("<Q", core, 64 + HEADER_BYTES + OFFSET)
    for number in range(count):
        header = 64 + (1 + number) * HEADER_BYTES
        struct.pack_into("<Q", core, header + OFFSET, at)
        struct.pack_into("<QQ", core, header + FILE_BYTES, len(data), len(data))
    return bytes(core)


@pytest.mark.parametrize("format_", list(Format))
def test_memory_that_shares_bytes_of_the_file_is_saved_up_to_a_budget(tmp_path, format_):
    core = sharing_core(300, os.urandom(4 * MIB))
    found = bounded(save_sharing, core, tmp_path / "out", format_)
    assert found.startswith("1,254,096,896 bytes of memory that share their place in the file with others, more than")
    assert not list(tmp_path.iterdir())


def save_sharing(core, path, format_):
    with open_bytes(core) as dump:
        try:
            save_file(dump, path, SaveOptions(format=format_, threads=1))
        except LimitError as error:
            return str(error)
    return None


def test_memory_that_shares_a_little_is_saved(tmp_path):
    with open_bytes(sharing_core(2, b"m" * PAGE)) as dump:
        save_file(dump, tmp_path / "out", SaveOptions())
    with open_dump(tmp_path / "out") as dump:
        assert dump.read_physical(0, PAGE) == dump.read_physical(1 << 32, PAGE) == b"m" * PAGE


def cut_virtual(count):
    known = [VirtualRange(Range(number, 2 * count - number), number << 40) for number in range(count)]
    try:
        VirtualAddresses("x86_64", known)
    except LimitError as error:
        return str(error)
    return None


def test_virtual_addresses_of_the_same_memory_are_bounded_together():
    """20,000 PT_LOADs within each other would be 400 million pieces."""
    assert "virtual addresses of pieces of memory, more than" in bounded(cut_virtual, 20_000, most_steps=3_000_000)


def pieces_of(count):
    known = [VirtualRange(Range.sized(2 * number, 1), number << 40) for number in range(count)]
    addresses = VirtualAddresses("x86_64", known)
    return sum(1 for number in range(count) for _piece in addresses.of([Range.sized(2 * number, 1)]))


def test_finding_the_virtual_address_of_each_piece_takes_no_look_at_all_others():
    assert bounded(pieces_of, 5000, most_steps=400_000) == 5000

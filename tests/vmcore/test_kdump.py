"""kdump-compressed files of every version, codec and byte order are read as they were written, and as by drgn."""

from concurrent.futures import ThreadPoolExecutor

import drgn
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fadump.errors import AddressError, FormatError
from fadump.memory.ranges import Range, RangeSet
from fadump.vmcore import kdump_file
from fadump.vmcore.contract import Kind, NotInDumpError, Piece, State
from fadump.vmcore.dump import open_dump
from fadump.vmcore.kdump_header import HEADER
from tests.vmcore.core_builder import note, prstatus
from tests.vmcore.dump_helpers import open_bytes, pieces
from tests.vmcore.kdump_builder import (
    CODECS,
    EXCLUDED,
    INCOMPLETE,
    INFO,
    PAGE_BYTES,
    STORED,
    Kdump,
    addresses,
    build_kdump,
    page,
    sample,
)

byte_orders = pytest.mark.parametrize("byte_order", ["little", "big"])


@byte_orders
@pytest.mark.parametrize("codec", CODECS)
def test_every_codec_in_both_byte_orders(codec, byte_order):
    with open_bytes(build_kdump(sample(codec=codec, byte_order=byte_order))) as dump:
        assert (dump.kind, dump.byte_order, dump.machine) == (Kind.KDUMP, byte_order, "ppc64le")
        for number, content in STORED.items():
            assert dump.read_physical(number * PAGE_BYTES, PAGE_BYTES) == content


@byte_orders
@pytest.mark.parametrize("version", range(1, 7))
def test_every_version_says_what_it_knows(version, byte_order):
    notes = prstatus({"nip": 1}, byte_order=byte_order) + note("VMCOREINFO", 0, b"from the note", byte_order)
    data = build_kdump(sample(version=version, byte_order=byte_order, notes=notes))
    with open_bytes(data) as dump:
        assert dump.read_physical(0, PAGE_BYTES) == STORED[0]
        assert dump.damage == []
        assert dump.vmcoreinfo == (INFO if version >= 3 else None)
        assert len(dump.notes) == (2 if version >= 4 else 0)
        for a_note in dump.notes:
            assert data[a_note.offset : a_note.offset + len(a_note.desc)] == a_note.desc


def test_without_its_own_place_vmcoreinfo_is_a_note():
    with open_bytes(build_kdump(sample(vmcoreinfo=b"", notes=note("VMCOREINFO", 0, b"A=1")))) as dump:
        assert dump.vmcoreinfo == b"A=1"


@pytest.mark.parametrize("page_bytes", [4096, 65536])
@byte_orders
def test_the_page_size_is_the_headers(page_bytes, byte_order):
    stored = {0: page(0, page_bytes), 7: page(7, page_bytes)}
    with open_bytes(build_kdump(Kdump(stored, page_bytes=page_bytes, byte_order=byte_order))) as dump:
        assert dump.memory == RangeSet([Range(0, page_bytes), Range(7 * page_bytes, 8 * page_bytes)])
        assert dump.read_physical(7 * page_bytes + 4, 8) == page(7, page_bytes)[4:12]


def test_more_than_2_to_the_32_pages_are_the_sub_headers():
    data = bytearray(build_kdump(sample()))
    HEADER.put(data, "max_mapnr", 1)  # clipped
    with open_bytes(bytes(data)) as dump:
        assert dump.read_physical(40 * PAGE_BYTES, 4) == bytes(4)


def test_reading_crosses_pages_and_begins_anywhere():
    with open_bytes(build_kdump(sample())) as dump:
        memory = STORED[0] + STORED[1] + STORED[2]
        for start, length in [
            (0, 3 * PAGE_BYTES),
            (1, 3 * PAGE_BYTES - 2),
            (4095, 2),
            (4096, 4096),
            (5000, 5000),
            (7, 0),
        ]:
            assert dump.read_physical(start, length) == memory[start : start + length]
        assert dump.read_physical(3 * PAGE_BYTES, 0) == b""


def test_each_state_of_memory_is_told():
    with open_bytes(build_kdump(sample(lost=frozenset({10, 11})))) as dump:
        assert dump.memory == RangeSet([addresses(0, 6), addresses(9, 12), addresses(40, 42)])
        assert dump.readable == RangeSet([addresses(0, 3), addresses(9, 10), addresses(40, 41)])
        assert pieces(dump, 100, 50 * PAGE_BYTES) == [
            Piece(Range(100, 3 * PAGE_BYTES), State.STORED),
            Piece(addresses(3, 6), State.EXCLUDED),
            Piece(addresses(6, 9), State.HOLE),
            Piece(addresses(9, 10), State.STORED),
            Piece(addresses(10, 12), State.MISSING),
            Piece(addresses(12, 40), State.HOLE),
            Piece(addresses(40, 41), State.STORED),
            Piece(addresses(41, 42), State.EXCLUDED),
            Piece(addresses(42, 50), State.HOLE),
        ]


@pytest.mark.parametrize(
    ("number", "state"), [(3, State.EXCLUDED), (6, State.HOLE), (10, State.MISSING), (2**40, State.HOLE), (0, None)]
)
def test_a_page_that_is_not_there_says_why(number, state):
    with open_bytes(build_kdump(sample(lost=frozenset({10})))) as dump:
        assert dump.why_not(number * PAGE_BYTES + 5) is state
        assert dump.why_not(3 * PAGE_BYTES - 1) is None  # the byte before those that were left out
        if state is not None:
            with pytest.raises(NotInDumpError) as error:
                dump.read_physical(number * PAGE_BYTES + 5, 1)
            assert (error.value.state, error.value.at) == (state, number * PAGE_BYTES + 5)


def test_the_error_names_the_first_byte_that_is_not_there():
    with open_bytes(build_kdump(sample())) as dump, pytest.raises(NotInDumpError, match="left out") as error:
        dump.read_physical(100, 6 * PAGE_BYTES)
    assert (error.value.address, error.value.length, error.value.at) == (100, 6 * PAGE_BYTES, 3 * PAGE_BYTES)
    assert isinstance(error.value, AddressError)


@pytest.mark.parametrize(("address", "length"), [(-1, 4), (0, -1)])
def test_negative_numbers_are_an_address_error(address, length):
    with open_bytes(build_kdump(sample())) as dump, pytest.raises(AddressError):
        dump.read_physical(address, length)


def test_a_dump_that_its_writer_marked_incomplete_says_so():
    with open_bytes(build_kdump(sample(status=INCOMPLETE))) as dump:
        (found,) = dump.damage
        assert "incomplete" in str(found)
        assert dump.read_physical(0, 4) == STORED[0][:4]


def test_one_bitmap_serves_for_both():
    data = build_kdump(sample(one_bitmap=True, pages=8 * PAGE_BYTES, excluded=frozenset()))
    with open_bytes(data) as dump:
        assert dump.memory == dump.readable == RangeSet([addresses(0, 3), addresses(9, 10), addresses(40, 41)])
        assert dump.read_physical(9 * PAGE_BYTES, 4096) == STORED[9]


# Views


@pytest.fixture
def runs_of_any_length(monkeypatch):
    monkeypatch.setattr("fadump.vmcore.kdump._LEAST_RUN_PAGES", 1)


@pytest.mark.usefixtures("runs_of_any_length")
def test_uncompressed_pages_that_follow_each_other_are_viewed_in_the_file():
    data = build_kdump(sample(codec="raw"))
    with open_bytes(data) as dump:
        first, *_ = pieces(dump)
        assert first.range == addresses(0, 3)
        assert data[first.file_offset : first.file_offset + 3 * PAGE_BYTES] == STORED[0] + STORED[1] + STORED[2]
        view = dump.view_physical(Range(10, 3 * PAGE_BYTES))
        assert not view.flags.owndata and not view.flags.writeable
        assert view.tobytes() == (STORED[0] + STORED[1] + STORED[2])[10:]
        assert dump.view_physical(addresses(40, 41)).tobytes() == bytes(PAGE_BYTES)
        assert [piece.file_offset for piece in pieces(dump) if piece.range.start == 40 * PAGE_BYTES] == [
            first.file_offset + 2 * PAGE_BYTES  # the two pages of zeros are one
        ]
    assert view[0] == STORED[0][10]  # the view outlives the dump


@pytest.mark.usefixtures("runs_of_any_length")
def test_uncompressed_pages_in_any_other_order_are_views_of_their_own():
    dump = sample(codec="raw")
    data = bytearray(build_kdump(dump))
    first = dump.places["descriptors"]
    data[first : first + 48] = data[first + 24 : first + 48] + data[first : first + 24]
    with open_bytes(bytes(data)) as opened:
        assert [piece.range for piece in pieces(opened, 0, 3 * PAGE_BYTES)] == [
            addresses(at, at + 1) for at in range(3)
        ]
        assert opened.view_physical(addresses(0, 3)).tobytes() == STORED[1] + STORED[0] + STORED[2]
        assert opened.read_physical(0, 3 * PAGE_BYTES) == STORED[1] + STORED[0] + STORED[2]


def test_uncompressed_pages_that_are_scattered_are_one_piece():
    """A dump has as many pages of zeros as it likes, all of them one in the file."""
    contents = {number: bytes(PAGE_BYTES) if number % 2 else bytes([number]) * PAGE_BYTES for number in range(100)}
    contents |= {number: number.to_bytes(2, "big") * (PAGE_BYTES // 2) for number in range(40, 60)}
    with open_bytes(build_kdump(Kdump(contents, codec="raw", pages=100))) as dump:
        found = pieces(dump)
        assert [piece.range for piece in found] == [addresses(0, 40), addresses(40, 61), addresses(61, 100)]
        assert [piece.file_offset is None for piece in found] == [True, False, True]
        assert dump.view_physical(addresses(0, 100)).tobytes() == b"".join(contents.values())


def test_compressed_pages_are_viewed_through_a_copy():
    with open_bytes(build_kdump(sample())) as dump:
        view = dump.view_physical(Range(100, 8000))
        assert view.tobytes() == (STORED[0] + STORED[1])[100:8000]
        assert view.dtype == np.uint8 and not view.flags.writeable
        with pytest.raises(NotInDumpError):
            dump.view_physical(addresses(2, 4))


# The pages read last


@pytest.fixture
def unpacked(monkeypatch):
    """The offsets of the pages that are unpacked, in order."""
    offsets = []
    real = kdump_file.unpack_page

    def counting(data, flags, page_bytes, offset):
        offsets.append(offset)
        return real(data, flags, page_bytes, offset)

    monkeypatch.setattr(kdump_file, "unpack_page", counting)
    return offsets


def test_the_pages_read_last_are_kept(monkeypatch, unpacked):
    monkeypatch.setattr("fadump.vmcore.kdump._CACHE_PAGES", 2)
    with open_bytes(build_kdump(sample())) as dump:
        for number, unpacked_by_now in [(0, 1), (1, 2), (0, 2), (9, 3), (0, 3), (1, 4), (9, 5)]:
            assert dump.read_physical(number * PAGE_BYTES + 5, 9) == STORED[number][5:14]
            assert len(unpacked) == unpacked_by_now


def test_all_pages_of_zeros_are_unpacked_once(unpacked):
    with open_bytes(build_kdump(sample())) as dump:
        assert dump.read_physical(2 * PAGE_BYTES, 9) == dump.read_physical(40 * PAGE_BYTES, 9) == bytes(9)
    assert len(unpacked) == 1


def test_threads_read_at_the_same_time(monkeypatch):
    monkeypatch.setattr("fadump.vmcore.kdump._CACHE_PAGES", 3)
    stored = {number: page(number) for number in range(60)}
    with open_bytes(build_kdump(Kdump(stored))) as dump, ThreadPoolExecutor(8) as pool:
        numbers = [number * 7 % 60 for number in range(3000)]
        read = pool.map(lambda number: dump.read_physical(number * PAGE_BYTES, PAGE_BYTES), numbers)
        assert all(content == stored[number] for number, content in zip(numbers, read, strict=True))


# What is wrong


def changed(data, offset, value, size_bytes=4):
    return data[:offset] + value.to_bytes(size_bytes, "little") + data[offset + size_bytes :]


@pytest.mark.parametrize(
    ("offset", "value", "size_bytes", "message", "at"),
    [
        (8, 0, 4, "header version", 8),
        (428, 4097, 4, "page size", 428),
        (428, 2**31, 4, "page size", 428),
        (428, 2**19, 4, "page size", 428),
        (432, 0, 4, "sub header", 432),
        (436, 0, 4, "number of pages", PAGE_BYTES + 96),
        (PAGE_BYTES + 96, 0, 8, "number of pages", PAGE_BYTES + 96),
        (PAGE_BYTES + 96, 2**64 - 1, 8, "number of pages", PAGE_BYTES + 96),
    ],
)
def test_headers_that_make_no_sense_are_refused(offset, value, size_bytes, message, at):
    with pytest.raises(FormatError, match=message) as error:
        open_bytes(changed(build_kdump(sample()), offset, value, size_bytes))
    assert error.value.offset == at


def test_a_32_bit_dump_is_named_and_refused():
    data = changed(changed(build_kdump(sample()), 428, 0), 416, 4096)
    with pytest.raises(FormatError, match="32-bit"):
        open_bytes(data)


def test_a_split_file_that_ends_before_it_begins_is_refused():
    data = build_kdump(sample(split=(5, 5)))
    with pytest.raises(FormatError, match="ends before it begins"):
        open_bytes(changed(data, PAGE_BYTES + 80, 6, 8))


def test_a_newer_version_is_read_as_far_as_it_is_known():
    with open_bytes(build_kdump(sample(version=7))) as dump:
        (found,) = dump.damage
        assert "newer" in str(found)
        assert dump.read_physical(0, PAGE_BYTES) == STORED[0]


@pytest.mark.parametrize(
    ("field", "value", "size_bytes", "message"),
    [
        (0, 8192, 8, "among the headers"),
        (8, 5000, 4, "packed page"),
        (12, 3, 4, "unknown way"),
        (12, 1, 4, "ZLIB"),
        (8, 99, 4, "wrong size"),
    ],
)
def test_a_descriptor_that_makes_no_sense_is_an_error_of_its_page_only(field, value, size_bytes, message):
    dump = sample(codec="raw")
    data = build_kdump(dump)
    with open_bytes(changed(data, dump.places["descriptors"] + field, value, size_bytes)) as opened:
        with pytest.raises(FormatError, match=message):
            opened.read_physical(0, 4)
        with pytest.raises(FormatError, match=message):
            opened.view_physical(addresses(0, 1))
        assert opened.read_physical(PAGE_BYTES, PAGE_BYTES) == STORED[1]


@pytest.mark.parametrize(("field", "value"), [(0, 0), (0, 2**64 - 1), (0, 2**63)])
def test_a_page_beyond_the_file_is_missing(field, value):
    dump = sample()
    data = changed(build_kdump(dump), dump.places["descriptors"] + field, value, 8)
    with open_bytes(data) as opened:
        assert opened.why_not(0) is State.MISSING
        with pytest.raises(NotInDumpError) as error:
            opened.read_physical(0, 4)
        assert error.value.state is State.MISSING


@pytest.mark.parametrize("codec", CODECS)
def test_a_file_cut_anywhere_opens_and_never_lies(codec):
    described = sample(codec=codec, lost=frozenset({10}), vmcoreinfo=INFO)
    whole = build_kdump(described)
    places = described.places
    borders = {places["bitmap"], places["descriptors"], places["data"], len(whole)}
    cuts = {border + shift for border in borders for shift in (-4097, -25, -1, 0, 1, 30)} | {
        *range(4000, len(whole), 997)
    }
    for cut in sorted(cut for cut in cuts if cut <= len(whole)):
        if cut < PAGE_BYTES + 104:
            with pytest.raises(FormatError):
                open_bytes(whole[:cut])
            continue
        with open_bytes(whole[:cut]) as dump:
            assert bool(dump.damage) == (cut < len(whole))
            for piece in pieces(dump):
                for number in range(piece.range.start // PAGE_BYTES, piece.range.end // PAGE_BYTES):
                    if piece.state is State.STORED:
                        assert dump.read_physical(number * PAGE_BYTES, PAGE_BYTES) == STORED[number]
                    elif piece.state is State.EXCLUDED:
                        assert number in EXCLUDED
            for number in STORED:
                assert dump.why_not(number * PAGE_BYTES) in (None, State.MISSING)


def test_a_cut_is_a_fault_though_the_last_pages_are_one_that_is_there(monkeypatch):
    zeros = dict.fromkeys(range(20, 60), bytes(PAGE_BYTES))
    stored = {1: bytes(PAGE_BYTES), 2: page(2), 3: page(3)} | zeros
    whole = build_kdump(Kdump(stored, codec="raw"))
    for last_pages, is_found in [(64, True), (16, False)]:
        monkeypatch.setattr("fadump.vmcore.kdump_file._LAST_PAGES", last_pages)
        with open_bytes(whole[:-1]) as dump:
            assert [str(found).partition(" at ")[0] for found in dump.damage] == is_found * ["pages cut short"]


def test_memory_in_very_many_ranges_is_refused(monkeypatch):
    monkeypatch.setattr("fadump.vmcore.kdump_file.MOST_MEMORY_RANGES", 4)
    stored = {number: page(number) for number in range(0, 20, 2)}
    with pytest.raises(FormatError, match="5 ranges of memory, more than the 4 that are read"):
        open_bytes(build_kdump(Kdump(stored)))


# Against others


@given(
    st.sampled_from(["raw", "zlib", "lzo", "snappy", "zstd"]),
    st.dictionaries(st.integers(0, 99), st.integers(0, 3), max_size=30),
    st.sets(st.integers(0, 99), max_size=20),
    st.integers(0, 100 * PAGE_BYTES),
    st.integers(0, 5 * PAGE_BYTES),
)
def test_what_is_written_is_read(codec, stored, others, address, length):
    contents = {number: page(fill) if fill else bytes(PAGE_BYTES) for number, fill in stored.items()}
    excluded = frozenset(others - stored.keys())
    if not stored and not excluded:
        return
    wanted = range(address // PAGE_BYTES, -(-(address + length) // PAGE_BYTES))
    with open_bytes(build_kdump(Kdump(contents, excluded, codec=codec, pages=100))) as dump:
        assert dump.readable == RangeSet(addresses(number, number + 1) for number in contents)
        assert dump.memory == RangeSet(addresses(number, number + 1) for number in {*contents, *excluded})
        if not length or all(number in contents for number in wanted):
            skipped = address % PAGE_BYTES
            memory = b"".join(contents.get(number, b"") for number in wanted)
            assert dump.read_physical(address, length) == memory[skipped : skipped + length]
        else:
            with pytest.raises(NotInDumpError) as error:
                dump.read_physical(address, length)
            at = next(number for number in wanted if number not in contents)
            assert error.value.at == max(address, at * PAGE_BYTES)
            assert error.value.state is (State.EXCLUDED if at in excluded else State.HOLE)


@byte_orders
@pytest.mark.parametrize("codec", CODECS)
def test_drgn_reads_the_same(tmp_path, codec, byte_order):
    path = tmp_path / "vmcore"
    info = INFO.replace(b"4096", b"65536") + b"SYMBOL(swapper_pg_dir)=c000000002a00000\nKERNELOFFSET=0\n"
    stored = {number: page(number, 65536) for number in (0, 1, 40)} | {2: bytes(65536)}
    kdump = Kdump(
        stored,
        page_bytes=65536,
        codec=codec,
        notes=note("VMCOREINFO", 0, info, byte_order),
        byte_order=byte_order,
        machine={"little": "ppc64le", "big": "ppc64"}[byte_order],
    )
    path.write_bytes(build_kdump(kdump))
    program = drgn.Program()
    program.set_core_dump(path)
    with open_dump(path) as dump:
        for number, content in stored.items():
            read = dump.read_physical(number * 65536, 65536)
            assert read == content == program.read(number * 65536, 65536, physical=True)


def test_a_header_without_a_version_is_refused_with_what_is_wanted():
    with pytest.raises(FormatError, match="kdump header version at offset 0x8: expected '1 or more', found 0x0"):
        open_bytes(build_kdump(sample(version=0)))

"""Flattened files are read as the files that they describe, whole or as far as they go."""

import os
import struct
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fadump.errors import FormatError, LimitError
from fadump.memory.ranges import Range
from fadump.vmcore import flattened as module
from fadump.vmcore.flattened import FlattenedSource
from fadump.vmcore.source import FileSource
from tests.vmcore.dump_helpers import BytesSource, open_bytes, pieces
from tests.vmcore.kdump_builder import Kdump, build_kdump, flatten, flattened

records = st.lists(st.tuples(st.integers(0, 60), st.binary(min_size=1, max_size=25)), min_size=1, max_size=12)


def described(some_records):
    """The file that records describe."""
    data = bytearray()
    for offset, piece in some_records:
        data.extend(bytes(max(0, offset + len(piece) - len(data))))
        data[offset : offset + len(piece)] = piece
    return bytes(data)


def opened(data):
    return FlattenedSource(BytesSource(data))


@given(records, st.integers(0, 90), st.integers(0, 90))
def test_the_last_of_overlapping_records_counts_and_gaps_are_zeros(some_records, offset, length):
    whole = described(some_records)
    stream = opened(flatten(some_records))
    assert stream.size_bytes == len(whole)
    assert stream.damage == []
    assert stream.read(0, len(whole), "all") == whole
    if offset + length <= len(whole):
        wanted = whole[offset : offset + length]
        assert stream.read(offset, length, "part") == wanted
        view = stream.view(offset, length) if length else None
        assert view is None or view.tobytes() == wanted
    else:
        with pytest.raises(FormatError, match="part cut short"):
            stream.read(offset, length, "part")
    stream.close()


def test_a_view_is_within_one_record():
    stream = opened(flatten([(0, b"abcd"), (4, b"efgh"), (16, b"x")]))
    view = stream.view(4, 4)
    assert view.tobytes() == b"efgh" and not view.flags.owndata
    assert stream.view(0, 2).tobytes() == b"ab"
    assert stream.view(3, 2) is None
    assert stream.view(9, 2) is None
    with pytest.raises(FormatError, match="cut short"):
        stream.view(16, 2)


def test_a_stream_without_records_is_an_empty_file():
    stream = opened(flatten([]))
    assert (stream.size_bytes, stream.damage) == (0, [])
    with pytest.raises(FormatError):
        stream.read(0, 1, "byte")


def test_a_stream_cut_anywhere_has_what_came_before():
    some_records = [(0, b"head"), (10, b"body" * 5), (4, b"middle"), (0, b"HEAD")]
    whole = flatten(some_records)
    for cut in range(4096, len(whole)):
        stream = opened(whole[:cut])
        (found,) = stream.damage
        assert "no end" in str(found) and found.offset == cut
        room, there = cut - 4096, []
        for offset, data in some_records:
            room -= 16
            if room > 0:
                there.append((offset, data[:room]))
            room -= len(data)
        assert stream.read(0, stream.size_bytes, "all") == described(there)
        stream.close()


@pytest.mark.parametrize(("offset", "size"), [(-1, 5), (5, -1), (0, 0), (2**62, 1), (1, 2**62), (2**63 - 1, 2**63 - 1)])
def test_a_record_that_makes_no_sense_ends_the_stream(offset, size):
    stream = opened(flatten([(0, b"good")], end=struct.pack(">qq", offset, size) + bytes(100)))
    (found,) = stream.damage
    assert found.offset == 4096 + 16 + 4
    assert stream.read(0, stream.size_bytes, "all") == b"good"


def test_a_hole_of_a_sparse_file_ends_the_stream_at_once(tmp_path):
    path = tmp_path / "sparse"
    path.write_bytes(flatten([(0, b"good")], end=b""))
    with path.open("r+b") as file:
        file.truncate(1 << 40)
        stream = FlattenedSource(FileSource(os.dup(file.fileno())))
    assert len(stream.damage) == 1


def test_there_is_a_limit_to_the_number_of_records(monkeypatch):
    monkeypatch.setattr(module, "MOST_RECORDS", 3)
    stream = opened(flatten([(at, b"x") for at in range(4)]))
    assert (stream.size_bytes, len(stream.damage)) == (3, 1)


@pytest.mark.parametrize(
    ("at", "value", "message"), [(0, b"M", "not a flattened"), (0x17, b"\2", "type"), (0x1F, b"\2", "version")]
)
def test_the_header_is_checked(at, value, message):
    data = bytearray(flatten([]))
    data[at : at + 1] = value
    with pytest.raises(FormatError, match=message) as error:
        opened(bytes(data))
    assert error.value.offset in (0, 0x10, 0x18)


def test_a_dump_cut_short_in_its_stream_never_lies():
    stored = {number: bytes([number + 1]) * 4096 for number in range(10)}
    whole = flattened(build_kdump(Kdump(stored, codec="raw")), chunk_bytes=8192)
    readable = set()
    for cut in range(4096 + 2 * 8208, len(whole), 1021):
        with open_bytes(whole[:cut]) as dump:
            assert dump.damage
            for piece in pieces(dump):
                for number in range(piece.range.start // 4096, piece.range.end // 4096):
                    if dump.why_not(number * 4096) is None:
                        assert dump.read_physical(number * 4096, 4096) == stored[number]
                        readable.add(number)
    assert readable >= set(range(9))


@given(records, st.integers(0, 90), st.integers(0, 90))
def test_only_what_is_in_a_record_is_data(some_records, offset, length):
    written = bytearray(200)
    for at, piece in some_records:
        written[at : at + len(piece)] = b"\1" * len(piece)
    stream = opened(flatten(some_records))
    found = list(stream.data_ranges(Range.sized(offset, length)))
    listed = bytearray(200)
    for range_ in found:
        listed[range_.start : range_.end] = b"\1" * range_.size_bytes
    assert listed == bytes(offset) + written[offset : offset + length] + bytes(200 - offset - length)
    assert all(lower.end < higher.start for lower, higher in pairwise(found))
    following = written.find(1, offset)
    assert stream.next_data(offset) == (stream.size_bytes if following < 0 else following)


def test_records_that_overlap_are_limited(monkeypatch):
    monkeypatch.setattr(module, "MOST_PIECES", 3)
    apart = [(at, b"xx") for at in range(0, 40, 4)]
    assert opened(flatten([*apart, (1, b"x"), (5, b"x")][:11])).size_bytes == 38
    with pytest.raises(LimitError, match="4 records of a flattened dump that overlap, more than the 3 that are read"):
        opened(flatten([*apart, (1, b"x"), (5, b"x")]))

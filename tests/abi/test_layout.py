"""How a structure's bytes are declared: against bytes written by hand."""

from typing import Annotated, NamedTuple

import numpy as np
import pytest

from fadump.abi.layout import Layout, raw, s16, s32, s64, u8, u16, u32, u64
from fadump.errors import FormatError


class Sample(NamedTuple):
    name: Annotated[bytes, raw(0x00, 3)]
    small: Annotated[int, u8(0x04)]
    half: Annotated[int, u16(0x06)]
    words: Annotated[tuple[int, ...], u64(0x08, 2)]
    signed: Annotated[int, s32(0x18)]
    flags: Annotated[int, u32(0x1C)] = 0


SAMPLE = Layout(Sample, "sample", "big", size_bytes=0x24)
VALUE = Sample(b"abc", 1, 0x203, (4, 5), -2, 6)
BIG = bytes.fromhex("616263 00 01 00 0203 0000000000000004 0000000000000005 fffffffe 00000006 00000000")
LITTLE = bytes.fromhex("616263 00 01 00 0302 0400000000000000 0500000000000000 feffffff 06000000 00000000")


class Row(NamedTuple):
    offset: Annotated[int, s64(0x00)]
    kind: Annotated[int, s16(0x08)]
    size: Annotated[int, u32(0x0C)]


ROW = Layout(Row, "row", "little")


@pytest.mark.parametrize(("order", "data"), [("big", BIG), ("little", LITTLE)])
def test_a_structure_is_its_bytes_in_either_order(order, data):
    layout = SAMPLE.in_order(order)
    assert layout.encode(VALUE) == data
    assert layout.decode(b"??" + data, 2) == VALUE
    assert list(layout.decode_all(data * 2)) == [VALUE, VALUE]
    assert layout.byte_order == order
    assert layout.in_order(order) is layout


def test_a_field_is_found_by_its_name():
    assert (SAMPLE.offset("signed"), SAMPLE.size("signed"), SAMPLE.size("words"), SAMPLE.size_bytes) == (24, 4, 16, 36)
    assert SAMPLE.number(b"?" + BIG[:8], "half", 1) == 0x203
    buffer = bytearray(b"?" + BIG)
    SAMPLE.put(buffer, "half", 0x1FF, 1)
    SAMPLE.put(buffer, "name", b"xy", 1)
    assert buffer == b"?" + BIG.replace(b"abc", b"xy\0").replace(b"\x02\x03", b"\x01\xff")
    assert SAMPLE.in_order("little").encode_field("flags", 1) == b"\x01\0\0\0"
    with pytest.raises(KeyError):
        SAMPLE.offset("colour")


def test_padding_is_written_as_zeros_and_not_looked_at():
    assert SAMPLE.decode(BIG[:3] + b"\xff" + BIG[4:32] + b"rest") == VALUE
    assert ROW.pack(-1, -2, 3) == bytes.fromhex("ffffffffffffffff feff 0000 03000000")


def test_what_is_cut_short_or_too_large_is_refused():
    with pytest.raises(FormatError, match=r"sample cut short at offset 0x4: expected 0x24, found 0x20"):
        SAMPLE.decode(BIG, 4)
    with pytest.raises(FormatError, match=r"sample cut short at offset 0x6: expected 0x2, found 0x1"):
        SAMPLE.number(BIG[:7], "half")
    with pytest.raises(ValueError, match="sample with a number too large for its field"):
        SAMPLE.encode(VALUE._replace(small=256))
    with pytest.raises(ValueError, match="sample's field small can't hold 256"):
        SAMPLE.put(bytearray(BIG), "small", 256)
    with pytest.raises(ValueError, match="no room for its field flags"):
        SAMPLE.put(bytearray(BIG[:30]), "flags", 1)


@pytest.mark.parametrize("order", ["little", "big"])
def test_numpy_reads_the_same(order):
    layout = ROW.in_order(order)
    rows = [Row(1, -2, 3), Row(-(1 << 62), 5, (1 << 32) - 1)]
    read = np.frombuffer(b"".join(map(layout.encode, rows)), layout.dtype)
    assert [Row(*values) for values in read.tolist()] == rows


class Overlapping(NamedTuple):
    first: Annotated[int, u32(0x00)]
    second: Annotated[int, u16(0x02)]


def test_fields_have_room():
    with pytest.raises(ValueError, match="field second at 0x2 overlaps the one before it, which ends at 0x4"):
        Layout(Overlapping, "overlapping")
    with pytest.raises(ValueError, match="fields of 0x10 bytes don't fit into 0xc"):
        Layout(Row, "row", size_bytes=0xC)

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fadump.errors import FormatError
from fadump.kernel.plan.map_text import parse_map, parse_range, parse_size
from fadump.kernel.traits import GIB, MIB
from fadump.memory.ranges import Range, RangeSet


def test_a_text_with_every_kind_of_line():
    found = parse_map(
        "# a machine\n0..1G\n\n  4G..0x140000000 removable # a DIMM\n1G..2G memory\n0x2fff0000..768M firmware\n"
    )
    assert found.regions == (Range(0, 2 * GIB), Range(4 * GIB, 5 * GIB))
    assert found.firmware == RangeSet([Range(0x2FFF0000, 0x30000000)])
    assert found.first_block_bytes == GIB


def test_removable_memory_is_a_region_by_itself():
    assert parse_map("0..1G\n1G..2G removable").regions == (Range(0, GIB), Range(GIB, 2 * GIB))


@pytest.mark.parametrize(
    ("text", "message", "offset"),
    [
        ("0..1G\n1G..2G ram", "'1G..2G ram' is not a range and what it is", 6),
        ("0..1G memory of mine", "is not a range", 0),
        ("0-1G", "'0-1G' is not a range", 0),
        ("0..1G\n2G..1G", "is not a range", 6),
        ("0..0", "is empty", 0),
        ("0..G", "'G' is not a size", 0),
        ("..1G", "'' is not a size", 0),
        ("0..1Gb", "'1Gb' is not a size", 0),
        ("1G..2G", "no memory at address 0", None),
        ("", "no memory at address 0", None),
        ("0..1G firmware", "no memory at address 0", None),
    ],
)
def test_what_is_no_map_says_where(text, message, offset):
    with pytest.raises(FormatError, match=message) as error:
        parse_map(text)
    assert error.value.offset == offset


def test_an_endless_line_is_not_quoted_to_its_end():
    for text in ("\0" * 1_000_000, "1" * 1_000_000 + "..2G", "0..1G " + "ram" * 1_000_000):
        with pytest.raises(FormatError) as error:
            parse_map(text)
        assert len(str(error.value)) < 1000


@given(st.text("0123456789xabGMK.# \nmemoryfirmwarlb", max_size=80) | st.text(max_size=40))
def test_any_text_is_a_map_or_refused(text):
    try:
        assert parse_map(text).regions[0].start == 0
    except FormatError as error:
        assert error.offset is None or 0 <= error.offset <= len(text)


def test_sizes_and_ranges_of_options():
    assert parse_size("1536M") == 1536 * MIB
    assert parse_size("15E") == 15 << 60 and parse_size("0xffffffffffffffff") == (1 << 64) - 1
    assert parse_range("0x1000..1G") == Range(0x1000, GIB)
    for large in ("16E", "999999999999999T", "0x10000000000000000", "1" + 5000 * "0"):
        with pytest.raises(ValueError, match="does not fit into 64 bits"):
            parse_size(large)
    for wrong in ("", "M", "-1", "1G ", "2G..", "1G2"):
        with pytest.raises(ValueError, match="is not a size"):
            parse_size(wrong)

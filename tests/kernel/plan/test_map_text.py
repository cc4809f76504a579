import re

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


WANTED = "is not START..END [memory|removable|firmware]; write it as 0..1G, or 4G..8G removable"
FIRST = "the first line of most machines is as 0..1G"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("0..1G\n1G..2G ram", f"line 2: '1G..2G ram' {WANTED}"),
        ("# mine\n\n0..1G memory of mine", f"line 3: '0..1G memory of mine' {WANTED}"),
        ("0 - 1G", f"line 1: '0 - 1G' {WANTED}"),
        ("0-1G", "line 1: '0-1G' is not a range; write it as 0x0..2G"),
        ("0..1G\n2G..1G", "line 2: the end of 2G..1G is not above its start; write it as 0x0..2G"),
        ("0..0", "line 1: the end of 0..0 is not above its start; write it as 0x0..2G"),
        ("0..G", "line 1: 'G' is not a size; write it as 2G or 0x80000000"),
        ("..1G", "line 1: '' is not a size; write it as 2G or 0x80000000"),
        ("0..1Gb", "line 1: '1Gb' is not a size; write it as 2G or 0x80000000"),
        *(
            (
                text,
                "there is no memory at address 0, where a kernel starts; the first line of most machines is as 0..1G",
            )
            for text in ("1G..2G", "", "0..1G firmware")
        ),
    ],
)
def test_what_is_no_map_says_where_and_what_is_wanted(text, message):
    with pytest.raises(FormatError) as error:
        parse_map(text)
    assert str(error.value) == message


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
        found = re.match(r"line (\d+): ", str(error))
        assert found is None or 1 <= int(found[1]) <= len(text.splitlines())


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

"""The ELF core header, as a capture kernel makes it and as older first kernels leave it."""

import os
import re
import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fadump.kernel.elfcorehdr import (
    CPU_NOTES,
    Load,
    NoCoreHeaderError,
    NotePlace,
    decode,
    encode,
    header_count,
    loads_at_registration,
    loads_of,
)
from fadump.kernel.plan.boot_memory import Region
from fadump.memory.ranges import Range, RangeSet

TOP = 0x200_0000
AREA = Range(0x300_0000, 0x500_0000)
NOTES = [CPU_NOTES, NotePlace(0x180_0000, 0x1024)]


def at_registration(*memory):
    return list(loads_at_registration([Region(0, TOP)], AREA.start, TOP, AREA, memory))


def test_neighbours_are_folded_into_one_load_before_6_10_only():
    memory = (Range(0, 0x600_0000), Range(0x600_0000, 0x700_0000), Range(0x800_0000, 0x900_0000))
    assert at_registration(*memory)[2:] == [
        Load(AREA.end, AREA.end, 0x700_0000 - AREA.end),
        Load(0x800_0000, 0x800_0000, 0x100_0000),
    ]
    later = loads_of([Region(0, TOP)], AREA.start, TOP, AREA, memory)
    assert [load.physical for load in later][2:] == [AREA.end, 0x600_0000, 0x800_0000]


def test_memory_that_is_all_reserved_area_leaves_nothing_before_6_10():
    assert at_registration(Range(0, TOP), AREA) == [Load(0, AREA.start, TOP)]


@given(st.lists(st.integers(0x201, 0x900), min_size=2, max_size=8, unique=True).map(sorted))
def test_both_ways_show_the_same_memory(cuts):
    memory = [Range(0, TOP), *(Range(a << 16, b << 16) for a, b in zip(cuts[::2], cuts[1::2], strict=False))]
    shown = [
        RangeSet(Range.sized(load.physical, load.size_bytes) for load in loads)
        for loads in (at_registration(*memory), loads_of([Region(0, TOP)], AREA.start, TOP, AREA, memory))
    ]
    assert shown[0] == shown[1] == RangeSet(memory) - RangeSet([AREA])


def test_readelf_finds_the_notes_with_all_their_bytes(tmp_path):
    path = tmp_path / "elfcorehdr"
    path.write_bytes(encode(NOTES, []))
    command = ["readelf", "--program-headers", "--wide", path]
    shown = subprocess.run(
        command, capture_output=True, text=True, check=True, env={**os.environ, "LC_ALL": "C"}
    ).stdout
    rows = [
        [int(word, 16) for word in words] for words in re.findall(r"^ +NOTE" + r" +(0x\w+)" * 5, shown, re.MULTILINE)
    ]
    assert rows == [[place.address, 0, place.address, place.size_bytes, place.size_bytes] for place in NOTES]


@given(st.lists(st.builds(Load, *[st.integers(1, 1 << 56)] * 3) | st.just(Load(0, 0, 0)), max_size=5))
def test_what_is_written_is_read(loads):
    assert decode(encode(NOTES, loads)) == (NOTES, loads)


@pytest.mark.parametrize("at", [4, 6, 0x10, 0x12, 0x34, 0x36])
def test_a_header_that_is_not_sane_is_told_apart(at):
    headers = bytearray(encode(NOTES, []))
    headers[at] ^= 0x40
    with pytest.raises(NoCoreHeaderError, match="not sane"):
        header_count(bytes(headers))


def test_a_header_with_no_program_headers_is_not_sane_and_zeros_are_none():
    with pytest.raises(NoCoreHeaderError, match="not sane"):
        decode(encode([], []))
    with pytest.raises(NoCoreHeaderError, match="not found"):
        header_count(bytes(0x40))

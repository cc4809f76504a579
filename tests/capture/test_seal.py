"""Whatever bit of a saved file is turned, the check finds it."""

import subprocess

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fadump.capture.options import Format, SaveOptions
from fadump.capture.packers import Compression
from fadump.errors import FormatError
from fadump.linux.pages.page_class import DumpLevel
from fadump.vmcore.check import check_dump
from fadump.vmcore.dump import open_dump
from fadump.vmcore.seal import find_seal
from tests.capture.saving import save_file
from tests.vmcore.dump_helpers import open_bytes

ANY_PLACE = st.integers(0, (1 << 32) - 1)
"""Of a file, once it is taken modulo the file's size."""


@pytest.fixture(scope="module", params=list(Format))
def saved(request, vmcore, tmp_path_factory):
    """A small saved dump whose pages nothing else protects, as bytes."""
    path = tmp_path_factory.mktemp("sealed") / "out"
    options = SaveOptions(levels=(DumpLevel(31),), format=request.param, compression=Compression.NONE)
    with open_dump(vmcore) as dump:
        save_file(dump, path, options)
    return path.read_bytes()


@settings(max_examples=60)
@given(place=ANY_PLACE, bit=st.integers(0, 7))
def test_a_turned_bit_is_found(saved, place, bit):
    at = place % len(saved)
    damaged = bytearray(saved)
    damaged[at] ^= 1 << bit
    try:
        with open_bytes(bytes(damaged)) as dump:
            assert not check_dump(dump).whole, hex(at)
    except FormatError:
        pass  # it doesn't open any more


def test_a_turned_bit_of_what_makes_a_note_the_seal_is_found(saved):
    """Its header, its name and its version: without the seal, nothing is proven."""
    with open_bytes(saved) as dump:
        _seal, offset = find_seal(dump.notes, dump.byte_order)
    for at in range(-20, 4):
        damaged = bytearray(saved)
        damaged[offset + at] ^= 1 << at % 8
        with open_bytes(bytes(damaged)) as dump:
            seal = find_seal(dump.notes, dump.byte_order)
            assert dump.damage or (seal is not None and seal[0].complete), at


@settings(max_examples=30)
@given(place=ANY_PLACE)
def test_a_file_cut_short_is_found(saved, place):
    size = 1 + place % (len(saved) - 1)
    try:
        with open_bytes(saved[:size]) as dump:
            assert not check_dump(dump).whole
    except FormatError:
        pass


def test_a_seal_that_another_tool_copied_says_nothing(saved):
    with open_bytes(saved) as dump:
        seal, offset = find_seal(dump.notes, dump.byte_order)
    changed = bytearray(saved[: seal.table_offset] + b"more")  # it has no table of checksums
    changed[offset - 40] ^= 1  # VMCOREINFO's end
    with open_bytes(bytes(changed)) as dump:
        assert not [finding for finding in check_dump(dump).findings if "written" in finding.text]


@pytest.mark.parametrize("behind", [bytes(5000), b"another dump was on this disk before"], ids=["zeros", "others"])
def test_a_dump_that_other_bytes_follow_is_whole_and_they_are_told(saved, behind):
    with open_bytes(saved + behind) as dump:
        report = check_dump(dump)
    assert report.whole
    assert f"{len(behind):#x} bytes follow the dump in its file" in "".join(found.text for found in report.findings)


def test_damage_to_headers_is_found_where_other_bytes_follow(saved):
    with open_bytes(saved) as dump:
        _seal, offset = find_seal(dump.notes, dump.byte_order)
    changed = bytearray(saved + bytes(100))
    changed[offset - 40] ^= 1
    with open_bytes(bytes(changed)) as dump:
        assert not check_dump(dump).whole


def test_checksums_are_zlibs(saved):
    done = subprocess.run(
        ["python3", "-c", "import sys,zlib; print(zlib.crc32(sys.stdin.buffer.read()))"],
        input=saved[:1000],
        capture_output=True,
        check=True,
    )
    from fadump.capture.packers import crc32

    assert int(done.stdout) == crc32(saved[:1000])

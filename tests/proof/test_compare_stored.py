"""A dump that a system's own tools have saved: what it has is compared, what it left out is not."""

import hashlib
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fadump.memory.guest import Segment
from fadump.memory.ranges import Range, RangeSet
from fadump.proof.compare import Exclusion, compare_stored
from fadump.proof.crash_image import CrashImage
from fadump.vmcore.dump import open_dump
from tests.vmcore.core_builder import Load, build_core
from tests.vmcore.kdump_builder import PAGE_BYTES, Kdump, build_kdump, flattened

PAGES = 16
RAM = hashlib.shake_128(b"guest").digest(PAGES * PAGE_BYTES)


@pytest.fixture(scope="module")
def image():
    fd = os.memfd_create("guest")
    os.pwrite(fd, RAM, 0)
    with CrashImage.take([Segment(Range(0, len(RAM)), fd, 0)], []) as taken:
        os.close(fd)
        yield taken


def page(number):
    return RAM[number * PAGE_BYTES :][:PAGE_BYTES]


def changed(data, at):
    return data[:at] + bytes([data[at] ^ 0x40]) + data[at + 1 :]


@pytest.fixture
def compared(tmp_path, image):
    def compare(content, *exclusions, advance=bool):
        (tmp_path / "dump").write_bytes(content)
        with open_dump(tmp_path / "dump") as dump:
            return compare_stored(dump, image, exclusions, advance=advance)

    return compare


@pytest.mark.parametrize("wrap", [bytes, flattened])
def test_stored_pages_are_compared_and_excluded_ones_are_not(compared, wrap):
    told = []
    stored = {number: page(number) for number in (0, 1, 9)}
    excluded = frozenset(set(range(PAGES)) - stored.keys())
    built = build_kdump(Kdump(stored, excluded, pages=PAGES))
    result = compared(wrap(built), advance=told.append)
    assert (result.bytes_compared, result.bytes_different, result.bytes_excluded) == (3 * PAGE_BYTES, 0, 0)
    assert sum(told) == 3 * PAGE_BYTES
    assert result.not_in_dump == RangeSet([Range(2 * PAGE_BYTES, 9 * PAGE_BYTES), Range(10 * PAGE_BYTES, len(RAM))])


@given(number=st.integers(0, PAGES - 1), at=st.integers(0, PAGE_BYTES - 1))
def test_one_wrong_byte_is_found_wherever_it_is(image, number, at, tmp_path_factory):
    stored = dict(enumerate(map(page, range(PAGES)))) | {number: changed(page(number), at)}
    path = tmp_path_factory.getbasetemp() / "wrong"
    path.write_bytes(build_kdump(Kdump(stored, pages=PAGES)))
    with open_dump(path) as dump:
        result = compare_stored(dump, image)
    assert result.differences == (Range.sized(number * PAGE_BYTES + at, 1),)
    assert (result.bytes_different, result.bytes_compared) == (1, len(RAM))


def test_a_page_of_zeros_that_was_none_is_different(compared):
    result = compared(build_kdump(Kdump({0: page(0), 3: bytes(PAGE_BYTES)}, pages=PAGES)))
    assert result.bytes_different == sum(byte != 0 for byte in page(3))


def test_pages_where_there_was_no_memory_are_different(compared):
    result = compared(build_kdump(Kdump({PAGES + 2: page(0)}, pages=PAGES + 8)))
    assert result.differences == (Range.sized((PAGES + 2) * PAGE_BYTES, PAGE_BYTES),)
    assert result.bytes_different == result.bytes_compared == PAGE_BYTES


def test_an_exclusion_is_left_out_to_the_byte(compared):
    wrong = changed(changed(page(1), 100), 200)
    left_out = Exclusion(Range(PAGE_BYTES + 150, PAGE_BYTES + 300), "firmware's")
    elsewhere = Exclusion(Range(8 * PAGE_BYTES, 9 * PAGE_BYTES), "not stored")
    result = compared(build_kdump(Kdump({1: wrong}, pages=PAGES)), left_out, elsewhere)
    assert result.differences == (Range.sized(PAGE_BYTES + 100, 1),)
    assert (result.bytes_compared, result.bytes_excluded) == (PAGE_BYTES - 150, 150)
    assert result.excluded == (left_out,)


def test_of_an_elf_core_what_it_only_says_to_be_zeros_is_left_out(compared):
    core = build_core([Load(0, page(0), memory_bytes=4 * PAGE_BYTES), Load(8 * PAGE_BYTES, changed(page(8), 7))])
    result = compared(core)
    assert result.bytes_compared == 2 * PAGE_BYTES
    assert result.differences == (Range.sized(8 * PAGE_BYTES + 7, 1),)

"""Any file at all is a dump or a FormatError, in little memory and little time."""

import os
import tracemalloc

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fadump.errors import FormatError
from fadump.vmcore.check import check_dump
from fadump.vmcore.contract import State
from fadump.vmcore.dump import open_dump
from fadump.vmcore.kdump_header import HEADER, SUB_HEADER
from tests.fuzzing import fuzz
from tests.vmcore.core_builder import Load, build_core
from tests.vmcore.dump_helpers import open_bytes, read_all
from tests.vmcore.fuzz import NOTES, PAGES, exercise, seeds
from tests.vmcore.kdump_builder import PAGE_BYTES, Kdump, build_kdump, flatten

SEEDS = seeds()

limits = st.sampled_from([0, 1, 2**16, 2**31, 2**32, 2**33, 2**63 - 1, 2**63, 2**64 - 1]).flatmap(
    lambda limit: st.integers(max(0, limit - 5000), min(2**64 - 1, limit + 5000))
)


@pytest.mark.parametrize("seed", range(len(SEEDS)))
def test_the_seeds_are_whole(seed):
    try:
        with open_bytes(SEEDS[seed]) as dump:
            assert read_all(dump) == 0
            report = check_dump(dump)
            assert report.whole or report.sizes[State.MISSING]  # one of them is a file of a set
    except FormatError:
        pytest.fail("a seed that isn't a dump tests nothing")


def test_a_file_cut_at_every_boundary():
    """Around each number of the headers, and the ends of all that they speak of."""
    kdump = Kdump(PAGES, frozenset({5}), pages=16, notes=NOTES, codec="zlib")
    whole = build_kdump(kdump)
    cuts = set(range(0, 600, 4)) | set(range(PAGE_BYTES, PAGE_BYTES + 112, 8))
    for start in [*kdump.places.values(), len(whole)]:
        cuts |= {start - 1, start, start + 1}
    cuts |= set(range(kdump.places["descriptors"], kdump.places["descriptors"] + 4 * 24 + 1, 4))
    for cut in sorted(cuts):
        exercise(whole[:cut])
    for extended in (False, True):
        core = build_core([Load(0, b"m" * 64), Load(0x1000, b"n" * 64)], [NOTES], extended_numbering=extended)
        for cut in range(len(core)):
            exercise(core[:cut])


@given(st.sampled_from(SEEDS), st.data())
def test_a_file_cut_anywhere(whole, data):
    exercise(whole[: data.draw(st.integers(0, len(whole)))])


@settings(max_examples=400)
@given(st.sampled_from(SEEDS), st.data())
def test_a_file_with_flipped_bits(whole, data):
    changed = bytearray(whole)
    structure_bytes = max(600, len(whole) - PAGE_BYTES)
    for bit in data.draw(st.lists(st.integers(0, min(structure_bytes, len(whole)) * 8 - 1), min_size=1, max_size=4)):
        changed[bit // 8] ^= 1 << bit % 8
    exercise(bytes(changed))


@settings(max_examples=400)
@given(st.sampled_from(SEEDS), st.data())
def test_a_file_with_numbers_near_limits(whole, data):
    changed = bytearray(whole)
    for _ in range(data.draw(st.integers(1, 3))):
        size_bytes = data.draw(st.sampled_from([4, 8]))
        at = 4 * data.draw(st.integers(0, (len(whole) - 8) // 4))
        value = data.draw(limits) % (1 << 8 * size_bytes)
        changed[at : at + size_bytes] = value.to_bytes(size_bytes, data.draw(st.sampled_from(["little", "big"])))
    exercise(bytes(changed))


@given(st.data())
def test_every_number_in_the_headers_of_a_kdump_file(data):
    changed = bytearray(build_kdump(Kdump(PAGES, pages=16, split=(1, 9) if data.draw(st.booleans()) else None)))
    for _ in range(data.draw(st.integers(1, 2))):
        at, size_bytes = data.draw(
            st.sampled_from([(8, 4), (424, 4), (428, 4), (432, 4), (436, 4), (440, 4)])
            | st.sampled_from([(PAGE_BYTES + at, 8) for at in range(0, 104, 8)])
        )
        changed[at : at + size_bytes] = (data.draw(limits) % (1 << 8 * size_bytes)).to_bytes(size_bytes, "little")
    exercise(bytes(changed))


@given(st.sampled_from([b"", b"\x7fELF\2\1\1", b"KDUMP   \6\0\0\0", flatten([], end=b"")]), st.binary(max_size=2000))
def test_any_bytes_behind_a_signature(signature, data):
    exercise(signature + data)


# Claims that would cost much to believe


def huge_kdump():
    data = bytearray(build_kdump(Kdump(PAGES, pages=16)))
    HEADER.put(data, "bitmap_blocks", 2**32 - 1)
    SUB_HEADER.put(data, "max_mapnr_64", 2**33, PAGE_BYTES)
    return bytes(data)


def huge_core():
    return build_core([Load(number << 40, b"x", memory_bytes=1 << 40) for number in range(1000)])


def many_claims():
    """Program headers of which each claims nearly all addresses."""
    return build_core([Load(number, b"x" * 5, memory_bytes=2**64 - 20_000) for number in range(2000)])


@pytest.mark.parametrize("build", [huge_kdump, huge_core, many_claims])
def test_memory_that_is_only_claimed_costs_nothing(build):
    data = build()
    tracemalloc.start()
    try:
        exercise(data)
        assert tracemalloc.get_traced_memory()[1] < 64 << 20
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("kind", ["bitmap", "records", "notes"])
def test_a_huge_sparse_file_is_looked_at_in_little_memory(tmp_path, kind):
    path = tmp_path / "vmcore"
    dump = Kdump(PAGES, pages=16)
    data = bytearray(build_kdump(dump))
    if kind == "bitmap":  # of 64 MiB, in the file's hole
        HEADER.put(data, "bitmap_blocks", 2**31 // PAGE_BYTES)
        SUB_HEADER.put(data, "max_mapnr_64", 2**29, PAGE_BYTES)
    if kind == "notes":
        SUB_HEADER.put(data, "offset_note", 2**34, PAGE_BYTES)
        SUB_HEADER.put(data, "size_note", 2**38, PAGE_BYTES)
    path.write_bytes(flatten([(0, bytes(data))], end=b"") if kind == "records" else data)
    os.truncate(path, 1 << 40)
    tracemalloc.start()
    try:
        with open_dump(path) as opened:
            assert opened.damage or kind == "bitmap"
            read_all(opened)
        assert tracemalloc.get_traced_memory()[1] < 400 << 20
    finally:
        tracemalloc.stop()


def test_a_fuzzer_finds_nothing_in_a_thousand_files(tmp_path):
    fuzz("tests.vmcore.fuzz_atheris", runs=1000, longest=60000, artifacts=tmp_path)

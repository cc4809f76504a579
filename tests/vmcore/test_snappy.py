"""Snappy by the package and by the library: each reads what the other writes, and damage is an error to both."""

import sys
from importlib.util import find_spec
from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fadump.capture.packers import Compression, make_packer
from fadump.errors import FormatError, SetupError
from fadump.vmcore import snappy
from fadump.vmcore.codecs import PageFlag, unpack_page
from fadump.vmcore.snappy import find_snappy

PAGE_BYTES = 4096
ALL = [snappy._by_library()]
if find_spec("cramjam"):  # an optional package; tests/test_optional.py wants it in make test
    ALL.append(snappy._by_package())

each = pytest.mark.parametrize("mine", ALL, ids=lambda mine: mine.name)


@given(st.sampled_from([*product(ALL, ALL)]), st.binary(max_size=300), st.integers(0, 300))
def test_what_one_packs_the_other_unpacks(both, pattern, times):
    first, second = both
    data = pattern * times
    packed = bytes(first.compress(memoryview(data)))
    assert second.unpacked_bytes(packed) == len(data)
    assert bytes(second.decompress(packed)) == data


@each
def test_a_page_written_by_hand_is_unpacked(mine):
    """format_description.txt: the size, then a literal of 4 bytes, then copies of 64 bytes from 4 bytes before."""
    packed = b"\x84\x02" + b"\x0cabcd" + b"\xfe\x04\x00" * 4
    assert mine.unpacked_bytes(packed) == 260
    assert bytes(mine.decompress(packed)) == b"abcd" * 65


@each
@pytest.mark.parametrize("packed", [b"", b"\xff", b"\x05", b"\x05\x0cabcd", b"\x04\x0eabcd", b"\x04\x0cabcdefgh"])
def test_damage_is_an_error(mine, packed):
    with pytest.raises(mine.error):
        mine.decompress(packed)


@pytest.fixture
def no_package(monkeypatch):
    """As if cramjam were not installed."""
    monkeypatch.setitem(sys.modules, "cramjam", None)
    find_snappy.cache_clear()
    yield
    find_snappy.cache_clear()


@pytest.mark.usefixtures("no_package")
def test_without_the_package_pages_are_packed_and_unpacked_by_the_library():
    assert find_snappy().name == "libsnappy.so.1"
    page = bytes(range(256)) * 16
    packed = bytes(
        make_packer(Compression.SNAPPY)(np.frombuffer(page, np.uint8), np.zeros(1, np.int64), PAGE_BYTES).data
    )
    assert len(packed) < PAGE_BYTES
    assert unpack_page(packed, PageFlag.SNAPPY, PAGE_BYTES, 0) == page
    with pytest.raises(FormatError, match="unpack with SNAPPY: error 1"):
        unpack_page(packed[:-1], PageFlag.SNAPPY, PAGE_BYTES, 0)


def test_without_the_library_pages_are_packed_by_the_package(monkeypatch):
    monkeypatch.setattr(snappy, "_LIBRARY", "libno-such-thing.so.9")
    page = bytes(range(256)) * 16
    packed = bytes(
        make_packer(Compression.SNAPPY)(np.frombuffer(page, np.uint8), np.zeros(1, np.int64), PAGE_BYTES).data
    )
    assert len(packed) < PAGE_BYTES and unpack_page(packed, PageFlag.SNAPPY, PAGE_BYTES, 0) == page


@pytest.mark.usefixtures("no_package")
def test_without_either_the_sentence_names_both(monkeypatch):
    monkeypatch.setattr(snappy, "_LIBRARY", "libno-such-thing.so.9")
    sentence = "need the Python package cramjam, which isn't here: pip install cramjam, or apt-get install libsnappy1v5"
    with pytest.raises(SetupError, match=sentence):
        unpack_page(b"", PageFlag.SNAPPY, PAGE_BYTES, 0)
    with pytest.raises(SetupError, match=sentence):
        make_packer(Compression.SNAPPY)

"""Every codec gives exactly one page or an error, in no more memory than a page needs."""

import contextlib
import tracemalloc
import zlib
from concurrent.futures import ThreadPoolExecutor

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from fadump.errors import FormatError, SetupError
from fadump.vmcore import codecs
from fadump.vmcore.codecs import unpack_page
from tests.vmcore.kdump_builder import CODECS, PAGE_BYTES, ZLIB, ZSTD, snappy_compress

INFLATES = {"zlib": zlib}
with contextlib.suppress(ImportError):  # an optional package; tests/test_optional.py wants it in make test
    from isal import isal_zlib

    INFLATES["isal"] = isal_zlib

packing = pytest.mark.parametrize("codec", [codec for codec in CODECS if codec != "raw"])


@given(st.sampled_from(sorted(CODECS)), st.binary(min_size=1, max_size=300), st.sampled_from([4096, 65536]))
def test_what_is_packed_is_unpacked(codec, pattern, page_bytes):
    flags, pack = CODECS[codec]
    page = (pattern * page_bytes)[:page_bytes]
    assert unpack_page(pack(page), flags, page_bytes, 0) == page


@pytest.mark.parametrize("codec", CODECS)
def test_threads_unpack_at_once(codec):
    flags, pack = CODECS[codec]
    pages = [bytes([number]) * size for number in range(64) for size in (PAGE_BYTES, 16 * PAGE_BYTES)]
    packed = [pack(page) for page in pages]
    with ThreadPoolExecutor(4) as threads:
        unpacked = threads.map(lambda data, page: unpack_page(data, flags, len(page), 0), packed * 4, pages * 4)
        assert list(unpacked) == pages * 4


@pytest.fixture(params=INFLATES)
def inflate(request, monkeypatch):
    """Either library that unpacks zlib's pages."""
    module = INFLATES[request.param]
    monkeypatch.setattr(codecs, "_inflate", module)
    monkeypatch.setattr(codecs, "_inflate_error", module.error)


@pytest.mark.parametrize("level", range(10))
def test_zlib_is_unpacked_by_either_library(inflate, level):
    page = bytes(range(256)) * 8 + bytes(2048)
    assert unpack_page(zlib.compress(page, level), ZLIB, PAGE_BYTES, 0) == page


@pytest.mark.parametrize(
    "spoil",
    [
        lambda data: data[:-1],
        lambda data: data[:-4],
        lambda data: data[:-1] + bytes([data[-1] ^ 1]),
        lambda data: data[5:],
        lambda data: data[:0],
    ],
    ids=["no last byte", "no checksum", "wrong checksum", "no beginning", "nothing"],
)
def test_zlib_that_is_damaged_is_refused_by_either_library(inflate, spoil):
    with pytest.raises(FormatError, match="unpack"):
        unpack_page(spoil(zlib.compress(bytes(range(256)) * 16)), ZLIB, PAGE_BYTES, 0)


def test_zlib_that_would_grow_huge_is_refused_by_either_library(inflate):
    packed = zlib.compress(bytes(64 << 20), 9)
    tracemalloc.start()
    try:
        with pytest.raises(FormatError):
            unpack_page(packed, ZLIB, PAGE_BYTES, 0)
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()


def test_isal_is_what_is_used_where_it_is_there():
    assert codecs._inflate is INFLATES.get("isal", zlib)


def test_other_flags_of_a_page_say_nothing_about_its_packing():
    assert unpack_page(zlib.compress(bytes(PAGE_BYTES)), ZLIB | 0x18, PAGE_BYTES, 0) == bytes(PAGE_BYTES)


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("size", [0, 1, PAGE_BYTES - 1, PAGE_BYTES + 1, 3 * PAGE_BYTES])
def test_a_page_of_another_size_is_refused(codec, size):
    flags, pack = CODECS[codec]
    with pytest.raises(FormatError) as error:
        unpack_page(pack(bytes(size)), flags, PAGE_BYTES, 0x1234)
    assert error.value.offset == 0x1234


@packing
def test_packed_bytes_cut_short_are_refused(codec):
    flags, pack = CODECS[codec]
    packed = pack(bytes(range(256)) * 16)
    for length in range(len(packed)):
        with pytest.raises(FormatError):
            unpack_page(packed[:length], flags, PAGE_BYTES, 0)


@given(st.sampled_from(sorted(CODECS)), st.data())
def test_packed_bytes_with_flipped_bits_are_a_page_or_refused(codec, data):
    flags, pack = CODECS[codec]
    packed = bytearray(pack(bytes(range(256)) * 16))
    for bit in data.draw(st.lists(st.integers(0, len(packed) * 8 - 1), min_size=1, max_size=4)):
        packed[bit // 8] ^= 1 << bit % 8
    with contextlib.suppress(FormatError):
        assert len(unpack_page(bytes(packed), flags, PAGE_BYTES, 0)) == PAGE_BYTES


@given(st.sampled_from(sorted(CODECS)), st.binary(max_size=200))
def test_any_bytes_are_a_page_or_refused(codec, packed):
    with contextlib.suppress(FormatError):
        assert len(unpack_page(packed, CODECS[codec][0], PAGE_BYTES, 0)) == PAGE_BYTES


@pytest.mark.parametrize("flags", [0x3, 0x21, 0x27])
def test_a_page_packed_twice_is_refused(flags):
    with pytest.raises(FormatError, match="unknown way"):
        unpack_page(bytes(PAGE_BYTES), flags, PAGE_BYTES, 0)


def unsized_zstd(data):
    packer = zstandard.ZstdCompressor(write_content_size=False).compressobj()
    return packer.compress(data) + packer.flush()


@pytest.mark.parametrize(
    ("flags", "packed"),
    [
        (ZLIB, zlib.compress(bytes(64 << 20), 9)),
        (4, b"\xff\xff\xff\xff\x0f" + bytes(20)),  # snappy that claims to be 4 GiB
        (4, snappy_compress(bytes(16 << 20))),
        (ZSTD, zstandard.ZstdCompressor().compress(bytes(64 << 20))),
        (ZSTD, b"\x28\xb5\x2f\xfd\xe0" + b"\xff" * 8 + bytes(20)),  # zstd that claims to be 2^64 - 1 bytes
        (ZSTD, unsized_zstd(bytes(64 << 20))),
    ],
)
def test_what_would_grow_huge_is_refused_in_little_memory(flags, packed):
    tracemalloc.start()
    try:
        with pytest.raises(FormatError):
            unpack_page(packed, flags, PAGE_BYTES, 0)
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()


def test_zstd_that_does_not_say_its_size_is_unpacked():
    assert unpack_page(unsized_zstd(bytes(PAGE_BYTES)), ZSTD, PAGE_BYTES, 0) == bytes(PAGE_BYTES)


def test_without_the_lzo_library_the_sentence_names_its_package(monkeypatch):
    monkeypatch.setattr(codecs, "_LZO_LIBRARY", "libno-such-thing.so.9")
    codecs.lzo_function.cache_clear()
    with pytest.raises(SetupError, match="apt-get install liblzo2-2"):
        unpack_page(b"", CODECS["lzo"][0], PAGE_BYTES, 0)
    monkeypatch.undo()
    codecs.lzo_function.cache_clear()

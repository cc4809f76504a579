import numpy as np
import pytest

from fadump.capture.packers import Compression, make_packer
from fadump.vmcore.codecs import unpack_page


def pages_of(page_bytes, seed=1):
    """Pages that get smaller, and ones that don't: random bytes."""
    rng = np.random.default_rng(seed)
    smaller = [bytes([number]) * page_bytes for number in range(5)]
    larger = [rng.integers(0, 256, page_bytes, np.uint8).tobytes() for _ in range(3)]
    return [page for pair in zip(smaller, [*larger, *larger], strict=False) for page in pair]


def unpacked(packed, compression, page_bytes):
    ends = np.cumsum(packed.sizes).tolist()
    assert ends[-1] == len(packed.data)
    parts = [bytes(packed.data[end - size : end]) for end, size in zip(ends, packed.sizes.tolist(), strict=True)]
    flags = [compression.flag if len(part) < page_bytes else 0 for part in parts]
    return [unpack_page(part, flag, page_bytes, 0) for part, flag in zip(parts, flags, strict=True)]


@pytest.mark.parametrize("page_bytes", [4096, 65536])
@pytest.mark.parametrize("compression", Compression)
def test_pages_are_packed_end_to_end_and_as_they_are_where_they_get_no_smaller(compression, page_bytes):
    pages = pages_of(page_bytes)
    data = np.frombuffer(b"".join(pages), np.uint8)
    places = np.array([0, 1, 2, 5, 6, 9])
    packed = make_packer(compression)(data, places * page_bytes, page_bytes)
    assert unpacked(packed, compression, page_bytes) == [pages[place] for place in places]
    assert packed.sizes[1] == page_bytes
    assert compression is Compression.NONE or packed.sizes[0] < page_bytes // 8


@pytest.mark.parametrize("compression", Compression)
def test_what_was_packed_stays_as_it_is_while_more_is_packed_from_the_same_memory(compression):
    pack, memory = make_packer(compression), np.empty(10 * 4096, np.uint8)
    starts = np.arange(10) * 4096
    both = [pages_of(4096, seed) for seed in (1, 2)]
    packed = []
    for pages in both:
        memory[:] = np.frombuffer(b"".join(pages), np.uint8)
        packed.append(pack(memory, starts, 4096))
    assert [unpacked(done, compression, 4096) for done in packed] == both


@pytest.mark.parametrize("compression", Compression)
def test_no_pages_are_packed_to_nothing(compression):
    packed = make_packer(compression)(np.zeros(4096, np.uint8), np.empty(0, np.int64), 4096)
    assert bytes(packed.data) == b"" and not len(packed.sizes)

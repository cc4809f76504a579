"""A bitmap counts, ranks and lists as a plain list of booleans does, whole or cut short."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fadump.vmcore import bitmap as module
from fadump.vmcore.bitmap import PageBitmap
from tests.vmcore.dump_helpers import BytesSource


def plain(data, pages):
    bits = np.unpackbits(np.frombuffer(data, np.uint8), bitorder="little")[:pages].astype(bool)
    return np.concatenate([bits, np.zeros(pages - len(bits), dtype=bool)])


@given(st.binary(max_size=40), st.integers(0, 400), st.integers(0, 3), st.data())
def test_it_is_a_list_of_booleans(data, pages, offset, draw):
    file = BytesSource(bytes(offset) + data)
    bitmap = PageBitmap(file, offset, pages)
    file.close()  # it has all it needs
    bits = plain(data, pages)
    assert bitmap.pages_known == min(pages, 8 * len(data))
    assert bitmap.count == bits.sum()
    assert [page in bitmap for page in range(-1, pages + 1)] == [False, *bits, False]
    assert [bitmap.rank(page) for page in range(pages + 1)] == [int(bits[:page].sum()) for page in range(pages + 1)]
    start = draw.draw(st.integers(0, pages))
    end = draw.draw(st.integers(start, pages))
    assert (bitmap.flags(start, end) == bits[start:end]).all()


@pytest.mark.parametrize("chunk_bytes", [512, 1 << 20])
def test_ranks_and_runs_are_right_across_blocks_and_chunks(monkeypatch, chunk_bytes):
    monkeypatch.setattr(module, "_CHUNK_BYTES", chunk_bytes)
    monkeypatch.setattr(module, "_RUNS_BYTES", chunk_bytes)
    data = np.random.default_rng(1).integers(0, 256, 2500, dtype=np.uint8)
    data[600:1600] = 255
    file = BytesSource(data.tobytes())
    bitmap = PageBitmap(file, 0, 8 * len(data))
    file.close()
    bits = plain(data, 8 * len(data))
    before = np.concatenate([[0], np.cumsum(bits)])
    for page in [*range(0, 20000, 97), 4095, 4096, 4097, 8192, 20000, 30000]:
        assert bitmap.rank(page) == before[min(page, 20000)]
    listed = np.zeros(len(bits), dtype=bool)
    for start, end in bitmap.runs():
        assert bits[start:end].all() and not listed[start:end].any()
        listed[start:end] = True
    assert (listed == bits).all()


def test_a_bitmap_beyond_the_file_knows_nothing():
    file = BytesSource(b"short")
    bitmap = PageBitmap(file, 4096, 1 << 33)
    file.close()
    assert (bitmap.pages_known, bitmap.count, bitmap.rank(5), list(bitmap.runs())) == (0, 0, 0, [])
    assert not bitmap.flags(1, 9).any()


@pytest.mark.parametrize("counts", [module.bits_in, module._count_by_table], ids=["numpy's, from 2.0", "ours"])
def test_the_bits_of_every_byte_are_counted(counts):
    data = np.arange(256, dtype=np.uint8)
    assert counts(data).tolist() == [f"{byte:b}".count("1") for byte in range(256)]
    assert counts(data[:0]).sum() == 0

"""The bitmaps of a kdump-compressed file: one bit a page, the lowest bit of a byte first.

A page's descriptor is found by the page's rank: how many pages before it have their bit set. With a count kept for
every 512 pages, that takes one look-up and a count over at most 64 bytes, for an eighth more memory.
"""

from collections.abc import Callable, Iterator

import numpy as np
import numpy.typing as npt

from fadump.memory.ranges import Range
from fadump.vmcore.source import Source

_BLOCK_BYTES = 64
_BLOCK_PAGES = 8 * _BLOCK_BYTES
_CHUNK_BYTES = 1 << 20
"""How much is counted at once; whole blocks."""
_RUNS_BYTES = 1 << 15
"""How much is searched for runs at once, of which it may have four in each byte."""
_BITS_IN = np.array([byte.bit_count() for byte in range(256)], np.uint8)

Bytes = npt.NDArray[np.uint8]


def _count_by_table(data: Bytes) -> Bytes:
    counts: Bytes = _BITS_IN[data]
    return counts


bits_in: Callable[[Bytes], Bytes] = getattr(np, "bitwise_count", _count_by_table)  # numpy has it from 2.0 on
"""How many bits are set in each byte."""


class PageBitmap:
    """Bits of pages 0 up to ``pages``. Only the first ``pages_known`` are in the file; the others count as not set."""

    def __init__(self, source: Source, offset: int, pages: int) -> None:
        """Read the bitmap at ``offset``, as far as the file has it. It takes ``pages`` / 8 bytes of memory,
        without those that are zeros.

        :raises OSError: the file can't be read.
        """
        there = max(0, min(-(-pages // 8), source.size_bytes - offset))
        self.pages = pages
        self.pages_known = min(pages, there * 8)
        self._data = np.zeros(there, np.uint8).data  # the system sets nothing aside for parts that stay zeros
        for data in source.data_ranges(Range.sized(offset, there)) if there else ():
            source.read_into(data.start, self._data[data.start - offset : data.end - offset], "page bitmap")
        if self.pages_known % 8:
            self._data[-1] &= (1 << self.pages_known % 8) - 1
        counts = self._block_counts()
        before = np.zeros(len(counts) + 1, np.int64)
        np.cumsum(counts, out=before[1:])
        self._before = before.data  # indexing it gives Python's integers

    def __contains__(self, page: int) -> bool:
        return self.rank_if_set(page) is not None

    @property
    def count(self) -> int:
        """How many bits are set."""
        return self._before[-1]

    def rank_if_set(self, page: int) -> int | None:
        """How many pages before ``page`` have their bit set; None if its own isn't set."""
        if not 0 <= page < self.pages_known:
            return None
        block = page // _BLOCK_PAGES
        bit = 1 << page % _BLOCK_PAGES
        bits = int.from_bytes(self._data[block * _BLOCK_BYTES : (page >> 3) + 1], "little")
        return self._before[block] + (bits & bit - 1).bit_count() if bits & bit else None

    def rank(self, page: int) -> int:
        """How many pages before ``page`` have their bit set."""
        page = min(page, self.pages_known)
        block, rest = divmod(page, _BLOCK_PAGES)
        bits = int.from_bytes(self._data[block * _BLOCK_BYTES : (page + 7) >> 3], "little")
        return self._before[block] + (bits & ((1 << rest) - 1)).bit_count()

    def count_between(self, start: int, end: int) -> int:
        """How many pages from ``start`` up to ``end`` have their bit set."""
        return self.rank(end) - self.rank(start)

    def flags(self, start: int, end: int) -> npt.NDArray[np.bool_]:
        """Whether each page from ``start`` up to ``end`` has its bit set; the array is as long as the range."""
        flags = np.zeros(end - start, dtype=np.bool_)
        known = min(end, self.pages_known)
        if start < known:
            first = start >> 3
            raw = np.frombuffer(self._data, np.uint8, ((known + 7) >> 3) - first, first)
            bits = np.unpackbits(raw, bitorder="little")
            flags[: known - start] = bits[start - 8 * first : known - 8 * first]
        return flags

    def runs(self) -> Iterator[tuple[int, int]]:
        """Where bits are set: first page and page after the last, rising. Adjacent runs may not be merged."""
        for start in range(0, self.pages_known, 8 * _RUNS_BYTES):
            end = min(start + 8 * _RUNS_BYTES, self.pages_known)
            if not self.count_between(start, end):
                continue
            padded = np.zeros(end - start + 2, dtype=np.int8)
            padded[1:-1] = self.flags(start, end)
            edges = np.flatnonzero(np.diff(padded)) + start
            yield from zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True)

    def _block_counts(self) -> npt.NDArray[np.uint16]:
        counts = []
        for at in range(0, len(self._data), _CHUNK_BYTES):
            chunk = np.frombuffer(self._data, np.uint8, min(_CHUNK_BYTES, len(self._data) - at), at)
            starts = np.arange(0, len(chunk), _BLOCK_BYTES)
            counts.append(np.add.reduceat(bits_in(chunk), starts, dtype=np.uint16))
        return np.concatenate(counts) if counts else np.zeros(0, dtype=np.uint16)

"""Reading, looking for zeros, packing: a batch of pages at a time, in threads, in order.

Step "saved" of docs/architecture.md. Threads take batches from one bounded queue and whoever asked gets them back in
the order of pages; nobody waits busily, and no more than a few batches are in memory at any time.
"""

from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from threading import local
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from fadump.capture.batches import Batch, Has, Numbers, read_span
from fadump.capture.packers import Compression, Pack, crc32, make_packer
from fadump.vmcore.core import Bytes, Dump

_AHEAD = 2
"""How many batches wait for each thread, being read, packed, or to be written."""


@dataclass(frozen=True, slots=True)
class PackedBatch:
    """Pages as they are to stand in a file, end to end in ``data``, which has the checksum ``crc``.

    For each of ``pages``: how many bytes of ``data`` are its own, ``sizes``, and how they are packed, ``flags``. Pages
    of ``zeros`` and those that are ``missing`` have none.
    """

    pages: Numbers
    data: bytes
    crc: int
    sizes: npt.NDArray[np.uint32]
    flags: npt.NDArray[np.uint32]
    zeros: npt.NDArray[np.bool_]
    missing: npt.NDArray[np.bool_]


class Packing:
    """Packs the batches of one dump. Also a context manager: leaving it waits for what runs and drops the rest."""

    def __init__(self, dump: Dump, page_bytes: int, compression: Compression, threads: int) -> None:
        """:raises SetupError: the host lacks a library."""
        self._dump = dump
        self._page_bytes = page_bytes
        self._compression = compression
        self._most = threads * _AHEAD + 1
        self._mine = local()
        make_packer(compression)  # so that a missing library is known here and not in a thread
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="pack")
        self._queue: deque[Future[PackedBatch]] = deque()

    def packed(self, batches: Iterator[Batch]) -> Iterator[PackedBatch]:
        """The same batches packed, in the same order.

        :raises FadumpError: the dump can't be read: it doesn't unpack, or was made shorter meanwhile.
        :raises OSError: as above.
        """
        for batch in batches:
            self._queue.append(self._pool.submit(self._pack, batch))
            if len(self._queue) >= self._most:
                yield self._queue.popleft().result()
        while self._queue:
            yield self._queue.popleft().result()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self._pool.shutdown(cancel_futures=True)

    def _pack(self, batch: Batch) -> PackedBatch:
        page_bytes = self._page_bytes
        zeros, missing = np.zeros(batch.count, np.bool_), np.zeros(batch.count, np.bool_)
        pages: list[memoryview] = []
        at = 0
        for span in batch.spans:
            here = slice(at, at + len(span.pages))
            at = here.stop
            if span.has is Has.NOTHING:
                missing[here] = True
                continue
            data, places = read_span(self._dump, span, page_bytes)
            zeros[here] = zero = _are_zeros(data, places, page_bytes)
            view = data.data
            starts = (places[~zero] * page_bytes).tolist()
            pages += [view[start : start + page_bytes] for start in starts]
        packed: list[Any] = list(self._packer()(pages))
        sizes = np.fromiter(map(len, packed), np.uint32, len(packed))
        raw = np.flatnonzero(sizes >= page_bytes)
        for number in raw.tolist():
            packed[number] = pages[number]
        sizes[raw] = page_bytes
        flags = np.full(len(packed), self._compression.flag, np.uint32)
        flags[raw] = 0
        has_bytes = ~(zeros | missing)
        data_bytes = b"".join(packed)
        return PackedBatch(
            pages=np.concatenate([span.pages for span in batch.spans]),
            data=data_bytes,
            crc=crc32(data_bytes),
            sizes=_spread(sizes, has_bytes),
            flags=_spread(flags, has_bytes),
            zeros=zeros,
            missing=missing,
        )

    def _packer(self) -> Pack:
        """The thread's own."""
        packer: Pack | None = getattr(self._mine, "packer", None)
        if packer is None:
            packer = self._mine.packer = make_packer(self._compression)
        return packer


def _are_zeros(data: Bytes, places: Numbers, page_bytes: int) -> npt.NDArray[np.bool_]:
    """Which of the pages at ``places`` of ``data`` are all zeros. Most others are known by a few of their words."""
    words = data.view(np.uint64).reshape(-1, page_bytes // 8)
    zeros = np.ones(len(places), np.bool_)
    for column in (0, words.shape[1] // 2, words.shape[1] - 1):
        zeros &= words[places, column] == 0
    maybe = np.flatnonzero(zeros)
    if len(maybe):
        zeros[maybe] = ~words[places[maybe]].any(axis=1)
    return zeros


def _spread(values: npt.NDArray[np.uint32], where: npt.NDArray[np.bool_]) -> npt.NDArray[np.uint32]:
    spread = np.zeros(len(where), np.uint32)
    spread[where] = values
    return spread

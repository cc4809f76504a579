"""Reading, looking for zeros, packing: a batch of pages at a time, in threads, in order.

Step "saved" of docs/architecture.md; the threads are :mod:`fadump.capture.threads`.
"""

from dataclasses import dataclass, replace
from threading import local
from typing import Any

import numpy as np
import numpy.typing as npt

from fadump.capture.batches import BATCH_BYTES, Batch, Has, Numbers, Zeros, read_span
from fadump.capture.packers import Compression, crc32, make_packer
from fadump.capture.unreadable import NONE, Unreadable, without_unreadable
from fadump.vmcore.contract import UNREADABLE, Bytes, Dump


@dataclass(frozen=True, slots=True)
class PackedBatch:
    """Packed pages as they are written to a file, end to end in ``data``, whose checksum is ``crc``.

    Each of ``pages`` has as many bytes of ``data`` as ``sizes`` says, packed as ``flags`` says. Pages that are
    ``missing`` have none, nor have pages of ``zeros`` unless :class:`Packer` was told otherwise. Those that turned out
    to be ``unreadable`` are missing, too.
    """

    pages: Numbers
    data: bytes | memoryview
    crc: int
    sizes: npt.NDArray[np.uint32]
    flags: npt.NDArray[np.uint32]
    zeros: npt.NDArray[np.bool_]
    missing: npt.NDArray[np.bool_]
    unreadable: Unreadable = NONE


class _Mine(local):
    """What each thread has of its own: a packer, and memory to read into, for the spans of a batch."""

    def __init__(self, compression: Compression) -> None:
        self.pack = make_packer(compression)
        self.buffer = np.empty(BATCH_BYTES, np.uint8)


class Packer:
    """Packs the batches of one dump; it may be called from several threads."""

    def __init__(self, dump: Dump, page_bytes: int, compression: Compression, *, zeros_too: bool = False) -> None:
        """With ``zeros_too``, pages of zeros have their bytes in the data like all others.

        :raises SetupError: the host lacks a library.
        """
        self._dump = dump
        self._page_bytes = page_bytes
        self._compression = compression
        self._zeros_too = zeros_too
        self._mine = _Mine(compression)  # a missing library is found here and not in a thread

    def pack(self, batch: Batch | Zeros) -> PackedBatch | Zeros:
        """A batch packed; zeros that aren't read stay as they are. Errors are those of :meth:`pack_batch`."""
        return batch if isinstance(batch, Zeros) else self.pack_batch(batch)

    def pack_batch(self, batch: Batch) -> PackedBatch:
        """A batch packed, of whatever can be read of it.

        :raises SetupError: the host lacks a library that its pages need.
        """
        try:
            return self._pack_all(batch)
        except UNREADABLE:
            rest, unreadable = without_unreadable(self._dump, batch, self._page_bytes)
            return replace(self._pack_all(rest), unreadable=unreadable)

    def _pack_all(self, batch: Batch) -> PackedBatch:
        page_bytes = self._page_bytes
        zeros, missing = np.zeros(batch.count, np.bool_), np.zeros(batch.count, np.bool_)
        packed: list[bytes | memoryview] = []
        all_sizes = [np.empty(0, np.uint32)]
        at = 0
        for span in batch.spans:
            here = slice(at, at + len(span.pages))
            at = here.stop
            if span.has is Has.NOTHING:
                missing[here] = True
                continue
            data, places = read_span(self._dump, span, page_bytes, self._mine.buffer)
            zeros[here] = zero = are_zeros(data, places, page_bytes)
            kept = places if self._zeros_too else places[~zero]
            here_packed = self._mine.pack(data, kept * page_bytes, page_bytes)
            packed.append(here_packed.data)
            all_sizes.append(here_packed.sizes)
        sizes = np.concatenate(all_sizes)
        flags = np.where(sizes < page_bytes, self._compression.flag, 0)
        has_bytes = ~missing if self._zeros_too else ~(zeros | missing)
        data_bytes = packed[0] if len(packed) == 1 else b"".join(packed)
        return PackedBatch(
            pages=np.concatenate([span.pages for span in batch.spans]),
            data=data_bytes,
            crc=crc32(data_bytes),
            sizes=_spread(sizes, has_bytes),
            flags=_spread(flags, has_bytes),
            zeros=zeros,
            missing=missing,
        )


def are_zeros(data: Bytes, places: Numbers, page_bytes: int) -> npt.NDArray[np.bool_]:
    """Which of the pages at ``places`` of ``data`` are all zeros. A few words are enough to rule out most others."""
    words = data.view(np.uint64).reshape(-1, page_bytes // 8)
    maybe = np.arange(len(places))
    for column in (0, words.shape[1] // 2, words.shape[1] - 1):
        maybe = maybe[words[places[maybe], column] == 0]
    zeros = np.zeros(len(places), np.bool_)
    zeros[maybe] = ~words[places[maybe]].any(axis=1)
    return zeros


def _spread(values: npt.NDArray[Any], where: npt.NDArray[np.bool_]) -> npt.NDArray[np.uint32]:
    spread = np.zeros(len(where), np.uint32)
    spread[where] = values
    return spread

"""How much of a save that was interrupted is there, and right.

Step "saved" of docs/architecture.md. Nothing is taken on trust: whatever is to be kept is read back and compared with
the source.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np

from fadump.capture.batches import BATCH_BYTES, Batch, Has, cut_batches, read_span
from fadump.capture.packing import are_zeros
from fadump.capture.selection import Selection
from fadump.capture.threads import InOrder
from fadump.errors import AddressError, FormatError
from fadump.memory.ranges import Range
from fadump.vmcore.core import READABLE, Dump


@dataclass(frozen=True, slots=True)
class Kept:
    """All wanted pages up to number ``until`` are there and right; so many of them are zeros."""

    until: int
    zeros: int


def kept_pages(source: Dump, there: Dump, selection: Selection, pages: Range, threads: InOrder) -> Kept:
    """How much of the wanted pages, of those numbered ``pages``, is ``there`` as it is in ``source``.

    :raises FadumpError: the source can't be read.
    :raises OSError: neither can.
    """
    zeros = 0
    for found in threads.map(
        partial(_compare, source, there, selection), cut_batches(source, selection, pages, BATCH_BYTES)
    ):
        if not found.same:
            return Kept(found.first_page, zeros)
        zeros += found.zeros
    return Kept(pages.end, zeros)


@dataclass(frozen=True, slots=True)
class _Compared:
    first_page: int
    same: bool
    zeros: int


def _compare(source: Dump, there: Dump, selection: Selection, batch: Batch) -> _Compared:
    same, zeros = True, 0
    for span in batch.spans:
        if span.has is not Has.NOTHING:
            data, places = read_span(source, span, selection.page_bytes)
            zeros += int(are_zeros(data, places, selection.page_bytes).sum())
            same = same and _is_there(source, there, span.pages.tolist(), selection.page_bytes)
    return _Compared(int(batch.spans[0].pages[0]), same, zeros)


def _is_there(source: Dump, there: Dump, pages: list[int], page_bytes: int) -> bool:
    for run in _runs(pages):
        for piece in source.mapping(Range(run.start * page_bytes, run.end * page_bytes)):
            if piece.state not in READABLE:
                continue
            try:
                found = there.read_physical(piece.range.start, piece.range.size_bytes)
            except (AddressError, FormatError):
                return False
            if not np.array_equal(source.view_physical(piece.range), np.frombuffer(found, np.uint8)):
                return False
    return True


def _runs(pages: list[int]) -> Iterator[Range]:
    start = last = pages[0]
    for page in pages[1:]:
        if page != last + 1:
            yield Range(start, last + 1)
            start = page
        last = page
    yield Range(start, last + 1)

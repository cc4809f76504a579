"""How much of an interrupted save is there and right.

Step "saved" of docs/architecture.md. Whatever is to be kept is read back and compared with the source.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np

from fadump.capture.batches import BATCH_BYTES, Batch, Has, Zeros, cut_batches, read_span
from fadump.capture.packing import are_zeros
from fadump.capture.selection import Selection
from fadump.capture.threads import InOrder
from fadump.memory.ranges import Range
from fadump.vmcore.contract import READABLE, UNREADABLE, Dump


@dataclass(frozen=True, slots=True)
class Kept:
    """All wanted pages up to number ``until`` are there and right; ``zeros`` of them are zeros."""

    until: int
    zeros: int


def kept_pages(source: Dump, there: Dump, selection: Selection, pages: Range, threads: InOrder) -> Kept:
    """How many of the wanted pages with a number in ``pages`` are ``there`` as they are in ``source``.

    :raises SetupError: the host lacks a library that either needs.
    """
    zeros = 0
    compare = partial(_zeros_if_there, source, there, selection)
    for batch, found in threads.map(
        lambda batch: (batch, compare(batch)), cut_batches(source, selection, pages, BATCH_BYTES)
    ):
        if found is None:
            return Kept(batch.first_page, zeros)
        zeros += found
    return Kept(pages.end, zeros)


def _zeros_if_there(source: Dump, there: Dump, selection: Selection, batch: Batch | Zeros) -> int | None:
    """How many pages of a batch are zeros; None if one of them is not there, not the same, or can't be read."""
    zeros = 0
    try:
        if isinstance(batch, Zeros):
            return batch.pages.size_bytes if _has_zeros(source, there, batch.pages, selection.page_bytes) else None
        for span in batch.spans:
            if span.has is not Has.NOTHING:
                data, places = read_span(source, span, selection.page_bytes)
                zeros += int(are_zeros(data, places, selection.page_bytes).sum())
                if not _is_there(source, there, span.pages.tolist(), selection.page_bytes):
                    return None
    except UNREADABLE:
        return None
    return zeros


def _has_zeros(source: Dump, there: Dump, pages: Range, page_bytes: int) -> bool:
    """Whether pages that are zeros in ``source`` are zeros ``there``; only what isn't known to be is read."""
    for piece in source.mapping(Range(pages.start * page_bytes, pages.end * page_bytes)):
        if piece.state not in READABLE:
            continue
        if any(found.state not in READABLE for found in there.mapping(piece.range)):
            return False
        for data in there.data_ranges(piece.range):
            for at in range(data.start, data.end, BATCH_BYTES):
                if any(there.read_physical(at, min(BATCH_BYTES, data.end - at))):
                    return False
    return True


def _is_there(source: Dump, there: Dump, pages: list[int], page_bytes: int) -> bool:
    for run in _runs(pages):
        for piece in source.mapping(Range(run.start * page_bytes, run.end * page_bytes)):
            if piece.state in READABLE:
                found = there.read_physical(piece.range.start, piece.range.size_bytes)
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

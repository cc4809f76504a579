"""Cutting the wanted pages into batches, each of which one thread reads and packs.

Step "saved" of docs/architecture.md. Long runs of pages that are known to be zeros are cut out first, so that none of
them costs anything. A batch is a few milliseconds of work, so that what Python does once per batch hardly counts, and
less than a processor's cache holds. Its pages are read in spans that may have unwanted pages in between, as skipping a
few pages costs less than another read. No span is longer than a batch, so that a thread reads into the same memory
again and again, nor longer than what a view reads at once, so that a failing disk is an error and not a signal.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import Enum
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from fadump.capture.selection import Selection
from fadump.memory.ranges import Range
from fadump.vmcore.contract import READABLE, Bytes, Dump
from fadump.vmcore.source import MOST_POPULATED_BYTES

BATCH_BYTES = 2 << 20
_ALL_BATCHES_BYTES = 96 << 20
"""How much memory the batches of all threads may take: a capture kernel has little."""
_LEAST_BATCH_BYTES = 256 << 10
_MOST_APART_PAGES = 16
LEAST_ZEROS_BYTES = 4 << 20
"""Known zeros are read like data if they are fewer, as each end of theirs is one of a batch, too."""
_MOST_ZEROS_PAGES = 1 << 18
"""So that their descriptors, if there are any, take little memory."""

Numbers = npt.NDArray[np.int64]


class Has(Enum):
    """What a dump has of some wanted pages."""

    WHOLE = "whole"
    PARTS = "parts"
    """Memory begins or ends within each of them."""
    NOTHING = "nothing"
    """The dump should have them and doesn't."""


@dataclass(frozen=True, slots=True)
class Span:
    """Wanted pages that are read at once, by their rising numbers. Between whole ones there may be unwanted ones."""

    pages: Numbers
    has: Has


@dataclass(frozen=True, slots=True)
class Batch:
    """Spans in rising order; ``count`` pages in all."""

    spans: tuple[Span, ...]
    count: int

    @property
    def first_page(self) -> int:
        """The number of its first page."""
        return int(self.spans[0].pages[0])


@dataclass(frozen=True, slots=True)
class Zeros:
    """Wanted pages, one after another, of which none is read, as it is known that they are zeros."""

    pages: Range

    @property
    def first_page(self) -> int:
        """The number of its first page."""
        return self.pages.start


def batch_bytes_for(threads: int) -> int:
    """How large a batch may be if so many threads have several at a time."""
    return min(BATCH_BYTES, max(_LEAST_BATCH_BYTES, _ALL_BATCHES_BYTES // (4 * threads)))


def cut_batches(dump: Dump, selection: Selection, pages: Range, batch_bytes: int) -> Iterator[Batch | Zeros]:
    """All wanted pages of those numbered ``pages``, in order, in batches of so many bytes, or of one page that is
    larger; between them what is zeros, if that is long.

    :raises OSError: the dump can't be read.
    """
    at = pages.start
    for run in long_zeros(selection, LEAST_ZEROS_BYTES):
        zeros = run.intersection(pages)
        if zeros is not None:
            yield from _batches(dump, selection, Range(at, zeros.start), batch_bytes)
            for start in range(zeros.start, zeros.end, _MOST_ZEROS_PAGES):
                yield Zeros(Range(start, min(start + _MOST_ZEROS_PAGES, zeros.end)))
            at = zeros.end
    yield from _batches(dump, selection, Range(at, pages.end), batch_bytes)


def long_zeros(selection: Selection, least_bytes: int) -> Iterator[Range]:
    """Runs of wanted pages that are known to be zeros, of so many bytes or more."""
    least_pages = -(-least_bytes // selection.page_bytes)
    zeros = selection.zeros.intersection(selection.wanted)
    return (run for run in zeros.runs() if run.size_bytes >= least_pages)


def _batches(dump: Dump, selection: Selection, pages: Range, batch_bytes: int) -> Iterator[Batch]:
    most = max(1, batch_bytes // selection.page_bytes)
    spans: list[Span] = []
    count = 0
    for span in _spans(dump, selection, pages, most):
        if count + len(span.pages) > most:
            yield Batch(tuple(spans), count)
            spans, count = [], 0
        spans.append(span)
        count += len(span.pages)
    if spans:
        yield Batch(tuple(spans), count)


def read_span(dump: Dump, span: Span, page_bytes: int, buffer: Bytes | None = None) -> tuple[Bytes, Numbers]:
    """The bytes of a span that has any, in ``buffer`` or elsewhere, and where its pages are in them, counted in pages.

    :raises FadumpError: the dump doesn't have them after all, they don't unpack, or it can't be read.
    """
    if span.has is Has.PARTS:
        parts = [read_partial_page(dump, page, page_bytes) for page in span.pages.tolist()]
        return np.frombuffer(b"".join(parts), np.uint8), np.arange(len(parts))
    first, last = int(span.pages[0]), int(span.pages[-1])
    where = Range(first * page_bytes, (last + 1) * page_bytes)
    if buffer is None or where.size_bytes > len(buffer):
        return dump.view_physical(where), span.pages - first
    return dump.read_or_view(where, buffer), span.pages - first


def read_partial_page(dump: Dump, page: int, page_bytes: int) -> bytes:
    """A page of which the dump has only a part; the rest is no memory and becomes zeros, as with makedumpfile."""
    parts = []
    for piece in dump.mapping(Range.sized(page * page_bytes, page_bytes)):
        if piece.state in READABLE:
            parts.append(dump.read_physical(piece.range.start, piece.range.size_bytes))
        else:
            parts.append(bytes(piece.range.size_bytes))
    return b"".join(parts)


def _spans(dump: Dump, selection: Selection, pages: Range, most: int) -> Iterator[Span]:
    for window in selection.wanted.windows(pages.start, pages.end):
        numbers = np.flatnonzero(selection.wanted.flags(window.start, window.end))
        owners, has, skipped = _owners(dump, selection, window)
        owner = owners[numbers]
        cuts = (np.diff(owner) != 0) | (np.diff(numbers) > skipped[owner[1:]])
        for first, last in _pairs(cuts, numbers, min(most, MOST_POPULATED_BYTES // selection.page_bytes)):
            yield Span(numbers[first:last] + window.start, has[owner[first]])


def _owners(
    dump: Dump, selection: Selection, window: Range
) -> tuple[npt.NDArray[np.int32], Sequence[Has], npt.NDArray[np.int32]]:
    """For each page of a window the number of its owner: a piece of the dump that has all of it, or none that has.

    For each owner: what the dump has of its pages, and how far apart two of them may be to be read in one go.
    """
    page_bytes = selection.page_bytes
    has, apart = [Has.PARTS, Has.NOTHING], [1, 1]
    owners = selection.missing.flags(window.start, window.end).astype(np.int32)
    for piece in dump.mapping(Range(window.start * page_bytes, window.end * page_bytes)):
        first, last = -(-piece.range.start // page_bytes), piece.range.end // page_bytes
        if piece.state in READABLE and first < last:
            owners[first - window.start : last - window.start] = len(has)
            has.append(Has.WHOLE)
            apart.append(1 if piece.file_offset is None else _MOST_APART_PAGES)
    return owners, has, np.array(apart, np.int32)


def _pairs(cuts: npt.NDArray[np.bool_], numbers: Numbers, most: int) -> Iterator[tuple[int, int]]:
    """Pieces of ``numbers``, cut where ``cuts`` says so between two, and where they are ``most`` or more apart."""
    borders = [0, *(np.flatnonzero(cuts) + 1).tolist(), len(numbers)]
    for start, end in pairwise(borders):
        at = start
        while at < end:
            beyond = numbers[at] + most
            stop = end if numbers[end - 1] < beyond else at + int(np.searchsorted(numbers[at:end], beyond))
            yield at, stop
            at = stop

"""One attempt at saving a dump at one level.

Step "saved" of docs/architecture.md.
"""

from collections.abc import Callable, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass

import numpy as np

from fadump.capture.batches import LEAST_ZEROS_BYTES, Numbers, Zeros, batch_bytes_for, cut_batches, long_zeros
from fadump.capture.formats import Writer
from fadump.capture.heap import keep_freed_memory
from fadump.capture.options import SaveOptions
from fadump.capture.original import Original
from fadump.capture.resume import Kept, kept_pages
from fadump.capture.selection import Selection
from fadump.capture.target import FileTarget, Target
from fadump.capture.threads import InOrder
from fadump.capture.unreadable import NONE
from fadump.memory.ranges import Range
from fadump.vmcore.dump import open_source

Tell = Callable[[int, int], None]
"""Is told how many bytes are done, and how many there are: of memory, but for pages that are known to be zeros those
that are written for them."""

_WORD_PAGES = 64


@dataclass(frozen=True, slots=True)
class Written:
    """The result of a job: how many pages were zeros, the size of all files, how much memory was there before."""

    zeros: int
    size_bytes: int
    kept_bytes: int


class Job:
    """One dump, to be saved at one level."""

    def __init__(self, original: Original, selection: Selection, options: SaveOptions, tell: Tell | None) -> None:
        """:raises FadumpError: the format can't hold what is to be saved."""
        self.selection = selection
        """The pages that were asked for."""
        self._dump = original.dump
        self._about = original.about
        self._options = options
        self._format = options.output
        self._tell = tell
        self._fitted = self._format.fit(self._dump, selection)
        self._total_bytes = self._work_bytes(Range(0, selection.pages))
        self._done_bytes = 0
        self.unreadable = NONE
        """The pages that turned out to be missing when they were written, besides those of the selection."""
        self._batch_bytes = batch_bytes_for(options.threads)

    @property
    def source_is_complete(self) -> bool:
        """Whether the dump has all that it should have."""
        return not (self._dump.damage or self.selection.missing.count() or self.unreadable.pages)

    @property
    def remarks(self) -> tuple[str, ...]:
        """Sentences for the user."""
        if not self.unreadable.pages:
            return self._fitted.remarks
        count, first = self.unreadable.pages, self.unreadable.first
        return (*self._fitted.remarks, f"pages that can't be read and are missing: {count}, the first at {first}")

    @property
    def beforehand(self) -> str | None:
        """A sentence for the user before anything is written; None: there is nothing to say."""
        return self._format.beforehand(self._fitted)

    def matches(self, targets: Sequence[FileTarget]) -> bool:
        """Whether interrupted files can be of this job."""
        for target, pages in zip(targets, self._parts(), strict=True):
            with closing(target.read_back()) as source:
                if not self._writer(target, pages).matches(source):
                    return False
        return True

    def write(self, targets: Sequence[Target], *, keep: bool) -> Written:
        """Write all files; with ``keep``, go on with what is in them already and :meth:`matches`.

        :raises FadumpError: the dump can't be read.
        :raises OSError: a file can't be written.
        """
        self._done_bytes, self.unreadable = 0, NONE
        parts = [self._write(target, pages, keep=keep) for target, pages in zip(targets, self._parts(), strict=True)]
        return Written(*(sum(column) for column in zip(*parts, strict=True)))

    def _write(self, target: Target, pages: Range, *, keep: bool) -> tuple[int, int, int]:
        page_bytes = self.selection.page_bytes
        keep_freed_memory()
        packer = self._format.packer(self._dump, page_bytes)
        writer = self._writer(target, pages)
        with InOrder(self._options.threads) as threads:
            kept = self._begin(writer, target, pages, threads, keep=keep)
            zeros = kept.zeros
            try:
                batches = cut_batches(self._dump, self._fitted, Range(kept.until, pages.end), self._batch_bytes)
                for batch in threads.map(packer.pack, batches):
                    if isinstance(batch, Zeros):
                        writer.add_zeros(batch.pages)
                        zeros += self.selection.wanted.count_between(batch.pages.start, batch.pages.end)
                        self._advance(batch.pages.size_bytes * self._format.zeros_cost_bytes)
                        continue
                    self._format.check_unreadable(batch.unreadable)
                    self.unreadable += batch.unreadable
                    writer.add(batch)
                    zeros += self._asked_for(batch.pages[batch.zeros])
                    self._advance(len(batch.pages) * page_bytes)
            except BaseException:
                with suppress(OSError):  # the error to report is the one that ended it
                    writer.checkpoint()
                raise
        writer.finish(complete=self.source_is_complete)
        return zeros, writer.size_bytes, self._fitted.wanted.count_between(pages.start, kept.until) * page_bytes

    def _begin(self, writer: Writer, target: Target, pages: Range, threads: InOrder, *, keep: bool) -> Kept:
        kept = self._keep(writer, target, pages, threads) if keep and isinstance(target, FileTarget) else None
        if kept is None:
            target.clear()
            writer.begin()
            kept = Kept(pages.start, 0)
        return kept

    def _keep(self, writer: Writer, target: FileTarget, pages: Range, threads: InOrder) -> Kept | None:
        """Go on with what is there; None if there is nothing to go on with."""
        with closing(target.read_back()) as source:
            if not writer.has_begun(source):
                return None
            with open_source([source]) as there:
                kept = kept_pages(self._dump, there, self._fitted, pages, threads)
                writer.resume(target, source, kept.until)
        self._advance(self._work_bytes(Range(pages.start, kept.until)))
        return kept

    def _asked_for(self, pages: Numbers) -> int:
        """How many of some pages were asked for; a format may have added others."""
        if not len(pages):
            return 0
        first, last = int(pages[0]), int(pages[-1])
        return int(np.count_nonzero(self.selection.wanted.flags(first, last + 1)[pages - first]))

    def _work_bytes(self, pages: Range) -> int:
        """How many bytes are to be read, or written for pages that aren't read: what takes time."""
        runs = long_zeros(self._fitted, LEAST_ZEROS_BYTES)
        zeros = sum(common.size_bytes for run in runs if (common := run.intersection(pages)) is not None)
        read = self._fitted.wanted.count_between(pages.start, pages.end) - zeros
        return read * self._fitted.page_bytes + zeros * self._format.zeros_cost_bytes

    def _advance(self, size_bytes: int) -> None:
        self._done_bytes += size_bytes
        if self._tell is not None:
            self._tell(self._done_bytes, self._total_bytes)

    def _writer(self, target: Target, pages: Range) -> Writer:
        split = pages if self._options.split > 1 else None
        return self._format.writer(target, self._about, self._fitted, self._dump, split)

    def _parts(self) -> list[Range]:
        """The pages of each file: about as many wanted ones in each. crash counts in words of the bitmap."""
        wanted, files = self._fitted.wanted, self._options.split
        count = wanted.count()
        ends = wanted.find([count * number // files for number in range(1, files)])
        ends = [end // _WORD_PAGES * _WORD_PAGES for end in ends]
        return [Range(start, end) for start, end in zip([0, *ends], [*ends, wanted.pages], strict=True)]

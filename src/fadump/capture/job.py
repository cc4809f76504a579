"""One try at saving a dump at one level: what is asked for, and writing it.

Step "saved" of docs/architecture.md.
"""

from collections.abc import Callable, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

import numpy as np

from fadump.capture.about import About
from fadump.capture.batches import batch_bytes_for, cut_batches
from fadump.capture.elf_writer import ElfWriter, fit_for_elf
from fadump.capture.kdump_writer import KdumpWriter
from fadump.capture.packers import Compression
from fadump.capture.packing import PackedBatch, Packer
from fadump.capture.resume import Kept, kept_pages
from fadump.capture.selection import Selection
from fadump.capture.target import FileTarget, Target
from fadump.capture.threads import InOrder
from fadump.capture.unreadable import NONE, Unreadable
from fadump.errors import FadumpError
from fadump.linux.pages import DumpLevel
from fadump.memory.ranges import Range
from fadump.vmcore.contract import Dump
from fadump.vmcore.dump import open_source
from fadump.vmcore.source import Source

Tell = Callable[[int, int], None]
"""Told how many bytes of memory are done, and how many there are."""

_WORD_PAGES = 64


class Format(StrEnum):
    """What is written."""

    KDUMP = "kdump"
    ELF = "elf"


@dataclass(frozen=True, slots=True)
class SaveOptions:
    """How to save. Of ``levels`` the first is taken; the next one if the disk turns out to be too small.

    ``split`` is the number of files, which an ELF core has one of. ``continued`` goes on with files that were
    interrupted.
    """

    levels: Sequence[DumpLevel] = (DumpLevel(0),)
    compression: Compression = Compression.ZLIB
    format: Format = Format.KDUMP
    threads: int = 1
    split: int = 1
    continued: bool = False


@dataclass(frozen=True, slots=True)
class Written:
    """What came of a job: pages that were zeros, the size of all files, and how much memory was there before."""

    zeros: int
    size_bytes: int
    kept_bytes: int


class Writer(Protocol):
    """What writes one file of a format. Every call may raise OSError."""

    @property
    def size_bytes(self) -> int:
        """How large the file is by now."""

    def begin(self) -> None:
        """Write what stands before all pages; the file says that it is incomplete."""

    def add(self, batch: PackedBatch) -> None:
        """Write the next pages."""

    def checkpoint(self) -> None:
        """Make sure that the pages so far can be read whatever happens."""

    def finish(self, *, complete: bool) -> None:
        """Write what stands behind all pages; the file doesn't say any more that it is incomplete, if it isn't."""

    def matches(self, source: Source) -> bool:
        """Whether a file that was interrupted can be of the same save, as far as its headers came to the disk."""

    def has_begun(self, source: Source) -> bool:
        """Whether all that :meth:`begin` writes is in it."""

    def resume(self, target: FileTarget, source: Source, page: int) -> None:
        """Go on, instead of :meth:`begin`, with a file that has begun, whose bytes are ``source``, and which is right
        up to a page."""


class Job:
    """One dump, to be saved at one level."""

    def __init__(self, dump: Dump, about: About, selection: Selection, options: SaveOptions, tell: Tell | None) -> None:
        """:raises FadumpError: the format can't hold what is to be saved."""
        self.selection = selection
        """What was asked for."""
        self._dump = dump
        self._about = about
        self._options = options
        self._tell = tell
        self._fitted = fit_for_elf(dump, selection) if options.format is Format.ELF else selection
        self._total_bytes = self._fitted.wanted.count() * selection.page_bytes
        self._done_bytes = 0
        self.unreadable = NONE
        """What was missing when it was written, besides what the selection says."""
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

    def matches(self, targets: Sequence[FileTarget]) -> bool:
        """Whether files that were interrupted can be of this job."""
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
        page_bytes, compression = self.selection.page_bytes, self._options.compression
        is_elf = self._options.format is Format.ELF
        packer = Packer(self._dump, page_bytes, Compression.NONE if is_elf else compression, zeros_too=is_elf)
        writer = self._writer(target, pages)
        with InOrder(self._options.threads) as threads:
            kept = self._begin(writer, target, pages, threads, keep=keep)
            zeros = kept.zeros
            try:
                batches = cut_batches(self._dump, self._fitted, Range(kept.until, pages.end), self._batch_bytes)
                for batch in threads.map(packer.pack, batches):
                    self._note_unreadable(batch.unreadable)
                    writer.add(batch)
                    zeros += int(np.count_nonzero(batch.zeros))
                    self._advance(len(batch.pages) * page_bytes)
            except BaseException:
                with suppress(OSError):  # whatever ended it is what is told
                    writer.checkpoint()
                raise
        writer.finish(complete=self.source_is_complete)
        return zeros, writer.size_bytes, self._fitted.wanted.count_between(pages.start, kept.until) * page_bytes

    def _note_unreadable(self, pages: Unreadable) -> None:
        if pages.pages and self._options.format is Format.ELF:
            raise FadumpError(
                f"the dump can't be read at {pages.first}; an ELF core can't say what is missing: use --format kdump"
            )
        self.unreadable += pages

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
        self._advance(self._fitted.wanted.count_between(pages.start, kept.until) * self.selection.page_bytes)
        return kept

    def _advance(self, size_bytes: int) -> None:
        self._done_bytes += size_bytes
        if self._tell is not None:
            self._tell(self._done_bytes, self._total_bytes)

    def _writer(self, target: Target, pages: Range) -> Writer:
        if self._options.format is Format.ELF:
            return ElfWriter(target, self._about, self._fitted, self._dump.memory)
        split = pages if self._options.split > 1 else None
        return KdumpWriter(target, self._about, self._fitted, self._options.compression, split)

    def _parts(self) -> list[Range]:
        """The pages of each file: about as many wanted ones in each. crash counts in words of the bitmap."""
        wanted, files = self._fitted.wanted, self._options.split
        ends = [wanted.find(wanted.count() * number // files) for number in range(1, files)]
        ends = [end // _WORD_PAGES * _WORD_PAGES for end in ends]
        return [Range(start, end) for start, end in zip([0, *ends], [*ends, wanted.pages], strict=True)]

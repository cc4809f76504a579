"""How large a dump would be, judged by a sample of its batches.

Step "saved" of docs/architecture.md, for ``fadump save --dry-run``. The batches of the sample are evenly spaced among
the wanted pages, without runs of those that are known to be zeros, which would be most of a sparse dump's. The margin
is twice the standard error of their mean: if contents differ at random from batch to batch, 19 of 20 dumps are within
it.
"""

import statistics
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import islice

import numpy as np

from fadump.capture.batches import Batch, cut_batches, long_zeros
from fadump.capture.options import SaveOptions
from fadump.capture.original import Original, read_original
from fadump.capture.report import PageReport, report_pages
from fadump.capture.selection import Selection
from fadump.capture.threads import InOrder
from fadump.linux.pages.page_class import DumpLevel
from fadump.linux.system import CrashedSystem
from fadump.memory.ranges import Range
from fadump.vmcore.contract import Dump

_SAMPLES = 256
_SAMPLE_BYTES = 256 << 10
_LEAST_ZEROS_BYTES = 64 << 10
"""What an ELF core has as a hole; a kdump-compressed file has a descriptor for each page in any case."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """``size_bytes`` on the disk, plus or minus ``margin_bytes``; see
    :attr:`PageReport.zeros_are_estimated`."""

    level: DumpLevel
    size_bytes: int
    margin_bytes: int
    pages: PageReport
    remarks: tuple[str, ...]


def estimate_sizes(system: CrashedSystem, options: SaveOptions) -> list[Estimate]:
    """How large a system's dump would be at each level.

    :raises FadumpError: the dump can't be read, or there is nothing to save.
    :raises OSError: the dump can't be read.
    """
    original = read_original(system, options)
    return [_estimate(original, original.select(level), options) for level in options.levels]


def _estimate(original: Original, asked: Selection, options: SaveOptions) -> Estimate:
    dump, output = original.dump, options.output
    selection = output.fit(dump, asked)
    page_bytes, unread = selection.page_bytes, selection.wanted.copy()
    for run in long_zeros(selection, _LEAST_ZEROS_BYTES):
        unread.fill(run.start, run.end, value=False)
    wanted = unread.count()
    known_zeros = selection.wanted.count() - wanted
    packer = output.packer(dump, page_bytes)
    sampled = replace(selection, wanted=unread)
    starts = sorted({*unread.find([wanted * number // _SAMPLES for number in range(_SAMPLES)])})
    firsts = (
        batch
        for start, end in zip(starts, [*starts[1:], selection.pages], strict=True)
        for batch in islice(_read_batches(dump, sampled, Range(start, end)), 1)
    )
    with InOrder(options.threads) as threads:
        packed = [
            (len(batch.pages), output.bytes_of(batch, page_bytes), int(np.count_nonzero(batch.zeros)))
            for batch in threads.map(packer.pack_batch, firsts)
        ]
    looked_at = sum(pages for pages, _size, _zeros in packed)
    share = wanted / looked_at if looked_at else 0
    zeros = known_zeros + round(share * sum(zeros for _pages, _size, zeros in packed))
    ratios = [size / pages for pages, size, _zeros in packed if pages]
    margin = 2 * statistics.stdev(ratios) / len(ratios) ** 0.5 * wanted if len(ratios) > 1 and share > 1 else 0.0
    fixed = output.fixed_bytes(original.about, selection, options.split)
    return Estimate(
        level=asked.level | original.about.level_before,
        size_bytes=fixed + round(share * sum(size for _pages, size, _zeros in packed)),
        margin_bytes=round(margin),
        pages=report_pages(asked, zeros, zeros_are_estimated=share > 1),
        remarks=(*selection.remarks, *filter(None, [output.beforehand(selection)])),
    )


def _read_batches(dump: Dump, selection: Selection, pages: Range) -> Iterator[Batch]:
    batches = cut_batches(dump, selection, pages, _SAMPLE_BYTES)
    return (batch for batch in batches if isinstance(batch, Batch))

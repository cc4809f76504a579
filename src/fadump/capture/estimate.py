"""How large a dump would be: some batches are packed, and stand for all.

Step "saved" of docs/architecture.md, for ``fadump save --dry-run``. Batches lie at even distances among the wanted
pages. The margin is twice the standard error of their mean: where contents change at random from batch to batch, 19
of 20 dumps come out within it.
"""

import statistics
from dataclasses import dataclass
from itertools import islice

import numpy as np

from fadump.capture.about import About, describe
from fadump.capture.batches import cut_batches
from fadump.capture.elf_writer import fit_for_elf, without_holes
from fadump.capture.job import Format, SaveOptions
from fadump.capture.kdump_writer import head_bytes
from fadump.capture.packers import Compression
from fadump.capture.packing import PackedBatch, Packer
from fadump.capture.report import PageReport, report_pages
from fadump.capture.selection import Selection, know_pages, select_pages
from fadump.capture.threads import InOrder
from fadump.linux.pages import DumpLevel
from fadump.memory.ranges import Range
from fadump.vmcore.contract import Dump
from fadump.vmcore.kdump_header import DESCRIPTOR_BYTES

_SAMPLES = 256
_SAMPLE_BYTES = 256 << 10


@dataclass(frozen=True, slots=True)
class Estimate:
    """``size_bytes`` on the disk, give or take ``margin_bytes``; in ``pages``, those of zeros are estimated too."""

    level: DumpLevel
    size_bytes: int
    margin_bytes: int
    pages: PageReport
    remarks: tuple[str, ...]


def estimate_sizes(dump: Dump, options: SaveOptions) -> list[Estimate]:
    """How large ``dump`` would be at each level.

    :raises FadumpError: the dump can't be read, or there is nothing to save.
    :raises OSError: the dump can't be read.
    """
    about, known = describe(dump), know_pages(dump)
    return [_estimate(dump, about, select_pages(dump, known, level), options) for level in options.levels]


def _estimate(dump: Dump, about: About, asked: Selection, options: SaveOptions) -> Estimate:
    is_elf = options.format is Format.ELF
    selection = fit_for_elf(dump, asked) if is_elf else asked
    wanted = selection.wanted.count()
    packer = Packer(dump, selection.page_bytes, Compression.NONE if is_elf else options.compression)
    starts = sorted({selection.wanted.find(wanted * number // _SAMPLES) for number in range(_SAMPLES)})
    firsts = (
        batch
        for start, end in zip(starts, [*starts[1:], selection.pages], strict=True)
        for batch in islice(cut_batches(dump, selection, Range(start, end), _SAMPLE_BYTES), 1)
    )
    with InOrder(options.threads) as threads:
        packed = [
            (len(batch.pages), _size_bytes(batch, options, selection.page_bytes), int(np.count_nonzero(batch.zeros)))
            for batch in threads.map(packer.pack, firsts)
        ]
    looked_at = sum(pages for pages, _size, _zeros in packed)
    share = wanted / looked_at if looked_at else 0
    zeros = round(share * sum(zeros for _pages, _size, zeros in packed))
    ratios = [size / pages for pages, size, _zeros in packed if pages]
    margin = 2 * statistics.stdev(ratios) / len(ratios) ** 0.5 * wanted if len(ratios) > 1 and share > 1 else 0.0
    fixed = 0
    if not is_elf:
        fixed = wanted * DESCRIPTOR_BYTES + options.split * head_bytes(about, selection, options.compression)
    return Estimate(
        level=asked.level,
        size_bytes=fixed + round(share * sum(size for _pages, size, _zeros in packed)),
        margin_bytes=round(margin),
        pages=report_pages(asked, zeros),
        remarks=selection.remarks,
    )


def _size_bytes(batch: PackedBatch, options: SaveOptions, page_bytes: int) -> int:
    if options.format is Format.ELF:
        return sum(run.size_bytes for run in without_holes(batch, page_bytes)) * page_bytes
    return len(batch.data)

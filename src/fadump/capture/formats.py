"""The formats that a dump can be saved in: how each is written, and what it can't hold.

Step "saved" of docs/architecture.md. Callers use an :class:`OutputFormat` and never ask which one it is.
"""

from dataclasses import dataclass, replace
from typing import Protocol

from fadump.capture.about import About
from fadump.capture.batches import LEAST_ZEROS_BYTES, long_zeros
from fadump.capture.elf_writer import ElfWriter, fit_for_elf, without_holes
from fadump.capture.kdump_writer import KdumpWriter, head_bytes
from fadump.capture.options import Format
from fadump.capture.packers import Compression, make_page_packer
from fadump.capture.packing import PackedBatch, Packer
from fadump.capture.selection import Selection
from fadump.capture.target import FileTarget, Target
from fadump.capture.unreadable import Unreadable
from fadump.errors import FadumpError
from fadump.limits import MOST_PAGES
from fadump.linux.memory import is_of_power
from fadump.memory.ranges import Range
from fadump.progress import binary_size
from fadump.vmcore.contract import Dump
from fadump.vmcore.kdump_header import DESCRIPTOR_BYTES
from fadump.vmcore.source import Source

MUCH_BYTES = 1 << 30
"""Descriptors of pages that nobody would miss."""


class Writer(Protocol):
    """What writes one file of a format. Every call may raise OSError."""

    @property
    def size_bytes(self) -> int:
        """How large the file is by now."""

    def begin(self) -> None:
        """Write what comes before the pages; the file says that it is incomplete."""

    def add(self, batch: PackedBatch) -> None:
        """Write the next pages."""

    def add_zeros(self, pages: Range) -> None:
        """Write the next pages, which are one after another and known to be zeros."""

    def checkpoint(self) -> None:
        """Make sure that the pages so far can be read whatever happens."""

    def finish(self, *, complete: bool) -> None:
        """Write what comes after the pages; if ``complete``, the file no longer says that it is incomplete."""

    def matches(self, source: Source) -> bool:
        """Whether an interrupted file can be of the same save, as far as its headers reached the disk."""

    def has_begun(self, source: Source) -> bool:
        """Whether the file has all that :meth:`begin` writes."""

    def resume(self, target: FileTarget, source: Source, page: int) -> None:
        """Go on, instead of :meth:`begin`, with a file that has begun, whose bytes are ``source``, and which is right
        up to a page."""


class OutputFormat(Protocol):
    """A format, with the options that are its own."""

    can_be_split: bool
    """Whether a dump can be several files."""
    zeros_cost_bytes: int
    """How many bytes are written for each page that is known to be zeros."""
    has_note_of_every_cpu: bool
    """Whether CPUs without registers need stand-ins; see :mod:`fadump.capture.registers`."""

    def fit(self, dump: Dump, selection: Selection) -> Selection:
        """What of a selection the format can hold, with a remark if that is less, or more.

        :raises FadumpError: it can't hold it.
        :raises OSError: the dump can't be read.
        """

    def beforehand(self, selection: Selection) -> str | None:
        """What is to be known before so much is written; None: nothing."""

    def check_library(self) -> None:
        """Accept that pages are to be packed on this host.

        :raises SetupError: it lacks a library.
        """

    def packer(self, dump: Dump, page_bytes: int) -> Packer:
        """What packs the pages of a dump.

        :raises SetupError: the host lacks a library.
        """

    def writer(self, target: Target, about: About, selection: Selection, dump: Dump, split: Range | None) -> Writer:
        """What writes a file of ``dump``: all its pages, or in a split dump those with a number in ``split``.

        :raises FadumpError: the format can't hold them.
        """

    def check_unreadable(self, pages: Unreadable) -> None:
        """Accept that pages turn out to be unreadable.

        :raises FadumpError: there are some, and the format can't say that they are missing.
        """

    def bytes_of(self, batch: PackedBatch, page_bytes: int) -> int:
        """How much of the disk a batch's pages take."""

    def fixed_bytes(self, about: About, selection: Selection, files: int) -> int:
        """How much of the disk everything else takes, in so many files."""


@dataclass(frozen=True, slots=True)
class KdumpFormat:
    """makedumpfile's kdump-compressed format, which can say of each page that it is missing."""

    compression: Compression
    can_be_split = True
    zeros_cost_bytes = DESCRIPTOR_BYTES
    has_note_of_every_cpu = True

    def fit(self, dump: Dump, selection: Selection) -> Selection:
        if selection.pages > MOST_PAGES:
            raise FadumpError(f"memory up to page {selection.pages:#x} is too much for its bitmaps: use --format elf")
        if is_of_power(dump) or not any(part.virtual for part in dump.virtual_ranges):
            return selection
        return _with_remark(selection, "a kdump-compressed file can't hold the virtual addresses of the PT_LOADs")

    def beforehand(self, selection: Selection) -> str | None:
        zeros = sum(run.size_bytes for run in long_zeros(selection, LEAST_ZEROS_BYTES))
        if zeros * DESCRIPTOR_BYTES < MUCH_BYTES:
            return None
        takes = binary_size(zeros * DESCRIPTOR_BYTES)
        return (
            f"{zeros:,} pages are known to be zeros, and a kdump-compressed file takes {takes} to say so: "
            "an ELF core (format elf) takes nothing"
        )

    def check_library(self) -> None:
        make_page_packer(self.compression)

    def packer(self, dump: Dump, page_bytes: int) -> Packer:
        return Packer(dump, page_bytes, self.compression)

    def writer(self, target: Target, about: About, selection: Selection, dump: Dump, split: Range | None) -> Writer:
        return KdumpWriter(target, about, selection, self.compression, split)

    def check_unreadable(self, pages: Unreadable) -> None:
        pass

    def bytes_of(self, batch: PackedBatch, page_bytes: int) -> int:
        return len(batch.data)

    def fixed_bytes(self, about: About, selection: Selection, files: int) -> int:
        descriptors_bytes = selection.wanted.count() * DESCRIPTOR_BYTES
        return descriptors_bytes + files * head_bytes(about, selection, self.compression)


@dataclass(frozen=True, slots=True)
class ElfFormat:
    """An ELF core, which is one file of uncompressed memory and can't say what is missing."""

    can_be_split = False
    zeros_cost_bytes = 0
    has_note_of_every_cpu = False

    def fit(self, dump: Dump, selection: Selection) -> Selection:
        fitting = fit_for_elf(dump, selection)
        if dump.vmcoreinfo is None and dump.system_name is not None and dump.system_name.release:
            lost = f"the kernel's name, {dump.system_name.release}, and the time of the dump"
            fitting = _with_remark(fitting, f"an ELF core can't hold {lost}, which are only in the source's header")
        if is_of_power(dump) or dump.virtual_ranges:
            return fitting
        return _with_remark(fitting, "the PT_LOADs have no virtual addresses, as the dump doesn't say them")

    def beforehand(self, selection: Selection) -> str | None:
        return None

    def check_library(self) -> None:
        pass

    def packer(self, dump: Dump, page_bytes: int) -> Packer:
        return Packer(dump, page_bytes, Compression.NONE, zeros_too=True)

    def writer(self, target: Target, about: About, selection: Selection, dump: Dump, split: Range | None) -> Writer:
        return ElfWriter(target, about, selection, dump.memory)

    def check_unreadable(self, pages: Unreadable) -> None:
        if pages.pages:
            raise FadumpError(
                f"the dump can't be read at {pages.first}; an ELF core can't say what is missing: use --format kdump"
            )

    def bytes_of(self, batch: PackedBatch, page_bytes: int) -> int:
        return sum(run.size_bytes for run in without_holes(batch, page_bytes)) * page_bytes

    def fixed_bytes(self, about: About, selection: Selection, files: int) -> int:
        return 0


def _with_remark(selection: Selection, remark: str) -> Selection:
    return replace(selection, remarks=(*selection.remarks, remark))


def output_format(name: Format, compression: Compression) -> OutputFormat:
    """The format of a name; ``compression`` is for one whose pages are packed."""
    match name:
        case Format.KDUMP:
            return KdumpFormat(compression)
        case Format.ELF:
            return ElfFormat()

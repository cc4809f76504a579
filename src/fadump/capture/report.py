"""The report of a save, in makedumpfile's words, which administrators know.

Step "saved" of docs/architecture.md; makedumpfile.c, print_report(). The numbers add up: original = excluded +
remaining, total = original + hole.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from fadump.capture.selection import Selection
from fadump.linux.pages.page_class import DumpLevel, PageClass

_CLASS_WORDS: Mapping[PageClass, str] = {
    PageClass.CACHE: "Non-private cache pages",
    PageClass.CACHE_PRIVATE: "Private cache pages",
    PageClass.USER: "User process data pages",
    PageClass.FREE: "Free pages",
    PageClass.HWPOISON: "Hwpoison pages",
    PageClass.OFFLINE: "Offline pages",
}


@dataclass(frozen=True, slots=True)
class PageReport:
    """Numbers of pages. ``total`` counts up to the last page of memory; ``excluded``, by class, has no pages of zeros.

    ``excluded_before`` is how many had been left out of the source already, ``missing`` how many should be in it and
    aren't. ``zeros`` count as excluded if the level says so; a kdump-compressed file has one page for all of them.
    ``zeros_are_estimated`` from a sample, and so is what they count for.
    """

    page_bytes: int
    total: int
    original: int
    zeros: int
    excluded: Mapping[PageClass, int]
    excluded_before: int
    missing: int
    zeros_are_estimated: bool = False
    excluded_by_plugin: int = 0

    @property
    def excluded_pages(self) -> int:
        """All pages that are not saved; those of zeros included where the level leaves them out."""
        return self.zeros + sum(self.excluded.values()) + self.excluded_before + self.excluded_by_plugin

    @property
    def remaining(self) -> int:
        """All others."""
        return self.original - self.excluded_pages

    @property
    def percent(self) -> int:
        """How many of a hundred remain."""
        return self.remaining * 100 // self.original

    def text(self) -> str:
        """The report as makedumpfile prints it; lines that makedumpfile doesn't have only if their number isn't 0."""
        mark = ", estimated" if self.zeros_are_estimated else ""
        lines = [
            f"Original pages  : {_number(self.original)}",
            f"  Excluded pages   : {_number(self.excluded_pages)}{mark}",
            f"    Pages filled with zero  : {_number(self.zeros)}{mark}",
            *(
                f"    {word:<24}: {_number(self.excluded.get(page_class, 0))}"
                for page_class, word in _CLASS_WORDS.items()
            ),
        ]
        if self.excluded_before:
            lines.append(f"    Excluded earlier        : {_number(self.excluded_before)}")
        if self.excluded_by_plugin:
            lines.append(f"    Left out by a plugin    : {_number(self.excluded_by_plugin)}")
        lines += [f"  Remaining pages  : {_number(self.remaining)}{mark}"]
        if self.missing:
            lines.append(f"    Missing in the source   : {_number(self.missing)}")
        return "\n".join(
            [
                *lines,
                f"  (The number of pages is reduced to {self.percent}%{mark}.)",
                f"Memory Hole     : {_number(self.total - self.original)}",
                "--------------------------------------------------",
                f"Total pages     : {_number(self.total)}",
            ]
        )

    def as_json(self) -> dict[str, object]:
        """The same numbers by name."""
        return {
            "page_bytes": self.page_bytes,
            "total": self.total,
            "memory_hole": self.total - self.original,
            "original": self.original,
            "excluded": self.excluded_pages,
            "zero": self.zeros,
            **{page_class.name.lower(): self.excluded.get(page_class, 0) for page_class in _CLASS_WORDS},
            "excluded_before": self.excluded_before,
            "excluded_by_plugin": self.excluded_by_plugin,
            "remaining": self.remaining,
            "missing": self.missing,
            "percent": self.percent,
            "estimated": ["zero", "excluded", "remaining", "percent"] if self.zeros_are_estimated else [],
        }


def report_pages(
    selection: Selection, zeros: int, unreadable: int = 0, *, zeros_are_estimated: bool = False
) -> PageReport:
    """The report of a selection of which some pages turned out to be all ``zeros``, and some to be ``unreadable``."""
    return PageReport(
        page_bytes=selection.page_bytes,
        total=selection.pages,
        original=selection.memory.count(),
        zeros=zeros if DumpLevel.ZERO in selection.level else 0,
        excluded=selection.excluded,
        excluded_before=selection.excluded_before,
        missing=selection.missing.count() + unreadable,
        excluded_by_plugin=selection.excluded_by_plugin,
        zeros_are_estimated=zeros_are_estimated and DumpLevel.ZERO in selection.level,
    )


def _number(pages: int) -> str:
    return f"0x{pages:016x}"

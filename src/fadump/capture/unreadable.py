"""Pages that the source should have but that can't be read: its disk fails, or they can't be unpacked.

Step "saved" of docs/architecture.md. They are missing in what is saved, which says so; all others are saved.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from fadump.capture.batches import Batch, Has, Span, read_span
from fadump.errors import reason
from fadump.vmcore.contract import UNREADABLE, Dump


@dataclass(frozen=True, slots=True)
class Unreadable:
    """How many pages can't be read; the first one's address, and the reason."""

    pages: int = 0
    first: str = ""

    def __add__(self, later: "Unreadable") -> "Unreadable":
        return Unreadable(self.pages + later.pages, self.first or later.first)


NONE = Unreadable()


def without_unreadable(dump: Dump, batch: Batch, page_bytes: int) -> tuple[Batch, Unreadable]:
    """The same batch, with the pages that can't be read as missing ones.

    :raises SetupError: the host lacks a library without which no page can be read.
    """
    spans: list[Span] = []
    unreadable = NONE
    for span in batch.spans:
        if _why_not(dump, span, page_bytes) is None:
            spans.append(span)
            continue
        for alone in _one_by_one(span):
            why = _why_not(dump, alone, page_bytes)
            spans.append(alone if why is None else Span(alone.pages, Has.NOTHING))
            if why is not None:
                unreadable += Unreadable(1, f"{int(alone.pages[0]) * page_bytes:#x}: {why}")
    return Batch(tuple(spans), batch.count), unreadable


def _one_by_one(span: Span) -> Iterator[Span]:
    for number in range(len(span.pages)):
        yield Span(span.pages[number : number + 1], span.has)


def _why_not(dump: Dump, span: Span, page_bytes: int) -> str | None:
    if span.has is Has.NOTHING:
        return None
    try:
        read_span(dump, span, page_bytes)
    except UNREADABLE as error:
        return reason(error)
    return None

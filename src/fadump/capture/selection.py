"""Which pages of a dump are to be saved, and why the others aren't.

Step "saved" of docs/architecture.md. Levels are makedumpfile's
(:class:`~fadump.linux.pages.page_class.DumpLevel`). Pages that the source lacks stay left out. A page is left out by
its class only if the dump says which that is. If it doesn't, the page is kept, with a remark: a dump that is too large
is better than none.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from fadump.capture.bits import WINDOW_PAGES, PageBits
from fadump.errors import FadumpError
from fadump.limits import MOST_SELECTED_PAGES, MOST_SHARED_BYTES, Budget
from fadump.linux.pages.classify import PageClasses
from fadump.linux.pages.page_class import DumpLevel, PageClass, left_out
from fadump.linux.system import UNREADABLE_KERNEL, CrashedSystem
from fadump.linux.vmcoreinfo import NoVmcoreinfoError
from fadump.memory.ranges import Range
from fadump.vmcore.contract import READABLE, Dump, State

_CLASS_LEVELS = DumpLevel.CACHE | DumpLevel.CACHE_PRIVATE | DumpLevel.USER | DumpLevel.FREE


@dataclass(frozen=True, slots=True)
class Selection:
    """``memory`` are the pages of the machine's memory, ``wanted`` those to be saved; of these, ``missing`` are those
    that the dump should have and doesn't, all or in part. ``zeros`` are pages that are zeros, as is known without
    reading them; not all of them need be wanted.

    ``excluded`` counts the pages that ``level`` leaves out, by class, ``excluded_before`` those that the dump didn't
    have any more, and ``excluded_by_plugin`` those that a user's own function leaves out; pages of zeros are found when
    they are read. ``remarks`` are sentences for the user.
    """

    level: DumpLevel
    page_bytes: int
    memory: PageBits
    wanted: PageBits
    missing: PageBits
    zeros: PageBits
    excluded: Mapping[PageClass, int]
    excluded_before: int
    remarks: tuple[str, ...]
    excluded_by_plugin: int = 0

    @property
    def pages(self) -> int:
        """The number after the last page's."""
        return self.memory.pages


@dataclass(frozen=True, slots=True)
class KnownPages:
    """What a dump says about its pages, the same for all levels; without ``classes``, ``why_not`` is the reason."""

    page_bytes: int
    classes: PageClasses | None
    why_not: str


def know_pages(system: CrashedSystem) -> KnownPages:
    """The classes of a dump's pages; they are found once for all levels.

    :raises FadumpError: nothing says how large a page is.
    :raises SetupError: the dump is packed with LZO or Snappy, which the host lacks.
    """
    try:
        page_bytes = system.page_bytes
    except NoVmcoreinfoError:
        raise FadumpError(
            "the dump has no VMCOREINFO, and nothing else says how large a page is: keep it as it is"
        ) from None
    try:
        classes = system.page_classes
    except UNREADABLE_KERNEL as error:
        return KnownPages(page_bytes, None, str(error))
    if classes.page_bytes != page_bytes:
        return KnownPages(page_bytes, None, f"its pages are {page_bytes} bytes, VMCOREINFO says {classes.page_bytes}")
    return KnownPages(page_bytes, classes, "")


def select_pages(dump: Dump, known: KnownPages, level: DumpLevel) -> Selection:
    """The pages to save at a level.

    :raises FadumpError: the dump has no memory, some at an address that no machine has, or much that shares bytes.
    :raises SetupError: its pages are packed with LZO or Snappy, which the host lacks.
    :raises OSError: the dump can't be read.
    """
    page_bytes = known.page_bytes
    end = max((-(-range_.end // page_bytes) for range_ in dump.memory), default=0)
    if not end:
        raise FadumpError("the dump has no memory: there is nothing to save")
    Budget("bytes of memory that share their place in the file with others", MOST_SHARED_BYTES).spend(dump.shared_bytes)
    Budget("pages up to the end of the dump's memory", MOST_SELECTED_PAGES).spend(end)
    memory, wanted, missing = PageBits(end), PageBits(end), PageBits(end)
    for range_ in dump.memory:
        memory.fill(range_.start // page_bytes, -(-range_.end // page_bytes), value=True)
        for piece in dump.mapping(range_):
            pages = piece.range.start // page_bytes, -(-piece.range.end // page_bytes)
            if piece.state in READABLE or piece.state is State.MISSING:
                wanted.fill(*pages, value=True)
            if piece.state is State.MISSING:
                missing.fill(*pages, value=True)
    before = memory.count() - wanted.count()
    excluded: Counter[PageClass] = Counter()
    if known.classes is not None:
        excluded = _exclude(known.classes, level, wanted)
        for window in missing.windows(0, end):
            both = missing.flags(window.start, window.end) & wanted.flags(window.start, window.end)
            missing.put(window.start, both)
    return Selection(
        level=level,
        page_bytes=page_bytes,
        memory=memory,
        wanted=wanted,
        missing=missing,
        zeros=_known_zeros(dump, wanted, missing, page_bytes),
        excluded=excluded,
        excluded_before=before,
        remarks=tuple(_remarks(known, level, wanted)),
    )


def _known_zeros(dump: Dump, wanted: PageBits, missing: PageBits, page_bytes: int) -> PageBits:
    zeros = wanted.copy()
    for window in missing.windows(0, missing.pages):
        there = ~missing.flags(window.start, window.end)
        zeros.put(window.start, zeros.flags(window.start, window.end) & there)
    for range_ in dump.memory:
        for data in dump.data_ranges(range_):
            zeros.fill(data.start // page_bytes, -(-data.end // page_bytes), value=False)
    return zeros


def _remarks(known: KnownPages, level: DumpLevel, wanted: PageBits) -> list[str]:
    if not level & _CLASS_LEVELS:
        return []
    if known.classes is None:
        return [f"no page is left out by its class, as the classes aren't known: {known.why_not}"]
    remarks = []
    if known.classes.unreadable:
        remarks.append(
            f"pages kept whatever their class, as their struct pages can't be read: {known.classes.unreadable}"
        )
    unknown = wanted.count() - known.classes.unreadable
    for block in known.classes.blocks:
        unknown -= wanted.count_between(*(min(pfn, wanted.pages) for pfn in (block.first_pfn, block.end_pfn)))
    if unknown > 0:
        remarks.append(f"pages kept whatever their class, as the kernel has no struct page of them: {unknown}")
    if level & DumpLevel.FREE and known.classes.free_unknown is not None:
        remarks.append(f"free pages are kept, but for those that were found: {known.classes.free_unknown}")
    return remarks


def _exclude(classes: PageClasses, level: DumpLevel, pages: PageBits) -> Counter[PageClass]:
    gone = np.array([page_class in left_out(level) for page_class in PageClass])
    counts = np.zeros(len(PageClass), np.int64)
    for block in classes.blocks:
        for at in range(0, len(block.classes), WINDOW_PAGES):
            part = block.classes[at : at + WINDOW_PAGES]
            window = Range.sized(block.first_pfn + at, len(part)).intersection(Range(0, pages.pages))
            if window is None:
                continue
            part = part[: window.size_bytes]
            kept = pages.flags(window.start, window.end)
            out = kept & gone[part]
            counts += np.bincount(part[out], minlength=len(PageClass))
            pages.put(window.start, kept & ~out)
    return Counter({page_class: int(counts[page_class]) for page_class in PageClass if counts[page_class]})

"""What pages are used for, and what each dump level leaves out of a dump, as makedumpfile has it."""

from enum import IntEnum, IntFlag


class PageClass(IntEnum):
    """What a page was used for.

    The numbers are makedumpfile's order of tests, the last test first: of those that hold, the highest one counts.
    """

    KERNEL = 0
    """What no dump level leaves out."""
    OFFLINE = 1
    """Taken away by a hypervisor's balloon: no dump has it."""
    HWPOISON = 2
    """Broken memory: no dump has it."""
    USER = 3
    """Anonymous memory of processes, and huge pages."""
    CACHE = 4
    """Page cache without private data, swap cache."""
    CACHE_PRIVATE = 5
    """Page cache with a file system's private data."""
    FREE = 6
    UNKNOWN = 7
    """The dump doesn't have its struct page, or there is none."""


class DumpLevel(IntFlag):
    """makedumpfile's -d: what to leave out. CACHE_PRIVATE leaves out all of the cache."""

    ZERO = 1
    CACHE = 2
    CACHE_PRIVATE = 4
    USER = 8
    FREE = 16


def left_out(level: DumpLevel) -> frozenset[PageClass]:
    """The classes that a level leaves out; pages of zeros are found by their content."""
    out = {PageClass.HWPOISON, PageClass.OFFLINE}
    if level & (DumpLevel.CACHE | DumpLevel.CACHE_PRIVATE):
        out.add(PageClass.CACHE)
    if level & DumpLevel.CACHE_PRIVATE:
        out.add(PageClass.CACHE_PRIVATE)
    if level & DumpLevel.USER:
        out.add(PageClass.USER)
    if level & DumpLevel.FREE:
        out.add(PageClass.FREE)
    return frozenset(out)

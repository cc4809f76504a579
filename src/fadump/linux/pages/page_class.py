"""The classes of pages by use, and those that each dump level leaves out, as in makedumpfile."""

from enum import IntEnum, IntFlag


class PageClass(IntEnum):
    """What a page was used for.

    The numbers are makedumpfile's order of tests, the last test first: the highest class whose test is true counts.
    """

    KERNEL = 0
    """All other pages; no dump level leaves them out."""
    OFFLINE = 1
    """Taken by a hypervisor's balloon: left out of every dump."""
    HWPOISON = 2
    """Faulty memory: left out of every dump."""
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

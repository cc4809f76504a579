"""The word ``flags`` of struct pages, for whoever decides by it and not by a page's class.

After the last step of "follow one crash" in docs/architecture.md. Linux: include/linux/page-flags.h; VMCOREINFO has the
numbers of some flags, such as NUMBER(PG_lru).
"""

from contextlib import suppress

import numpy as np
import numpy.typing as npt

from fadump.abi.layout import STRUCT_ORDER
from fadump.errors import FormatError
from fadump.linux.memory import UNREADABLE, KernelMemory
from fadump.linux.pages.sections import find_mem_maps
from fadump.memory.ranges import Range

_CHUNK_PAGES = 1 << 10
_FLAGS_BYTES = 8

FlagWords = npt.NDArray[np.uint64]


class PageFlags:
    """The flags of a kernel's pages."""

    def __init__(self, memory: KernelMemory) -> None:
        """Find the struct pages.

        :raises MissingFactError: VMCOREINFO doesn't say where they are.
        :raises FadumpError: as :func:`~fadump.linux.pages.sections.find_mem_maps`.
        """
        self._memory = memory
        self._maps = find_mem_maps(memory)
        self._page_bytes = memory.facts.size("page")
        self._offset = memory.facts.offset("page.flags")
        if self._offset + _FLAGS_BYTES > self._page_bytes:
            raise FormatError(f"VMCOREINFO has flags at byte {self._offset} of a struct page of {self._page_bytes}")

    def of(self, pfns: Range) -> FlagWords:
        """The flags of the pages with these numbers; 0 where the dump doesn't have a struct page."""
        flags = np.zeros(pfns.size_bytes, np.uint64)
        for mem_map in self._maps:
            both = pfns.intersection(Range.sized(mem_map.first_pfn, mem_map.pages))
            for start in range(both.start, both.end, _CHUNK_PAGES) if both is not None else ():
                count = min(_CHUNK_PAGES, mem_map.first_pfn + mem_map.pages - start, pfns.end - start)
                virtual = mem_map.virtual + (start - mem_map.first_pfn) * self._page_bytes
                with suppress(*UNREADABLE):
                    raw = self._memory.view(virtual, count * self._page_bytes)
                    flags[start - pfns.start :][:count] = self._words(raw)
        return flags

    def _words(self, struct_pages: npt.NDArray[np.uint8]) -> FlagWords:
        rows = struct_pages.reshape(-1, self._page_bytes)[:, self._offset : self._offset + _FLAGS_BYTES]
        order = STRUCT_ORDER[self._memory.byte_order]
        return np.ascontiguousarray(rows).view(f"{order}u8")[:, 0].astype(np.uint64)

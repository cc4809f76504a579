"""The crashed kernel's memory for many small reads close together, as of stacks and per-CPU variables.

A page of :data:`_PAGE_BYTES` that has been read is kept, so that a frame of a stack in vmalloc takes no walk through
page tables of its own. What is kept is bounded.
"""

from fadump.linux.memory import UNREADABLE_ADDRESS, KernelMemory

_PAGE_BYTES = 1 << 12
_MOST_PAGES = 1 << 11


class PagedMemory(KernelMemory):
    """The same memory as another :class:`KernelMemory`, which it reads through."""

    def __init__(self, memory: KernelMemory) -> None:
        super().__init__(memory.dump, memory.facts)
        self.translation = memory.translation
        self._pages: dict[int, bytes | None] = {}

    def read(self, virtual: int, length: int) -> bytes:
        page, at = divmod(virtual, _PAGE_BYTES)
        if 0 <= length <= _PAGE_BYTES - at:
            data = self._page(page)
            if data is not None:
                return data[at : at + length]
        return super().read(virtual, length)

    def _page(self, number: int) -> bytes | None:
        """A page; None if not all of it can be read."""
        if number not in self._pages:
            if len(self._pages) >= _MOST_PAGES:
                self._pages.clear()
            try:
                self._pages[number] = super().read(number * _PAGE_BYTES, _PAGE_BYTES)
            except UNREADABLE_ADDRESS:
                self._pages[number] = None
        return self._pages[number]

"""Free pages by the lists they are on, for kernels whose VMCOREINFO doesn't say what marks a struct page as free.

After the last step of "follow one crash" in docs/architecture.md. Linux: struct free_area in include/linux/mmzone.h.
Free blocks of 2^order pages are on zone.free_area[order].free_list[migratetype], linked by page.lru of their first
page. Linux states PAGE_BUDDY_MAPCOUNT_VALUE since v3.10, which is faster and needs no list.
"""

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from operator import attrgetter

from fadump.errors import FormatError, LimitError
from fadump.limits import MOST_FREE_LISTS, MOST_FREE_ORDERS, MOST_FREE_TYPES, MOST_NODES, MOST_ZONES
from fadump.linux.memory import KernelMemory
from fadump.linux.pages.sections import MemMap


@dataclass(frozen=True, slots=True)
class FreeBlock:
    """``pages`` contiguous free pages, of which the first is number ``first_pfn``."""

    first_pfn: int
    pages: int


def read_free_blocks(memory: KernelMemory, maps: Sequence[MemMap]) -> Iterator[FreeBlock]:
    """All blocks on the lists of free pages, as they are read; ``maps`` are where the struct pages are.

    :raises MissingFactError: VMCOREINFO doesn't say where the lists are.
    :raises AddressError: the dump doesn't have some of them.
    :raises TranslationError: they are at an address that isn't mapped.
    :raises FormatError: they make no sense.
    """
    places = _StructPages(maps, memory.facts.size("page"))
    most = sum(mem_map.pages for mem_map in maps)
    for order, head in _list_heads(memory):
        for page in _members(memory, head):
            yield FreeBlock(places.page_number(page), 1 << order)
            most -= 1 << order
            if most < 0:
                raise FormatError("the lists of free pages have more pages than there are: they run in a circle")


def _list_heads(memory: KernelMemory) -> Iterator[tuple[int, int]]:
    """Each list's order, and the address of its head."""
    facts = memory.facts
    orders, types = facts.length("zone.free_area"), facts.length("free_area.free_list")
    if orders > MOST_FREE_ORDERS or types > MOST_FREE_TYPES:
        raise FormatError(f"VMCOREINFO has {orders} orders of free pages of {types} types each")
    lists = 0
    for node in _nodes(memory):
        count = memory.number(node + facts.offset("pglist_data.nr_zones"))
        if count > MOST_ZONES:
            raise FormatError(f"the memory node at {node:#x} has {count} zones, more than any")
        for number in range(count):
            zone = node + facts.offset("pglist_data.node_zones") + number * facts.size("zone")
            if not memory.word(zone + facts.offset("zone.spanned_pages")):
                continue
            lists += orders * types
            if lists > MOST_FREE_LISTS:
                raise LimitError("lists of free pages", found=lists, limit=MOST_FREE_LISTS)
            for order in range(orders):
                area = zone + facts.offset("zone.free_area") + order * facts.size("free_area")
                for type_ in range(types):
                    yield order, area + facts.offset("free_area.free_list") + type_ * facts.size("list_head")


def _nodes(memory: KernelMemory) -> Iterator[int]:
    """The addresses of struct pglist_data of each node."""
    facts = memory.facts
    if "SYMBOL(node_data)" not in facts:
        yield facts.symbol("contig_page_data")
        return
    count = facts.length("node_data")
    if count > MOST_NODES:
        raise FormatError(f"VMCOREINFO has {count} memory nodes, more than any machine")
    yield from filter(None, memory.unpack(f"{count}Q", facts.symbol("node_data")))


def _members(memory: KernelMemory, head: int) -> Iterator[int]:
    """The addresses of the struct pages on a list, which ends where it begins, or never."""
    following, lru = memory.facts.offset("list_head.next"), memory.facts.offset("page.lru")
    at = memory.word(head + following)
    while at != head:
        yield at - lru
        at = memory.word(at + following)


class _StructPages:
    """Page numbers by the addresses of struct pages."""

    def __init__(self, maps: Sequence[MemMap], page_bytes: int) -> None:
        self._maps = sorted(maps, key=attrgetter("virtual"))
        self._starts = [mem_map.virtual for mem_map in self._maps]
        self._page_bytes = page_bytes

    def page_number(self, virtual: int) -> int:
        """The number of the page whose struct is at an address.

        :raises FormatError: there is no struct page.
        """
        index = bisect_right(self._starts, virtual) - 1
        if index >= 0:
            mem_map = self._maps[index]
            number, rest = divmod(virtual - mem_map.virtual, self._page_bytes)
            if number < mem_map.pages and not rest:
                return mem_map.first_pfn + number
        raise FormatError(f"a list of free pages leads to {virtual:#x}, where no struct page is")

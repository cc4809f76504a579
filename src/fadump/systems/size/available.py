"""The least memory that a capture boot has available, by its own kernel's counters, read from outside.

Its symbols, looked for in its memory while it runs, say where it counts. What is left at each look is worked out as
Linux does for MemAvailable (mm/show_mem.c, si_mem_available()), with the pages that it keeps in reserve in the place of
its low watermarks, which they contain: a little less than the guest itself would say. Counts that a CPU keeps to itself
for now (vm_stat_diff) are not in it.
"""

import struct
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass

from fadump.abi.layout import STRUCT_ORDER
from fadump.abi.linux.page_table import PAGE_OFFSET
from fadump.errors import FadumpError, FormatError
from fadump.linux.system import CrashedSystem
from fadump.memory.guest import GuestMemory
from fadump.memory.ranges import Range, RangeSet
from fadump.vmcore.contract import Dump, Kind, Piece, State

_COUNTERS = ("vm_zone_stat", "vm_node_stat", "totalreserve_pages")
_FREE_PAGES = 0
"""In vm_zone_stat (include/linux/mmzone.h)."""
_FILE_PAGES = slice(2, 4)
"""In vm_node_stat: inactive and active."""
_RECLAIMABLE_SLAB = 5
_NODE_COUNTERS = 6
_MOST_TRIES = 1000
"""There is one for each event; a kernel describes itself early, and one that doesn't isn't searched for ever."""


class _LiveMemory(Dump):
    """A running machine's memory, to be looked into as a dump's."""

    kind = Kind.ELF
    flattened = False
    machine = "ppc64le"
    byte_order = "little"
    notes = ()
    vmcoreinfo = None
    damage: tuple[FormatError, ...] = ()

    def __init__(self, memory: GuestMemory, wanted: RangeSet) -> None:
        self._memory = memory
        self.memory = RangeSet(extent for part in wanted for extent in memory.populated(part))

    def mapping(self, wanted: Range) -> Iterator[Piece]:
        yield Piece(wanted, State.STORED)

    def read_physical(self, address: int, length: int) -> bytes:
        return self._memory.read(address, length)

    def close(self) -> None:
        """Nothing is open."""


@dataclass(frozen=True, slots=True)
class Counters:
    """Where a kernel counts its pages: physical addresses, in the order of :data:`_COUNTERS`."""

    addresses: tuple[int, ...]
    order: str
    page_bytes: int

    def available_bytes(self, memory: GuestMemory) -> int | None:
        """What is available now; None: the kernel doesn't count yet."""
        zone, node, reserve = self.addresses
        (free,) = self._words(memory, zone + 8 * _FREE_PAGES, 1)
        counts = self._words(memory, node, _NODE_COUNTERS)
        (kept,) = self._words(memory, reserve, 1)
        if free <= 0 or kept <= 0:
            return None
        given_up = (max(0, sum(counts[_FILE_PAGES])), max(0, counts[_RECLAIMABLE_SLAB]))
        pages = free - kept + sum(count - min(count // 2, kept) for count in given_up)
        return max(0, pages) * self.page_bytes

    def _words(self, memory: GuestMemory, address: int, count: int) -> tuple[int, ...]:
        return struct.unpack(f"{self.order}{count}q", memory.read(address, 8 * count))


def find_counters(memory: GuestMemory, wanted: RangeSet) -> Counters:
    """Where the kernel counts that is in this part of memory.

    :raises FadumpError: there is none yet that describes itself, or its symbols don't say.
    """
    system = CrashedSystem(_LiveMemory(memory, wanted))
    symbols = system.symbols
    addresses = tuple(symbols.address(name) - PAGE_OFFSET for name in _COUNTERS)
    return Counters(addresses, STRUCT_ORDER[system.memory.byte_order], system.vmcoreinfo.page_bytes())


class LeastAvailable:
    """The least of what a capture boot was seen to have available."""

    def __init__(self, memory: GuestMemory) -> None:
        self._memory = memory
        self._counters: Counters | None = None
        self._tries = _MOST_TRIES
        self.boot_memory = RangeSet()
        """Where the capture kernel is."""
        self.least_bytes: int | None = None
        """None if nothing is known."""

    def look(self) -> None:
        """Look at the capture kernel, which runs."""
        if self._counters is None:
            self._find()
        if self._counters is None:
            return
        available_bytes = self._counters.available_bytes(self._memory)
        if available_bytes is not None and (self.least_bytes is None or available_bytes < self.least_bytes):
            self.least_bytes = available_bytes

    def _find(self) -> None:
        """Find the counters, if the kernel has come far enough to describe itself."""
        if not self._tries:
            return
        self._tries -= 1
        with suppress(FadumpError):  # it may be on its way to its place: what it seems to say makes no sense then
            self._counters = find_counters(self._memory, self.boot_memory)

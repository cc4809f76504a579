"""What the crashed system's memory was used for, by the kernel's own counts.

Linux: include/linux/mmzone.h (enum zone_stat_item, node_stat_item), mm/vmstat.c, fs/proc/meminfo.c, mm/hugetlb.c. A CPU
keeps small changes of these counts for itself, so they are right to some MiB, as those in /proc/meminfo.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from fadump.errors import FormatError
from fadump.limits import MOST_HUGE_PAGE_SIZES
from fadump.linux.memory import UNREADABLE_ADDRESS, KernelMemory
from fadump.linux.symbols.table import SymbolTable, UnknownSymbolError
from fadump.linux.types.contract import Types, UnknownTypeError
from fadump.linux.types.objects import PathError
from fadump.linux.types.structure import Structure

_UNKNOWN = (*UNREADABLE_ADDRESS, UnknownSymbolError, UnknownTypeError, PathError, FormatError)
_SIGN = 1 << 63
_MOST_ORDER = 30


@dataclass(frozen=True, slots=True)
class HugePages:
    """The pool of huge pages of one size."""

    page_bytes: int
    count: int
    free: int
    reserved: int
    surplus: int


@dataclass(frozen=True, slots=True)
class MemoryUse:
    """Sizes in bytes; None is what isn't known, and ``unknown`` has a sentence for it.

    ``cache`` is the page cache, ``shared`` (tmpfs and shared memory) is part of it. ``slab`` is all of it,
    ``slab_reclaimable`` what can be taken back of it; ``reclaimable`` is that and other kernel memory of its kind.
    ``huge`` is the pool of huge pages; transparent ones are part of what is anonymous.
    """

    total: int | None
    free: int | None
    cache: int | None
    shared: int | None
    dirty: int | None
    writeback: int | None
    anonymous: int | None
    mapped: int | None
    slab: int | None
    slab_reclaimable: int | None
    reclaimable: int | None
    page_tables: int | None
    kernel_stacks: int | None
    swap_total: int | None
    swap_free: int | None
    huge: tuple[HugePages, ...]
    unknown: tuple[str, ...]


def read_memory_use(memory: KernelMemory, symbols: SymbolTable, types: Types) -> MemoryUse:
    """All of it.

    :raises MissingFactError: the size of a page isn't known.
    """
    counts = _Counts(memory, symbols, types)
    page = memory.facts.page_bytes()
    free = counts.pages("NR_FREE_PAGES", page)
    taken_back = counts.pages("NR_SLAB_RECLAIMABLE_B", page)
    kept = counts.pages("NR_SLAB_UNRECLAIMABLE_B", page)
    other = counts.pages("NR_KERNEL_MISC_RECLAIMABLE", page)
    return MemoryUse(
        total=counts.word("_totalram_pages", page),
        free=free,
        cache=counts.pages("NR_FILE_PAGES", page),
        shared=counts.pages("NR_SHMEM", page),
        dirty=counts.pages("NR_FILE_DIRTY", page),
        writeback=counts.pages("NR_WRITEBACK", page),
        anonymous=counts.pages("NR_ANON_MAPPED", page),
        mapped=counts.pages("NR_FILE_MAPPED", page),
        slab=_sum(taken_back, kept),
        slab_reclaimable=taken_back,
        reclaimable=_sum(taken_back, other),
        page_tables=counts.pages("NR_PAGETABLE", page),
        kernel_stacks=counts.pages("NR_KERNEL_STACK_KB", 1024),
        swap_total=counts.optional("total_swap_pages", page),
        swap_free=counts.optional("nr_swap_pages", page),
        huge=counts.huge_pages(page),
        unknown=tuple(counts.unknown),
    )


def _sum(*sizes: int | None) -> int | None:
    known = [size for size in sizes if size is not None]
    return sum(known) if len(known) == len(sizes) else None


class _Counts:
    """Reads the kernel's counts, and keeps a sentence for each that isn't known."""

    def __init__(self, memory: KernelMemory, symbols: SymbolTable, types: Types) -> None:
        self._memory = memory
        self._symbols = symbols
        self._types = types
        self.unknown: list[str] = []
        self._places: dict[str, tuple[str, int]] = {}
        for variable, enum in (("vm_zone_stat", "zone_stat_item"), ("vm_node_stat", "node_stat_item")):
            try:
                values = types.enumerators(types.named(enum).ref)
            except _UNKNOWN as error:
                self.unknown.append(str(error))
                continue
            self._places |= {name: (variable, value) for name, value in values}

    def pages(self, name: str, unit_bytes: int) -> int | None:
        """A count of zones or nodes, in bytes."""
        if name not in self._places:
            self.unknown.append(f"the kernel has no count {name}")
            return None
        variable, index = self._places[name]
        return self._word(variable, 8 * index, unit_bytes)

    def word(self, variable: str, unit_bytes: int) -> int | None:
        """A variable of its own, in bytes."""
        return self._word(variable, 0, unit_bytes)

    def optional(self, variable: str, unit_bytes: int) -> int | None:
        """The same of one that not every kernel has."""
        return self._word(variable, 0, unit_bytes) if variable in self._symbols else None

    def _word(self, variable: str, offset: int, unit_bytes: int) -> int | None:
        try:
            value = self._memory.word(self._symbols.address(variable) + offset)
        except _UNKNOWN as error:
            self.unknown.append(f"{variable}: {error}")
            return None
        return 0 if value & _SIGN else value * unit_bytes  # a count may be below 0 for a moment, and is shown as 0 then

    def huge_pages(self, page_bytes: int) -> tuple[HugePages, ...]:
        """The pools of huge pages."""
        if "hstates" not in self._symbols:
            return ()
        try:
            return tuple(self._pools(page_bytes))
        except _UNKNOWN as error:
            self.unknown.append(f"huge pages: {error}")
            return ()

    def _pools(self, page_bytes: int) -> Iterator[HugePages]:
        members = {"order": "order", "count": "nr_huge_pages", "free": "free_huge_pages"}
        members |= {"reserved": "resv_huge_pages", "surplus": "surplus_huge_pages"}
        state = Structure(self._types, "hstate", members)
        start = self._symbols.address("hstates")
        number = self._memory.number(self._symbols.address("hugetlb_max_hstate"))
        for index in range(min(number, MOST_HUGE_PAGE_SIZES)):
            values = state.read(self._memory, start + index * state.size_bytes)
            yield HugePages(
                page_bytes << min(values.count("order"), _MOST_ORDER),
                *(values.count(name) for name in ("count", "free", "reserved", "surplus")),
            )

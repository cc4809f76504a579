"""The state of the crashed system, answer by answer: ``fadump.open(...).state``.

Each is read when it is first asked for, and by itself, so that what is damaged in a dump harms no other.
"""

from collections.abc import Callable
from functools import cached_property

from fadump.linux.memory import KernelMemory
from fadump.linux.state.interrupts import Interrupts, read_interrupts
from fadump.linux.state.memory_use import MemoryUse, read_memory_use
from fadump.linux.state.mounts import Mounts, read_mounts
from fadump.linux.state.network import Network, read_network
from fadump.linux.state.slab_caches import SlabCaches, read_slab_caches
from fadump.linux.symbols.table import SymbolTable
from fadump.linux.types.contract import Types


class SystemState:
    """What the kernel's structures say of the system."""

    def __init__(self, memory: KernelMemory, symbols: SymbolTable, find_types: Callable[[], Types]) -> None:
        """``find_types`` gives the kernel's types.

        Each property raises what that does; besides, an :class:`~fadump.linux.types.contract.UnknownTypeError` or an
        :class:`~fadump.linux.symbols.table.UnknownSymbolError` if the kernel doesn't say where something is.
        """
        self._memory = memory
        self._symbols = symbols
        self._find_types = find_types

    @cached_property
    def memory(self) -> MemoryUse:
        """What memory was used for, by the kernel's counts."""
        return read_memory_use(self._memory, self._symbols, self._find_types())

    @cached_property
    def slab_caches(self) -> SlabCaches:
        """The caches of the slab allocator, the largest first."""
        return read_slab_caches(self._memory, self._symbols, self._find_types())

    @cached_property
    def mounts(self) -> Mounts:
        """The file systems that were mounted."""
        return read_mounts(self._memory, self._symbols, self._find_types())

    @cached_property
    def network(self) -> Network:
        """The network devices and their addresses."""
        return read_network(self._memory, self._symbols, self._find_types())

    @cached_property
    def interrupts(self) -> Interrupts:
        """How often each interrupt came, on each CPU."""
        return read_interrupts(self._memory, self._symbols, self._find_types())

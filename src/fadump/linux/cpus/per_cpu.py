"""The kernel's per-CPU variables: where each CPU has its own.

Linux: include/linux/percpu-defs.h; arch/powerpc has ``__per_cpu_offset``, by CPU number.
"""

from fadump.limits import MOST_PER_CPU_VALUES, Budget
from fadump.linux.cpus.numbers import online_cpus
from fadump.linux.memory import UNREADABLE_ADDRESS, KernelMemory
from fadump.linux.symbols.table import SymbolTable, UnknownSymbolError

_ADDRESSES = (1 << 64) - 1


class PerCpu:
    """The per-CPU variables of one kernel. ``cpus`` are those that were online."""

    def __init__(self, memory: KernelMemory, symbols: SymbolTable) -> None:
        self._memory = memory
        self.cpus = online_cpus(memory, symbols)
        self._budget = Budget("values that each CPU has its own of", MOST_PER_CPU_VALUES)
        try:
            start = symbols.address("__per_cpu_offset")
            self._offsets = dict(zip(self.cpus, self._read_offsets(start), strict=True))
        except (*UNREADABLE_ADDRESS, UnknownSymbolError):
            self._offsets = {}

    def _read_offsets(self, start: int) -> list[int]:
        if not self.cpus:
            return []
        offsets = self._memory.unpack(f"{max(self.cpus) + 1}Q", start)
        return [int(offsets[cpu]) for cpu in self.cpus]

    def __bool__(self) -> bool:
        """Whether it is known where they are."""
        return bool(self._offsets)

    def address(self, variable: int, cpu: int) -> int:
        """Where a CPU that was online has the variable whose address, or pointer, is ``variable``."""
        return self._offsets[cpu] + variable & _ADDRESSES

    def total(self, variable: int) -> int:
        """The sum over all CPUs of a variable of type s32.

        :raises LimitError: too many have been asked for.
        :raises FadumpError: the dump doesn't have one of them.
        """
        self._budget.spend(len(self._offsets))
        order = self._memory.byte_order
        return sum(
            int.from_bytes(self._memory.read(self.address(variable, cpu), 4), order, signed=True)
            for cpu in self._offsets
        )

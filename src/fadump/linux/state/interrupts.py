"""How often each interrupt came, on each CPU.

Linux: show_interrupts() in kernel/irq/proc.c, struct irq_desc in include/linux/irqdesc.h; kstat and softirq_to_name in
kernel/softirq.c. Interrupt descriptors are in a maple tree since 721255b9826b ("genirq: Use a maple tree for interrupt
descriptor management") (v6.5), before that in a radix tree.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from fadump.errors import FormatError, LimitError
from fadump.limits import MOST_INTERRUPTS, Budget
from fadump.linux.cpus.per_cpu import PerCpu
from fadump.linux.memory import UNREADABLE_ADDRESS, KernelMemory
from fadump.linux.paged_memory import PagedMemory
from fadump.linux.symbols.table import SymbolTable
from fadump.linux.types.contract import Types
from fadump.linux.types.structure import Structure, string_at
from fadump.linux.types.trees import in_maple_tree, in_xarray

_SOFTIRQS = ("HI", "TIMER", "NET_TX", "NET_RX", "BLOCK", "IRQ_POLL", "TASKLET", "SCHED", "HRTIMER", "RCU")
_MOST_ACTIONS = 64


@dataclass(frozen=True, slots=True)
class Interrupt:
    """An interrupt: Linux's number, the ``hardware``'s, its controller and who handles it.

    ``counts`` are those of the CPUs that were online, in the order of :attr:`Interrupts.cpus`.
    """

    number: int
    hardware: int
    controller: str | None
    handlers: tuple[str, ...]
    counts: tuple[int, ...]

    @property
    def total(self) -> int:
        """How often it came on all of them."""
        return sum(self.counts)


@dataclass(frozen=True, slots=True)
class Interrupts:
    """The interrupts that somebody handles or that came. ``softirqs`` has the counts of each kind, on each CPU.

    ``left_out`` has a sentence for each part of them that can't be read.
    """

    cpus: tuple[int, ...]
    interrupts: tuple[Interrupt, ...]
    softirqs: tuple[tuple[str, tuple[int, ...]], ...]
    left_out: tuple[str, ...] = ()


def read_interrupts(memory: KernelMemory, symbols: SymbolTable, types: Types) -> Interrupts:
    """All of them.

    :raises UnknownSymbolError: the kernel lists neither of these trees.
    :raises UnknownTypeError: its types lack a member that is needed.
    """
    reader = _Reader(PagedMemory(memory), symbols, types)
    left_out: list[str] = []
    found = []
    try:
        for descriptor in reader.descriptors():
            interrupt = reader.at(descriptor)
            if interrupt.handlers or interrupt.total:
                found.append(interrupt)
    except (*UNREADABLE_ADDRESS, LimitError, FormatError) as error:
        left_out.append(f"some interrupts can't be read: {error}")
    try:
        softirqs = reader.softirqs()
    except (*UNREADABLE_ADDRESS, LimitError) as error:
        softirqs = ()
        left_out.append(f"softirqs can't be read: {error}")
    return Interrupts(tuple(reader.cpus), tuple(found), softirqs, tuple(left_out))


class _Reader:
    def __init__(self, memory: KernelMemory, symbols: SymbolTable, types: Types) -> None:
        self._memory = memory
        self._symbols = symbols
        self._types = types
        self._per_cpu = PerCpu(memory, symbols)
        self.cpus = self._per_cpu.cpus if self._per_cpu else []
        members = {"number": "irq_data.irq", "hardware": "irq_data.hwirq", "chip": "irq_data.chip"}
        self._descriptor = Structure(types, "irq_desc", members | {"action": "action", "counts": "kstat_irqs"})
        self._chip = Structure(types, "irq_chip", {"name": "name"})
        self._action = Structure(types, "irqaction", {"name": "name", "next": "next"})
        self._kernel_stat = Structure(types, "kernel_stat", {"softirqs": "softirqs"})

    def descriptors(self) -> Iterator[int]:
        """Where each struct irq_desc is."""
        budget = Budget("interrupts", MOST_INTERRUPTS)
        if "sparse_irqs" in self._symbols:
            return in_maple_tree(self._memory, self._types, self._symbols.address("sparse_irqs"), budget)
        return in_xarray(self._memory, self._types, self._symbols.address("irq_desc_tree"), budget)

    def at(self, descriptor: int) -> Interrupt:
        values = self._descriptor.read(self._memory, descriptor)
        chip, counts = values.number("chip"), values.number("counts")
        return Interrupt(
            number=values.count("number"),
            hardware=values.count("hardware"),
            controller=string_at(self._memory, self._chip.read(self._memory, chip).number("name")) if chip else None,
            handlers=tuple(self._handlers(values.count("action"))),
            counts=tuple(self._memory.number(self._per_cpu.address(counts, cpu)) for cpu in self.cpus)
            if counts
            else (),
        )

    def _handlers(self, action: int) -> Iterator[str]:
        for _ in range(_MOST_ACTIONS):
            if not action:
                return
            values = self._action.read(self._memory, action)
            yield string_at(self._memory, values.number("name")) or "?"
            action = values.count("next")

    def softirqs(self) -> tuple[tuple[str, tuple[int, ...]], ...]:
        """The counts of each kind of softirq."""
        if "kstat" not in self._symbols:
            return ()
        place = self._kernel_stat.place("softirqs")
        start = self._symbols.address("kstat") + place.offset
        number = min(len(_SOFTIRQS), place.size_bytes // 4)
        columns = [self._memory.unpack(f"{number}I", self._per_cpu.address(start, cpu)) for cpu in self.cpus]
        return tuple((name, tuple(column[at] for column in columns)) for at, name in enumerate(_SOFTIRQS[:number]))

"""Which CPU each NT_PRSTATUS of a dump belongs to, as the notes don't say.

After the last step of "follow one crash" in docs/architecture.md. There are two sources. In the kernel, r13 holds
the address of the CPU's own struct paca_struct (arch/powerpc/include/asm/paca.h), and ``paca_ptrs`` has those
addresses by CPU number, since d2e60075a3d4 (v4.17). In user space, or just after it, r13 is something else.
Secondly, the notes are in the order of CPU numbers: on pseries one for each online CPU
(arch/powerpc/platforms/pseries/rtas-fadump.c, rtas_fadump_build_cpu_notes()), on powernv one for each thread that OPAL
reports, offline ones too (powernv/opal-fadump.c, opal_fadump_build_cpu_notes()), which come last in an ELF core that
``fadump save`` has written. If the two contradict each other, r13 counts, as a missing note shifts the order.
"""

from collections import Counter
from collections.abc import Mapping, Sequence

from fadump.abi.linux import stack as abi
from fadump.abi.linux.page_table import PAGE_OFFSET
from fadump.limits import MOST_CPUS
from fadump.linux.memory import UNREADABLE, KernelMemory
from fadump.linux.symbols.table import SymbolTable, UnknownSymbolError
from fadump.linux.vmcoreinfo import MissingFactError

_UNKNOWN = (*UNREADABLE, MissingFactError, UnknownSymbolError)
"""What is raised if the dump or its kernel lacks the information."""
_MASKS = ("__cpu_online_mask", "__cpu_present_mask")
"""Masks that may be those of the CPUs with notes."""
_OLDER_MASKS = {"__cpu_online_mask": "cpu_online_bits", "__cpu_present_mask": "cpu_present_bits"}
"""Their names before 5aec01b834fd (v4.5)."""

SYMBOLS = frozenset((*_MASKS, *_OLDER_MASKS.values(), "crashing_cpu", "nr_cpu_ids", "paca_ptrs"))
"""The symbols that are looked for here."""


def number_registers(
    memory: KernelMemory, symbols: SymbolTable | None, registers: Sequence[Mapping[str, int]]
) -> list[int | None]:
    """Linux's number of the CPU of each set of ``registers``, None if that can't be known.

    ``registers`` are in the order of the notes, by pt_regs' names. The numbers are distinct.
    """
    owners = _owners(memory, symbols, registers)
    crashed = crashing_cpu(memory, symbols)
    if len(registers) == 1 and crashed is not None and _agree([crashed], owners):
        return [crashed]  # firmware without CPU data: only Linux's own note is there
    online, present = (cpus_in(name, memory, symbols) for name in _MASKS)
    known = frozenset(online)
    saved = sorted(present, key=lambda number: (number not in known, number))
    for numbers in (online, present, saved):
        if len(numbers) == len(registers) and _agree(numbers, owners):
            return list(numbers)
    times = Counter(owners)
    return [owner if times[owner] == 1 else None for owner in owners]


def crashing_cpu(memory: KernelMemory, symbols: SymbolTable | None) -> int | None:
    """The CPU that the kernel crashed on; None if there is none, or it can't be known."""
    if symbols is None or "crashing_cpu" not in symbols:
        return None
    try:
        number = memory.number(symbols.address("crashing_cpu"))
        count = cpu_count(memory, symbols) if "nr_cpu_ids" in symbols else MOST_CPUS
    except _UNKNOWN:
        return None
    return number if number < count else None  # -1: it has not crashed; damaged memory can have any number


def online_cpus(memory: KernelMemory, symbols: SymbolTable | None) -> list[int]:
    """The numbers of the CPUs that were online, rising; none if they can't be known."""
    return cpus_in(_MASKS[0], memory, symbols)


def cpus_in(mask: str, memory: KernelMemory, symbols: SymbolTable | None) -> list[int]:
    """The numbers of the CPUs in one of the kernel's masks, rising; none if they can't be known."""
    if symbols is None:
        return []
    mask = mask if mask in symbols else _OLDER_MASKS.get(mask, mask)
    if mask not in symbols:
        return []
    try:
        words = memory.unpack(f"{-(-cpu_count(memory, symbols) // 64)}Q", symbols.address(mask))
    except _UNKNOWN:
        return []
    return [index * 64 + bit for index, word in enumerate(words) for bit in range(64) if word >> bit & 1]


def cpu_count(memory: KernelMemory, symbols: SymbolTable) -> int:
    """The number of possible CPUs, which all CPU numbers are below. At most :data:`~fadump.limits.MOST_CPUS`.

    :raises UnknownSymbolError: the kernel doesn't list nr_cpu_ids.
    :raises FadumpError: the dump doesn't have it.
    """
    return min(memory.number(symbols.address("nr_cpu_ids")), MOST_CPUS)


def paca_address(memory: KernelMemory, symbols: SymbolTable, number: int) -> int:
    """Where the struct paca_struct of a CPU is, a virtual address.

    :raises UnknownSymbolError: the kernel doesn't list paca_ptrs.
    :raises FadumpError: the dump doesn't have it.
    """
    return memory.word(memory.word(symbols.address("paca_ptrs")) + 8 * number)


def _owners(
    memory: KernelMemory, symbols: SymbolTable | None, registers: Sequence[Mapping[str, int]]
) -> list[int | None]:
    """The CPUs by r13."""
    if symbols is None or "paca_ptrs" not in symbols:
        return [None] * len(registers)
    try:
        pacas = memory.unpack(f"{cpu_count(memory, symbols)}Q", memory.word(symbols.address("paca_ptrs")))
    except _UNKNOWN:
        return [None] * len(registers)
    numbers = {paca: number for number, paca in enumerate(pacas) if paca >= PAGE_OFFSET}
    return [None if values["msr"] & abi.MSR_PR else numbers.get(values["gpr13"]) for values in registers]


def _agree(numbers: Sequence[int], owners: Sequence[int | None]) -> bool:
    return all(owner in (None, number) for number, owner in zip(numbers, owners, strict=True))

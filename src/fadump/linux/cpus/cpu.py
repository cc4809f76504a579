"""The processors at the crash: their registers, and what each was doing.

After the last step of "follow one crash" in docs/architecture.md. The registers are in one NT_PRSTATUS per CPU;
:mod:`fadump.linux.cpus.numbers` finds out which CPU that is.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from fadump.abi.linux import stack as abi
from fadump.limits import MOST_CPUS, MOST_FRAMES, Budget
from fadump.linux.cpus.backtrace import Backtrace, follow_stack, is_in_firmware
from fadump.linux.cpus.numbers import crashing_cpu, number_registers, online_cpus
from fadump.linux.memory import KernelMemory
from fadump.linux.symbols.table import SymbolTable
from fadump.vmcore.contract import Dump
from fadump.vmcore.notes import Prstatus, decode_prstatus

_IDLE_LOOPS = frozenset({"do_idle", "cpu_idle_loop"})


@dataclass(frozen=True, slots=True)
class Cpu:
    """A CPU. ``number`` is Linux's, None if it can't be known; ``registers`` are by pt_regs' names.

    ``crashed`` says whether the kernel crashed on it, ``online`` whether Linux used it, as Linux may not use every
    thread of a core; None if that can't be known. ``pir`` is the processor identification register, which OPAL's core
    names CPUs by.
    """

    number: int | None
    crashed: bool | None
    online: bool | None
    registers: Mapping[str, int]
    backtrace: Backtrace
    pir: int | None = None

    @property
    def in_user_space(self) -> bool:
        """Whether it was in user space, not in the kernel."""
        return bool(self.registers["msr"] & abi.MSR_PR)

    @property
    def in_firmware(self) -> bool:
        """Whether it was in RTAS, OPAL or SLOF, whose stacks are not the kernel's."""
        return is_in_firmware(self.registers)

    @property
    def is_idle(self) -> bool:
        """Whether it ran its idle loop, by its stack: do_idle(), before v4.7 cpu_idle_loop(), and no interrupt."""
        frames = self.backtrace.frames
        return any(frame.symbol is not None and frame.symbol.name in _IDLE_LOOPS for frame in frames) and all(
            frame.trap is None for frame in frames
        )


def read_cpus(memory: KernelMemory, symbols: SymbolTable | None) -> list[Cpu]:
    """All CPUs with registers in the dump; without ``symbols`` they have no numbers and no symbols.

    :raises FormatError: a note is cut short, or there are too many.
    """
    registers = _registers(memory.dump)
    frames = Budget("frames of all stacks", MOST_FRAMES)
    numbers = number_registers(memory, symbols, registers)
    crashing, online = crashing_cpu(memory, symbols), frozenset(online_cpus(memory, symbols))
    return [
        Cpu(
            number=number,
            crashed=None if crashing is None or number is None else number == crashing,
            online=None if not online or number is None else number in online,
            registers=values,
            backtrace=follow_stack(memory, symbols, values, frames),
        )
        for number, values in zip(numbers, registers, strict=True)
    ]


def read_registers(dump: Dump) -> list[Cpu]:
    """The same for a dump that says nothing about its kernel: registers only.

    :raises FormatError: a note is cut short.
    """
    return [
        Cpu(number=None, crashed=None, online=None, registers=values, backtrace=Backtrace(()))
        for values in _registers(dump)
    ]


def _registers(dump: Dump) -> list[Mapping[str, int]]:
    return [status.registers for status in prstatuses(dump)]


def prstatuses(dump: Dump) -> Sequence[Prstatus]:
    """What is in each note with a processor's registers.

    :raises FormatError: a note is cut short, or there are too many.
    """
    notes = [note for note in dump.notes if note.is_prstatus()]
    Budget("notes with a processor's registers", MOST_CPUS).spend(len(notes))
    return [decode_prstatus(note, dump.byte_order) for note in notes]

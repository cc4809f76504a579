"""The processors at the crash: registers, and how they came to where they were.

After the last step of "follow one crash" in docs/architecture.md. The registers are in one NT_PRSTATUS per CPU;
whose they are is found out in :mod:`fadump.linux.cpu_numbers`. Stacks are followed along their back chains
(:mod:`fadump.abi.linux.stack`). Nothing in them is trusted: a backtrace has a limit, and a chain that comes back to
where it was ends there.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from fadump.abi.linux import stack as abi
from fadump.abi.linux.page_table import PAGE_OFFSET
from fadump.abi.linux.pt_regs import REGISTER_NAMES
from fadump.errors import FadumpError, FormatError
from fadump.linux.cpu_numbers import crashing_cpu, number_registers, online_cpus
from fadump.linux.memory import KernelMemory
from fadump.linux.symbols import Place, SymbolTable
from fadump.vmcore.core import Dump
from fadump.vmcore.notes import decode_prstatus

_MOST_FRAMES = 256


@dataclass(frozen=True, slots=True)
class Frame:
    """One function on a stack: ``address`` is where it goes on, ``stack_pointer`` where its frame begins.

    ``trap`` is the interrupt that stopped it, None for a function that waits for another to return.
    """

    address: int
    stack_pointer: int
    place: Place | None
    trap: int | None = None


@dataclass(frozen=True, slots=True)
class Backtrace:
    """Frames, innermost first. ``ended`` says why it ends if not at the stack's end or in user space."""

    frames: Sequence[Frame]
    ended: str | None = None


@dataclass(frozen=True, slots=True)
class Cpu:
    """A CPU. ``number`` is Linux's, None if it can't be known; ``registers`` go by pt_regs' names.

    ``crashed`` says whether it is the CPU that the kernel crashed on, ``online`` whether Linux used it, as it doesn't
    use every thread of a core; None if that can't be known.
    """

    number: int | None
    crashed: bool | None
    online: bool | None
    registers: Mapping[str, int]
    backtrace: Backtrace

    @property
    def in_user_space(self) -> bool:
        """Whether it ran a program, not the kernel."""
        return bool(self.registers["msr"] & abi.MSR_PR)


def read_cpus(memory: KernelMemory, symbols: SymbolTable | None) -> list[Cpu]:
    """All CPUs that the dump has registers of; without ``symbols`` they have no numbers and places.

    :raises FormatError: a note is cut short.
    """
    registers = _registers(memory.dump)
    numbers = number_registers(memory, symbols, registers)
    crashing, online = crashing_cpu(memory, symbols), frozenset(online_cpus(memory, symbols))
    return [
        Cpu(
            number=number,
            crashed=None if crashing is None or number is None else number == crashing,
            online=None if not online or number is None else number in online,
            registers=values,
            backtrace=follow_stack(memory, symbols, values),
        )
        for number, values in zip(numbers, registers, strict=True)
    ]


def read_registers(dump: Dump) -> list[Cpu]:
    """The same of a dump that says nothing about its kernel: registers, and nothing else.

    :raises FormatError: a note is cut short.
    """
    return [
        Cpu(number=None, crashed=None, online=None, registers=values, backtrace=Backtrace(()))
        for values in _registers(dump)
    ]


def _registers(dump: Dump) -> list[Mapping[str, int]]:
    return [decode_prstatus(note, dump.byte_order).registers for note in dump.notes if note.is_prstatus()]


def follow_stack(memory: KernelMemory, symbols: SymbolTable | None, registers: Mapping[str, int]) -> Backtrace:
    """The backtrace from some registers; empty in user space."""
    frames: list[Frame] = []
    if registers["msr"] & abi.MSR_PR:
        return Backtrace(())
    ended: str | None = None
    try:
        for frame in _Stack(memory, symbols).frames(registers):
            if len(frames) == _MOST_FRAMES:
                ended = f"more than {_MOST_FRAMES} frames"
                break
            frames.append(frame)
    except FadumpError as error:
        ended = str(error)
    return Backtrace(tuple(frames), ended)


class _Stack:
    def __init__(self, memory: KernelMemory, symbols: SymbolTable | None) -> None:
        self._memory = memory
        self._symbols = symbols

    def frames(self, registers: Mapping[str, int]) -> Iterator[Frame]:
        pointer = registers["gpr1"]
        yield self._frame(registers["nip"], pointer)
        seen = set()
        while pointer:
            if pointer in seen:
                raise FormatError("stack whose back chain is a loop", offset=pointer)
            seen.add(pointer)
            caller = self._memory.word(pointer + abi.BACK_CHAIN_OFFSET)
            interrupted = self._interrupted(pointer, caller)
            if interrupted is not None:
                yield self._frame(interrupted["nip"], interrupted["gpr1"], interrupted["trap"])
                if interrupted["msr"] & abi.MSR_PR:
                    return
            elif caller >= PAGE_OFFSET:
                yield self._caller(self._memory.word(caller + abi.RETURN_ADDRESS_OFFSET), caller)
            elif caller:
                raise FormatError("stack whose back chain leaves the kernel", offset=pointer, found=caller)
            pointer = caller

    def _frame(self, address: int, pointer: int, trap: int | None = None) -> Frame:
        return Frame(address, pointer, self._place(address), trap)

    def _caller(self, address: int, pointer: int) -> Frame:
        """A function that has called one which may never return: then ``address`` is in the next one already."""
        call = self._place(address - abi.INSTRUCTION_BYTES)
        place = None if call is None else Place(call.symbol, call.offset + abi.INSTRUCTION_BYTES, call.size_bytes)
        return Frame(address, pointer, place)

    def _place(self, address: int) -> Place | None:
        """No symbol names an address in user space, though a vmlinux has some with small values."""
        return self._symbols.place(address) if self._symbols is not None and address >= PAGE_OFFSET else None

    def _interrupted(self, pointer: int, caller: int) -> Mapping[str, int] | None:
        """The registers in a frame that an interrupt has made; it has room for them."""
        for marker_at, registers_at in abi.INTERRUPT_PLACES:
            if pointer < caller < pointer + registers_at + 8 * len(REGISTER_NAMES):
                continue
            if self._memory.word(pointer + marker_at) in abi.INTERRUPT_MARKERS:
                values = self._memory.unpack(f"{len(REGISTER_NAMES)}Q", pointer + registers_at)
                return dict(zip(REGISTER_NAMES, values, strict=True))
        return None

"""Backtraces: the functions on a processor's stack.

After the last step of "follow one crash" in docs/architecture.md. Stacks are followed along their back chains
(:mod:`fadump.abi.linux.stack`). Nothing in them is trusted: the number of frames is limited, and a loop in a chain
ends the backtrace.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from fadump.abi.linux import stack as abi
from fadump.abi.linux.page_table import PAGE_OFFSET
from fadump.abi.linux.pt_regs import REGISTER_NAMES
from fadump.errors import FormatError
from fadump.limits import MOST_STACK_FRAMES, Budget
from fadump.linux.memory import UNREADABLE, KernelMemory
from fadump.linux.symbols.table import SymbolOffset, SymbolTable
from fadump.linux.vmcoreinfo import MissingFactError


@dataclass(frozen=True, slots=True)
class Frame:
    """One function on a stack: ``pc`` is the next instruction it executes, ``sp`` where its frame begins.

    ``trap`` is the interrupt that stopped it, None for a function that has called another.
    """

    pc: int
    sp: int
    symbol: SymbolOffset | None
    trap: int | None = None


@dataclass(frozen=True, slots=True)
class Backtrace:
    """Frames, innermost first. ``ended`` says why it ends before the stack's end or user space; None: it doesn't."""

    frames: Sequence[Frame]
    ended: str | None = None


def is_in_firmware(registers: Mapping[str, int]) -> bool:
    """Whether these are of code in real mode with no stack of the kernel's: of RTAS or OPAL, or of a boot loader."""
    translated = registers["msr"] & (abi.MSR_PR | abi.MSR_IR | abi.MSR_DR)
    return not translated and registers["nip"] < PAGE_OFFSET and registers["gpr1"] < PAGE_OFFSET


def follow_stack(
    memory: KernelMemory, symbols: SymbolTable | None, registers: Mapping[str, int], budget: Budget | None = None
) -> Backtrace:
    """The backtrace from some registers; empty in user space and in firmware, which has a stack of its own.

    ``budget`` is for the frames of all stacks together.
    """
    frames: list[Frame] = []
    if registers["msr"] & abi.MSR_PR or is_in_firmware(registers):
        return Backtrace(())
    ended: str | None = None
    try:
        for frame in _Stack(memory, symbols).frames(registers):
            if len(frames) == MOST_STACK_FRAMES:
                ended = f"more than {MOST_STACK_FRAMES} frames"
                break
            if budget is not None:
                budget.spend()
            frames.append(frame)
    except (*UNREADABLE, MissingFactError) as error:
        ended = str(error)
    return Backtrace(tuple(frames), ended)


class _Stack:
    def __init__(self, memory: KernelMemory, symbols: SymbolTable | None) -> None:
        self._memory = memory
        self._symbols = symbols

    def frames(self, registers: Mapping[str, int]) -> Iterator[Frame]:
        pointer = registers["gpr1"]
        yield self._frame(registers["nip"], pointer)
        if pointer < PAGE_OFFSET and self._is_vector(registers["nip"]):
            return
        innermost: Mapping[str, int] | None = registers
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
            elif 0 < caller < PAGE_OFFSET or caller % abi.FRAME_ALIGNMENT:
                raise FormatError("stack whose back chain leads to no frame of Linux", offset=pointer, found=caller)
            elif caller:
                saved = self._memory.word(caller + abi.RETURN_ADDRESS_OFFSET)
                yield from self._callers(innermost, pointer, caller, saved)
            innermost, pointer = interrupted, caller

    def _is_vector(self, address: int) -> bool:
        """Whether an interrupt has just come there, so that the stack may still be that of user space."""
        symbols = self._symbols
        return symbols is not None and "__end_interrupts" in symbols and address < symbols.address("__end_interrupts")

    def _frame(self, address: int, pointer: int, trap: int | None = None) -> Frame:
        return Frame(address, pointer, self._symbol(address), trap)

    def _caller(self, address: int, pointer: int) -> Frame:
        """The frame of a caller. ``address`` is in the next function if this one's last instruction is the call."""
        call = self._symbol(address - abi.INSTRUCTION_BYTES)
        symbol = None if call is None else _behind(call)
        return Frame(address, pointer, symbol)

    def _callers(self, innermost: Mapping[str, int] | None, pointer: int, caller: int, saved: int) -> Iterator[Frame]:
        """The callers of the function whose frame is at ``pointer``, by the return address that is ``saved`` for it.

        The ``innermost`` function may have its return address in LR only. If it has no frame, or none yet, the one at
        ``pointer`` is its caller's. If it has a frame but hasn't saved LR yet, ``saved`` is of an earlier call by the
        same caller.
        """
        in_lr = None if innermost is None else self._unsaved(innermost, saved)
        if in_lr is None:
            yield self._caller(saved, caller)
        elif self._symbol_of_call(saved) == self._symbol_of_call(in_lr):
            yield self._caller(in_lr, caller)
        else:
            yield self._caller(in_lr, pointer)
            yield self._caller(saved, caller)

    def _unsaved(self, innermost: Mapping[str, int], saved: int) -> int | None:
        """The return address in LR; None if it is saved, or LR is left from a call by the function itself.

        What has been jumped to may be no function, as by a pointer that is NULL.
        """
        link, here = innermost["link"], self._symbol(innermost["nip"])
        if link == saved or not self._is_text(link):
            return None
        return None if self._symbol_of_call(link) in (None, here and here.name) else link

    def _symbol_of_call(self, address: int) -> str | None:
        symbol = self._symbol(address - abi.INSTRUCTION_BYTES)
        return None if symbol is None else symbol.name

    def _is_text(self, address: int) -> bool:
        symbols = self._symbols
        if symbols is None or "_etext" not in symbols:
            return False
        symbol = self._symbol(address)
        return address < symbols.address("_etext") or (symbol is not None and bool(symbol.module))

    def _symbol(self, address: int) -> SymbolOffset | None:
        """The symbol at a kernel address; user space has none, though some of a vmlinux have small values."""
        return self._symbols.symbol(address) if self._symbols is not None and address >= PAGE_OFFSET else None

    def _interrupted(self, pointer: int, caller: int) -> Mapping[str, int] | None:
        """The registers in the frame at ``pointer`` if it is an interrupt's and large enough for them, else None."""
        for marker_at, registers_at in abi.INTERRUPT_PLACES:
            if pointer < caller < pointer + registers_at + 8 * len(REGISTER_NAMES):
                continue
            if self._memory.word(pointer + marker_at) in abi.INTERRUPT_MARKERS:
                values = self._memory.unpack(f"{len(REGISTER_NAMES)}Q", pointer + registers_at)
                return dict(zip(REGISTER_NAMES, values, strict=True))
        return None


def _behind(call: SymbolOffset) -> SymbolOffset:
    """Where a call returns to."""
    return SymbolOffset(call.name, call.offset + abi.INSTRUCTION_BYTES, call.size_bytes, call.module)

"""OPAL at its end: the processors in its core, and what each was doing in OPAL's own code.

After the last step of "follow one crash" in docs/architecture.md. skiboot carries a list of its symbols
(:mod:`fadump.abi.powernv.symbol_map`), and its stacks are followed along their back chains, as core/backtrace.c of
skiboot does. A CPU that was elsewhere, in Linux most likely, has no backtrace: its stack is not in the core.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from operator import attrgetter

from fadump.abi.linux import stack as abi
from fadump.abi.powernv.symbol_map import OpalSymbol, find_symbol_map, symbols_of
from fadump.errors import AddressError, FormatError
from fadump.limits import MOST_OPAL_IMAGE_BYTES, MOST_STACK_FRAMES
from fadump.linux.cpus.backtrace import Backtrace, Frame
from fadump.linux.cpus.cpu import Cpu, prstatuses
from fadump.linux.symbols.table import Symbol, SymbolOffset, SymbolTable
from fadump.vmcore.contract import Dump
from fadump.vmcore.opal_core import ended_by_itself, opal_cpus

_LAST_ADDRESS = (1 << 64) - 1


@dataclass(frozen=True, slots=True)
class OpalCore:
    """OPAL at its end: where it is entered, the CPUs, and whether it ended ``by_itself``, None if nothing says so."""

    entry: int
    cpus: Sequence[Cpu]
    by_itself: bool | None


def read_opal(dump: Dump) -> OpalCore | None:
    """What OPAL's core says; None: it is another dump.

    :raises FormatError: a note is cut short, or there are too many; or the file has become shorter.
    """
    if dump.opal_entry is None:
        return None
    statuses = prstatuses(dump)
    stacks = _Stacks(dump)
    cpus = [
        Cpu(
            number=None,
            crashed=cpu.crashed,
            online=None,
            registers=status.registers,
            backtrace=stacks.backtrace(status.registers),
            pir=cpu.pir,
        )
        for cpu, status in zip(opal_cpus(statuses), statuses, strict=True)
        if cpu is not None
    ]
    return OpalCore(dump.opal_entry, cpus, ended_by_itself(statuses))


@dataclass(frozen=True, slots=True)
class OpalImage:
    """OPAL's code and data, which run at ``base``, and the symbols that it lists, by address; none if it lists none."""

    base: int
    content: bytes
    symbols: Sequence[OpalSymbol]


def opal_image(dump: Dump) -> OpalImage:
    """What is in OPAL's core of it; nothing, if the core is cut short there.

    :raises FormatError: the file has become shorter since it was opened.
    """
    base = next((piece.virtual for piece in dump.virtual_ranges if not piece.physical.start), 0)
    size_bytes = min(MOST_OPAL_IMAGE_BYTES, max((piece.end for piece in dump.memory), default=0))
    try:
        content = dump.read_physical(0, size_bytes)
    except AddressError:  # it is damaged, which is said elsewhere
        content = b""
    end = min(len(content), _LAST_ADDRESS - base)
    listed = (symbol for symbol in symbols_of(find_symbol_map(content)) if symbol.offset <= end)
    return OpalImage(base, content, sorted(listed, key=attrgetter("offset")))


class _Stacks:
    """Memory of OPAL's, with its symbols."""

    def __init__(self, dump: Dump) -> None:
        self._dump = dump
        image = opal_image(dump)
        self._base = image.base
        self._symbols = SymbolTable(
            Symbol(symbol.name, self._base + symbol.offset, symbol.kind) for symbol in image.symbols
        )

    def backtrace(self, registers: Mapping[str, int]) -> Backtrace:
        """The frames of a CPU that was in OPAL; none of another."""
        if self._symbol(registers["nip"]) is None:
            return Backtrace(())
        frames: list[Frame] = []
        try:
            for frame in self._frames(registers):
                if len(frames) == MOST_STACK_FRAMES:
                    return Backtrace(tuple(frames), f"more than {MOST_STACK_FRAMES} frames")
                frames.append(frame)
        except (AddressError, FormatError) as error:
            return Backtrace(tuple(frames), str(error))
        return Backtrace(tuple(frames))

    def _frames(self, registers: Mapping[str, int]) -> Iterator[Frame]:
        pointer, here, link = registers["gpr1"], registers["nip"], registers["link"]
        yield Frame(here, pointer, self._symbol(here))
        caller = self._word(pointer + abi.BACK_CHAIN_OFFSET)
        saved = self._word(caller + abi.RETURN_ADDRESS_OFFSET) if self._is_on_stack(caller) else 0
        if self._is_unsaved(here, link, saved):
            yield self._caller(link, pointer)
        while self._is_on_stack(caller):
            if caller <= pointer:
                raise FormatError("stack whose back chain leads back", offset=pointer, found=caller)
            yield self._caller(self._word(caller + abi.RETURN_ADDRESS_OFFSET), caller)
            pointer, caller = caller, self._word(caller + abi.BACK_CHAIN_OFFSET)

    def _is_unsaved(self, here: int, link: int, saved: int) -> bool:
        """Whether the innermost function has no frame yet, so that its caller is known to LR only."""
        of_link, of_here = self._symbol(link - abi.INSTRUCTION_BYTES), self._symbol(here)
        return link != saved and None not in (of_link, of_here) and _name(of_link) != _name(of_here)

    def _is_on_stack(self, pointer: int) -> bool:
        """Whether a frame is OPAL's: it was Linux that has called it, on a stack of its own."""
        return pointer - self._base in self._dump.memory

    def _caller(self, address: int, pointer: int) -> Frame:
        """The frame of a caller. ``address`` is in the next function if this one's last instruction is the call."""
        call = self._symbol(address - abi.INSTRUCTION_BYTES)
        symbol = None if call is None else SymbolOffset(call.name, call.offset + abi.INSTRUCTION_BYTES, call.size_bytes)
        return Frame(address, pointer, symbol)

    def _symbol(self, address: int) -> SymbolOffset | None:
        return self._symbols.symbol(address)

    def _word(self, address: int) -> int:
        return int.from_bytes(self._dump.read_physical(address - self._base, 8), self._dump.byte_order)


def _name(symbol: SymbolOffset | None) -> str:
    return "" if symbol is None else symbol.name

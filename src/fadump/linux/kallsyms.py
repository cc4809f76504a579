"""The symbols that the crashed kernel itself lists.

After the last step of "follow one crash" in docs/architecture.md; the layout is in :mod:`fadump.abi.linux.kallsyms`.
It has the kernel's symbols, not its modules'. Nothing in it is trusted: there is a limit to the number of symbols,
and a table that contradicts itself is an error.
"""

from fadump.abi.linux import kallsyms as abi
from fadump.errors import FormatError
from fadump.linux.memory import KernelMemory
from fadump.linux.symbols import Symbol, SymbolTable

_MOST_SYMBOLS = 1 << 22
_MOST_NAME_BYTES = 1 << 14
_MOST_TOKEN_BYTES = 1 << 16
_STEP_BYTES = 1 << 16
_ADDRESS_MASK = (1 << 64) - 1


def read_kallsyms(memory: KernelMemory) -> SymbolTable:
    """All symbols.

    :raises MissingFactError: VMCOREINFO doesn't say where they are: the kernel is older than v6.0.
    :raises AddressError: the dump doesn't have all of them.
    :raises TranslationError: they are at an address that isn't mapped.
    :raises FormatError: they make no sense.
    """
    facts = memory.facts
    count = memory.number(facts.symbol("kallsyms_num_syms"))
    if count > _MOST_SYMBOLS:
        raise FormatError("number of symbols", offset=0, expected=f"at most {_MOST_SYMBOLS}", found=count)
    names = _names(memory, facts.symbol("kallsyms_names"), count)
    symbols = [
        Symbol(name[1:].decode("utf-8", "backslashreplace"), address, name[:1].decode("ascii", "backslashreplace"))
        for name, address in zip(names, _addresses(memory, count), strict=True)
    ]
    return SymbolTable(symbols)


def _names(memory: KernelMemory, start: int, count: int) -> list[bytes]:
    tokens = _tokens(memory)
    packed = _Packed(memory, start)
    names: list[bytes] = []
    for _ in range(count):
        length = packed.take(1)[0]
        if length & abi.LONG_LENGTH:
            length = length & ~abi.LONG_LENGTH | packed.take(1)[0] << abi.LONG_LENGTH_SHIFT
        name = b"".join([tokens[byte] for byte in packed.take(length)])
        if not 0 < len(name) <= _MOST_NAME_BYTES:
            raise FormatError("length of a symbol's name", offset=packed.taken, expected=1, found=len(name))
        names.append(name)
    return names


class _Packed:
    """The bytes of kallsyms_names, whose number nobody states: read as they are needed."""

    def __init__(self, memory: KernelMemory, start: int) -> None:
        self._memory = memory
        self._start = start
        self._data = b""
        self._at = 0
        self.taken = 0

    def take(self, length: int) -> bytes:
        if self._at + length > len(self._data):
            self._fill(length)
        self._at += length
        self.taken += length
        return self._data[self._at - length : self._at]

    def _fill(self, length: int) -> None:
        """Read on up to the end of the step that ``length`` bytes end in: memory may end behind it."""
        rest = self._data[self._at :]
        at = self._start + self.taken + len(rest)
        needed = length - len(rest)
        self._data = rest + self._memory.read(at, needed + -(at + needed) % _STEP_BYTES)
        self._at = 0


def _tokens(memory: KernelMemory) -> list[bytes]:
    table, index = (memory.facts.symbol(f"kallsyms_token_{name}") for name in ("table", "index"))
    starts = memory.unpack(f"{abi.TOKENS}H", index)
    last = memory.string(table + starts[-1], _MOST_TOKEN_BYTES)
    data = memory.read(table, starts[-1] + len(last) + 1)
    return [data[start : data.index(b"\0", min(start, len(data) - 1))] for start in starts]


def _addresses(memory: KernelMemory, count: int) -> list[int]:
    facts = memory.facts
    if "SYMBOL(kallsyms_offsets)" not in facts:
        return list(memory.unpack(f"{count}Q", facts.symbol("kallsyms_addresses")))
    start = facts.symbol("kallsyms_offsets")
    if "SYMBOL(kallsyms_relative_base)" in facts:
        base = memory.word(facts.symbol("kallsyms_relative_base"))
        return [base + offset & _ADDRESS_MASK for offset in memory.unpack(f"{count}I", start)]
    offsets = memory.unpack(f"{count}i", start)
    return [start + 4 * number + offset & _ADDRESS_MASK for number, offset in enumerate(offsets)]

"""The crashed kernel's own list of symbols.

After the last step of "follow one crash" in docs/architecture.md; the layout is in :mod:`fadump.abi.linux.kallsyms`.
It has the kernel's symbols, not its modules'. Nothing in it is trusted: the number of symbols and the size of all
names together are limited, and a table that contradicts itself is an error.
"""

from codecs import charmap_decode
from collections.abc import Iterable, Iterator, Sequence

from fadump.abi.linux import kallsyms as abi
from fadump.errors import FormatError, LimitError
from fadump.limits import MOST_NAME_BYTES, MOST_NAMES_BYTES, MOST_SYMBOLS
from fadump.linux.memory import KernelMemory
from fadump.linux.symbols import Symbol, SymbolTable

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
    if count > MOST_SYMBOLS:
        raise LimitError("symbols that the kernel lists", found=count, limit=MOST_SYMBOLS)
    packed = _packed_names(memory, facts.symbol("kallsyms_names"), count)
    names = _unpacked(packed, _tokens(memory))
    return SymbolTable(
        Symbol(name[1:], address, name[0]) for name, address in zip(names, _addresses(memory, count), strict=True)
    )


def _unpacked(packed: Iterable[bytes], tokens: Sequence[bytes]) -> Iterator[str]:
    """Names, each after the letter of its kind. Each byte of a packed one stands for a token."""
    token_of = {number: token.decode("latin-1") for number, token in enumerate(tokens)}
    longest = max(map(len, tokens))
    names_bytes = 0
    for number, packed_name in enumerate(packed):
        if len(packed_name) * longest > MOST_NAME_BYTES:  # else it can't be too long
            name_bytes = sum(len(tokens[byte]) for byte in packed_name)
            if name_bytes > MOST_NAME_BYTES:
                raise LimitError(f"bytes in the name of symbol {number}", found=name_bytes, limit=MOST_NAME_BYTES)
        name, _length = charmap_decode(packed_name, "strict", token_of)
        if not name:
            raise FormatError(f"symbol {number} of the kernel's own list has no name")
        names_bytes += len(name)
        if names_bytes > MOST_NAMES_BYTES:
            raise LimitError("bytes in the names of symbols", found=names_bytes, limit=MOST_NAMES_BYTES)
        yield name if name.isascii() else _name_of(name.encode("latin-1"))


def _name_of(raw: bytes) -> str:
    return raw[:1].decode("latin-1") + raw[1:].decode("utf-8", "backslashreplace")


def _packed_names(memory: KernelMemory, start: int, count: int) -> Iterator[bytes]:
    """The packed names. Their size is stated nowhere, so they are read step by step."""
    steps = _Steps(memory, start)
    data, at = b"", 0
    for _ in range(count):
        if at == len(data):
            data, at = steps.more(b"", 1), 0
        length = data[at]
        at += 1
        if length & abi.LONG_LENGTH:
            if at == len(data):
                data, at = steps.more(b"", 1), 0
            length = length & ~abi.LONG_LENGTH | data[at] << abi.LONG_LENGTH_SHIFT
            at += 1
        if at + length > len(data):
            data, at = steps.more(data[at:], length), 0
        yield data[at : at + length]
        at += length


class _Steps:
    """Reads memory from one address on, step by step."""

    def __init__(self, memory: KernelMemory, start: int) -> None:
        self._memory = memory
        self._at = start

    def more(self, rest: bytes, needed: int) -> bytes:
        """``rest``, which was read last, and what follows it: up to ``needed`` bytes, then to the end of that step.

        Memory may end there.
        """
        end = self._at + needed - len(rest)
        length = end + -end % _STEP_BYTES - self._at
        data = rest + self._memory.read(self._at, length)
        self._at += length
        return data


def _tokens(memory: KernelMemory) -> list[bytes]:
    table, index = (memory.facts.symbol(f"kallsyms_token_{name}") for name in ("table", "index"))
    starts = memory.unpack(f"{abi.TOKENS}H", index)
    last = memory.string(table + starts[-1], _MOST_TOKEN_BYTES)
    data = memory.read(table, starts[-1] + len(last) + 1)
    if data[-1]:
        raise FormatError(f"the table of tokens of the kernel's symbols has no end within {_MOST_TOKEN_BYTES:#x} bytes")
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

"""The crashed kernel's own list of symbols.

After the last step of "follow one crash" in docs/architecture.md; the layout is in :mod:`fadump.abi.linux.kallsyms`.
It has the kernel's symbols, not its modules'. Where it is, VMCOREINFO says since v6.0; else it is searched for
(:mod:`fadump.linux.symbols.kallsyms_search`). Nothing in it is trusted: the number of symbols and the size of all
names together are limited, and a table that contradicts itself is an error.
"""

from codecs import charmap_decode
from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from fadump.abi.linux import kallsyms as abi
from fadump.errors import FormatError, LimitError
from fadump.limits import MOST_NAME_BYTES, MOST_NAMES_BYTES, MOST_SYMBOLS
from fadump.linux.memory import KernelMemory
from fadump.linux.symbols.kallsyms_search import Tables, search_tables
from fadump.linux.symbols.table import Symbol, SymbolTable

_MOST_TOKEN_BYTES = 1 << 16
_STEP_BYTES = 1 << 16
_BITS = 63
"""Of a signed word of numpy's."""
_ADDRESS_MASK = (1 << 64) - 1


Numbers = npt.NDArray[np.int64]


class _Piece(NamedTuple):
    """Some of the packed names: ``data`` has them, each from its start to its end."""

    data: bytes
    starts: Numbers
    ends: Numbers


def read_kallsyms(memory: KernelMemory) -> SymbolTable:
    """All symbols.

    :raises MissingFactError: VMCOREINFO doesn't say where they are, and they aren't found.
    :raises AddressError: the dump doesn't have all of them.
    :raises TranslationError: they are at an address that isn't mapped.
    :raises FormatError: they make no sense.
    """
    tables = _tables(memory)
    count = _count(memory, tables)
    names = _unpacked(_packed_names(memory, tables.names, count), _tokens(memory, tables))
    addresses = _addresses(memory, tables, count)
    return SymbolTable(Symbol(name[1:], address, name[0]) for name, address in zip(names, addresses, strict=True))


def _tables(memory: KernelMemory) -> Tables:
    """Where VMCOREINFO says that they are, or where they are found."""
    if "SYMBOL(kallsyms_num_syms)" not in memory.facts:
        found = search_tables(memory)
        if found is not None:
            return found
    symbol = memory.facts.symbol
    kind, base = "Q", None
    if "SYMBOL(kallsyms_relative_base)" in memory.facts:
        kind, base = "I", memory.word(symbol("kallsyms_relative_base"))
    elif "SYMBOL(kallsyms_offsets)" in memory.facts:
        kind = "i"
    return Tables(
        count=symbol("kallsyms_num_syms"),
        names=symbol("kallsyms_names"),
        token_table=symbol("kallsyms_token_table"),
        token_index=symbol("kallsyms_token_index"),
        addresses=symbol("kallsyms_addresses" if kind == "Q" else "kallsyms_offsets"),
        kind=kind,
        base=base,
    )


def _count(memory: KernelMemory, tables: Tables) -> int:
    count = memory.number(tables.count)
    if count > MOST_SYMBOLS:
        raise LimitError("symbols that the kernel lists", found=count, limit=MOST_SYMBOLS)
    return count


def find_kallsyms(memory: KernelMemory, names: Collection[str]) -> SymbolTable:
    """The symbols of these names, as far as there are any: a fraction of the work, as few names are unpacked.

    :raises FadumpError: as :func:`read_kallsyms`.
    """
    tables = _tables(memory)
    count = _count(memory, tables)
    tokens = _tokens(memory, tables)
    wanted = frozenset(name.encode() for name in names)
    like = _Like(tokens, wanted)
    found, before = [], 0
    for piece in _pieces(memory, tables.names, count):
        for index in like.indices(piece):
            raw = b"".join(map(tokens.__getitem__, piece.data[piece.starts[index] : piece.ends[index]]))
            if raw[1:] in wanted:
                name = _name_of(raw)
                found.append(Symbol(name[1:], _address(memory, tables, before + index), name[0]))
        before += len(piece.starts)
    return SymbolTable(found)


class _Like:
    """Tells names that may be some known ones, before they are unpacked: by their first and their last two tokens."""

    def __init__(self, tokens: Sequence[bytes], names: Iterable[bytes]) -> None:
        """The first token begins with the letter of a symbol's kind, which is not in ``names``. A bit is a name's."""
        bits = [(1 << number % _BITS, name) for number, name in enumerate(names)]
        first, within, last = [0] * len(tokens), [0] * len(tokens), [0] * len(tokens)
        for number, token in enumerate(tokens):
            rest = token[1:]
            for bit, name in bits:
                if name.startswith(rest):
                    first[number] |= bit
                if token in name or rest == name:
                    within[number] |= bit
                if name.endswith(token) or rest == name:
                    last[number] |= bit
        self._first, self._within, self._last = (np.array(table, np.int64) for table in (first, within, last))

    def indices(self, piece: _Piece) -> list[int]:
        """Which names of a piece may be known ones.

        :raises FormatError: one has no byte.
        """
        data, first, last = np.frombuffer(piece.data, np.uint8), piece.starts, piece.ends - 1
        if (first > last).any():
            raise FormatError("a symbol of the kernel's own list has no name")
        second = np.minimum(first + 1, last)
        last_but_one = np.maximum(last - 1, second)
        may_be = self._first[data[first]] & self._last[data[last]]
        may_be &= self._within[data[second]] & self._within[data[last_but_one]]
        found: list[int] = np.flatnonzero(may_be).tolist()
        return found


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
    for data, starts, ends in _pieces(memory, start, count):
        for first, end in zip(starts.tolist(), ends.tolist(), strict=True):
            yield data[first:end]


def _pieces(memory: KernelMemory, start: int, count: int) -> Iterator[_Piece]:
    """The packed names. Their size is stated nowhere, so they are read step by step."""
    steps = _Steps(memory, start)
    data, long_length = b"", abi.LONG_LENGTH
    while count:
        data = steps.more(data, len(data) + 1)
        heads, at, last = [], 0, len(data) - 1
        while at < last:  # all that is done for each symbol of a kernel, so as little as can be
            heads.append(at)
            length = data[at]
            at += length + 1 if length < long_length else _long_length(data, at) + 2
        heads.append(at)
        places = np.array(heads[: count + 1])
        places = places[places <= len(data)]
        lengths = np.frombuffer(data, np.uint8)[places[:-1]]
        yield _Piece(data, places[:-1] + 1 + (lengths >= long_length), places[1:])
        count -= len(places) - 1
        data = data[places[-1] :]


def _long_length(data: bytes, at: int) -> int:
    return data[at] & ~abi.LONG_LENGTH | data[at + 1] << abi.LONG_LENGTH_SHIFT


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


def _tokens(memory: KernelMemory, tables: Tables) -> list[bytes]:
    starts = memory.unpack(f"{abi.TOKENS}H", tables.token_index)
    last = memory.string(tables.token_table + starts[-1], _MOST_TOKEN_BYTES)
    data = memory.read(tables.token_table, starts[-1] + len(last) + 1)
    if data[-1]:
        raise FormatError(f"the table of tokens of the kernel's symbols has no end within {_MOST_TOKEN_BYTES:#x} bytes")
    return [data[start : data.index(b"\0", min(start, len(data) - 1))] for start in starts]


def _addresses(memory: KernelMemory, tables: Tables, count: int) -> list[int]:
    numbers = memory.unpack(f"{count}{tables.kind}", tables.addresses)
    if tables.kind == "Q":
        return list(numbers)
    if tables.base is not None:
        return [tables.base + offset & _ADDRESS_MASK for offset in numbers]
    return [tables.addresses + 4 * number + offset & _ADDRESS_MASK for number, offset in enumerate(numbers)]


def _address(memory: KernelMemory, tables: Tables, number: int) -> int:
    """The address of one symbol."""
    at = tables.addresses + number * (8 if tables.kind == "Q" else 4)
    (value,) = memory.unpack(tables.kind, at)
    if tables.kind == "Q":
        return int(value)
    return int((at if tables.base is None else tables.base) + value & _ADDRESS_MASK)

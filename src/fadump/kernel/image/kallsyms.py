"""The model kernel's table of its own symbols, as scripts/kallsyms.c packs it.

The layout is :mod:`fadump.abi.linux.kallsyms`, with offsets from a base, or from where each offset is. Tokens of more
than one letter are the most common pairs of letters, as in kallsyms.c, but pairs of pairs aren't formed.
"""

import struct
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from fadump.abi.linux import kallsyms as abi

_FIRST_PAIR = 0x80
"""Names have no bytes from here on, so these can be pairs."""


@dataclass(frozen=True, slots=True)
class Symbol:
    """A symbol; ``kind`` is nm's letter, ``address`` is virtual."""

    name: str
    kind: str
    address: int


def tables(symbols: Sequence[Symbol]) -> Mapping[str, bytes]:
    """The tables by their names in the kernel, without "kallsyms_"; symbols are sorted by address."""
    ordered = sorted(symbols, key=lambda symbol: symbol.address)
    names = [f"{symbol.kind}{symbol.name}".encode() for symbol in ordered]
    tokens = _tokens(names)
    pairs = {token: bytes([code]) for code, token in enumerate(tokens) if len(token) > 1}
    packed = b"".join(_packed(name, pairs) for name in names)
    starts, table = [], b""
    for token in tokens:
        starts.append(len(table))
        table += token + b"\0"
    base = ordered[0].address
    return {
        "num_syms": struct.pack("<I", len(ordered)),
        "names": packed,
        "token_table": table,
        "token_index": struct.pack(f"<{abi.TOKENS}H", *starts),
        "offsets": struct.pack(f"<{len(ordered)}I", *(symbol.address - base for symbol in ordered)),
        "relative_base": struct.pack("<Q", base),
    }


def offsets_from_places(symbols: Sequence[Symbol], address: int) -> bytes:
    """The offsets of a kernel without a base, which has them at ``address``."""
    ordered = sorted(symbols, key=lambda symbol: symbol.address)
    offsets = (symbol.address - address - 4 * index for index, symbol in enumerate(ordered))
    return struct.pack(f"<{len(ordered)}i", *offsets)


def _tokens(names: Sequence[bytes]) -> list[bytes]:
    counts = Counter(bytes(pair) for name in names for pair in pairwise(name))
    common = [pair for pair, _count in counts.most_common(abi.TOKENS - _FIRST_PAIR)]
    letters = [bytes([code]) if 0x21 <= code < 0x7F else b"" for code in range(_FIRST_PAIR)]
    return [*letters, *common, *[b""] * (abi.TOKENS - _FIRST_PAIR - len(common))]


def _packed(name: bytes, pairs: Mapping[bytes, bytes]) -> bytes:
    codes, at = b"", 0
    while at < len(name):
        pair = name[at : at + 2]
        codes += pairs.get(pair, name[at : at + 1])
        at += 2 if pair in pairs else 1
    length = len(codes)
    if length < abi.LONG_LENGTH:
        return bytes([length]) + codes
    return bytes([length & (abi.LONG_LENGTH - 1) | abi.LONG_LENGTH, length >> abi.LONG_LENGTH_SHIFT]) + codes

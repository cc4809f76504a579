"""Where the crashed kernel's own list of symbols is, by its shape: kernels before v6.0 don't say it.

After the last step of "follow one crash" in docs/architecture.md. Linux: scripts/kallsyms.c, which writes the tables in
this order, each at a multiple of 8, into the kernel's read-only data:

    kallsyms_offsets and kallsyms_relative_base, or kallsyms_addresses
    kallsyms_num_syms       u32; u64 in the oldest kernels
    kallsyms_names
    kallsyms_markers        of the same type: where every 256th name begins, from kallsyms_names on
    kallsyms_token_table, kallsyms_token_index

The tokens of digits are the digits themselves, so that the table of tokens can be searched for. Each of the others
follows from the one behind it, and is taken only if all of them agree.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import accumulate, count
from typing import Any

import numpy as np
import numpy.typing as npt

from fadump.abi.layout import STRUCT_ORDER
from fadump.abi.linux import kallsyms as abi
from fadump.abi.linux.page_table import PAGE_OFFSET
from fadump.limits import MOST_KERNEL_IMAGE_BYTES, MOST_SYMBOLS
from fadump.linux.memory import UNREADABLE, KernelMemory
from fadump.memory.ranges import Range

_DIGITS = b"".join(b"%d\0" % digit for digit in range(10))
_STEP_BYTES = 1 << 16
_MOST_TOKENS_BYTES = 1 << 14
"""Of the table of tokens, which are parts of names; real ones have about 1000 bytes."""
_NAMES_PER_MARKER = 256
_ALIGNMENT = 8

Words = npt.NDArray[np.unsignedinteger[Any]]


@dataclass(frozen=True, slots=True)
class Tables:
    """Where the tables are. ``kind`` is what struct calls an entry of ``addresses``; each is from ``base`` on, if that
    isn't None, else from the entry itself if it has 32 bits."""

    count: int
    names: int
    token_table: int
    token_index: int
    addresses: int
    kind: str
    base: int | None = None


def search_tables(memory: KernelMemory) -> Tables | None:
    """The tables, if VMCOREINFO says where the kernel's code begins, and they follow it in the order of before v6.0.

    :raises FormatError: VMCOREINFO's SYMBOL(_stext) is no address.
    """
    if "SYMBOL(_stext)" not in memory.facts:
        return None
    start = memory.facts.symbol("_stext")
    for digits in _digits(memory, start):
        try:
            tables = _Search(memory, start).tables(digits)
        except UNREADABLE:
            continue
        if tables is not None:
            return tables
    return None


def _digits(memory: KernelMemory, start: int) -> Iterator[int]:
    """Where the tokens of the digits may be: from ``start`` on, as far as there is memory."""
    data = b""
    steps = memory.views(Range.sized(start, MOST_KERNEL_IMAGE_BYTES), _STEP_BYTES)
    for end, view in zip(count(start + _STEP_BYTES, _STEP_BYTES), steps, strict=False):
        if view is None:
            return
        data = data[1 - len(_DIGITS) :] + view.tobytes()
        found = data.find(_DIGITS)
        while found >= 0:
            yield end - len(data) + found
            found = data.find(_DIGITS, found + 1)


class _Search:
    """Goes from the tokens back to the addresses."""

    def __init__(self, memory: KernelMemory, start: int) -> None:
        """No table begins before ``start``."""
        self._memory = memory
        self._start = start

    def tables(self, digits: int) -> Tables | None:
        tokens = self._tokens(digits)
        if tokens is None:
            return None
        for marker_bytes in (4, 8):
            markers = self._markers(tokens[0], marker_bytes)
            if markers is None:
                continue
            names = self._names(*markers, marker_bytes)
            if names is None:
                continue
            addresses = self._addresses(*names)
            if addresses is not None:
                high_bytes = marker_bytes - 4 if self._memory.byte_order == "big" else 0
                where, kind, base = addresses
                return Tables(names[0] - _ALIGNMENT + high_bytes, names[0], *tokens, where, kind, base)
        return None

    def _tokens(self, digits: int) -> tuple[int, int] | None:
        """Where the table of tokens and its index begin, by the offsets that are in the index."""
        rest = self._memory.read(digits, _MOST_TOKENS_BYTES).split(b"\0", abi.TOKENS - ord("0"))
        sizes = [len(token) + 1 for token in rest[:-1]]
        index_at = digits + sum(sizes)
        index_at += -index_at % _ALIGNMENT
        index = self._words(index_at, abi.TOKENS, 2)
        table = digits - int(index[ord("0")])
        starts = list(accumulate(sizes, initial=int(index[ord("0")])))
        if len(rest) <= abi.TOKENS - ord("0") or index[0] or index[ord("0") :].tolist() != starts[:-1]:
            return None
        before = self._memory.read(table, digits - table)
        ends = index[1 : ord("0") + 1].astype(np.int64) - 1
        if table % _ALIGNMENT or [at for at, byte in enumerate(before) if not byte] != ends.tolist():
            return None
        return table, index_at

    def _markers(self, end: int, marker_bytes: int) -> tuple[int, Words] | None:
        """Where the markers begin that end there, and they: they rise, and the first is 0."""
        most = min(MOST_SYMBOLS // _NAMES_PER_MARKER * marker_bytes, end - self._start) // _ALIGNMENT * _ALIGNMENT
        words = self._words(end - most, most // marker_bytes, marker_bytes)[::-1]
        padding = int(marker_bytes < _ALIGNMENT and words[0] == 0)
        words = words[padding:]
        zeros = np.flatnonzero(words == 0)
        if not len(zeros) or not zeros[0]:
            return None
        markers = words[: zeros[0] + 1][::-1]
        start = end - (padding + len(markers)) * marker_bytes
        return None if start % _ALIGNMENT or (markers[1:] <= markers[:-1]).any() else (start, markers)

    def _names(self, end: int, markers: Words, marker_bytes: int) -> tuple[int, int] | None:
        """Where the names begin that end there, and how many they are."""
        last = int(markers[-1])
        lowest = max(self._start, end - last - (_NAMES_PER_MARKER * abi.LONG_LENGTH + 2 * _ALIGNMENT))
        lowest += -lowest % _ALIGNMENT
        data = self._memory.read(lowest, end - lowest)
        numbers = np.frombuffer(data[: (end - last - lowest) // _ALIGNMENT * _ALIGNMENT], self._type(marker_bytes))
        if marker_bytes < _ALIGNMENT:
            numbers = numbers[::2]
        most = len(markers) * _NAMES_PER_MARKER
        for at in np.flatnonzero((numbers > most - _NAMES_PER_MARKER) & (numbers <= most)).tolist():
            names = (at + 1) * _ALIGNMENT
            if _agree(data[names:], markers.tolist(), int(numbers[at])):
                return lowest + names, int(numbers[at])
        return None

    def _addresses(self, names: int, symbols: int) -> tuple[int, str, int | None] | None:
        """Where the addresses begin, what kind they are, and what from: they rise, and are the kernel's."""
        end = names - _ALIGNMENT
        base = self._memory.word(end - 8)
        start = end - 8 - (4 * symbols + -4 * symbols % _ALIGNMENT)
        if base >= PAGE_OFFSET and start >= self._start and _rise(self._words(start, symbols, 4)):
            return start, "I", base
        start = end - 8 * symbols
        if start < self._start:
            return None
        addresses = self._words(start, symbols, 8)
        return (start, "Q", None) if _rise(addresses) and addresses[-1] >= PAGE_OFFSET else None

    def _words(self, at: int, number: int, word_bytes: int) -> Words:
        return np.frombuffer(self._memory.read(at, number * word_bytes), self._type(word_bytes))

    def _type(self, word_bytes: int) -> str:
        return f"{STRUCT_ORDER[self._memory.byte_order]}u{word_bytes}"


def _agree(data: bytes, markers: list[int], names: int) -> bool:
    """Whether so many names are in ``data``, end where it ends, and begin where the markers say."""
    at, end = 0, len(data)
    for number in range(names):
        if number % _NAMES_PER_MARKER == 0 and markers[number // _NAMES_PER_MARKER] != at:
            return False
        if at >= end or not 0 < data[at] < abi.LONG_LENGTH:
            return False
        at += 1 + data[at]
    return at <= end < at + _ALIGNMENT and not any(data[at:])


def _rise(words: Words) -> bool:
    return bool((words[1:] >= words[:-1]).all())

"""A memory map as text: one range per line, and what it is; docs/planning.md tells users of it.

    0x0..0x80000000                      memory
    4G..5G              removable        memory that can be unplugged while running
    0x2fff0000..768M    firmware         in the root's reserved-ranges
    # a comment

Numbers are as in Linux (decimal, 0x for hex, K, M, G, T); a range excludes its end.
"""

import re

from fadump.errors import FormatError
from fadump.kernel.plan.cmdline import memparse
from fadump.kernel.plan.memory_map import MemoryBlock, MemoryMap
from fadump.kernel.traits import U64
from fadump.memory.ranges import Range, RangeSet
from fadump.printable import quoted

_KINDS = _MEMORY, _REMOVABLE, _FIRMWARE = "memory", "removable", "firmware"
_SIZE = re.compile(r"(0x[0-9a-f]+|0[0-7]*|[1-9][0-9]*)([kmgtpe]?)", re.IGNORECASE)
_MOST_DIGITS = 23
"""The digits of 64 bits in octal, with a leading 0."""


def parse_map(text: str) -> MemoryMap:
    """The map that a text describes.

    :raises FormatError: a line, whose number is told, is not a range with a known word, or there is no memory at 0.
    """
    blocks: list[MemoryBlock] = []
    firmware: list[Range] = []
    for number, line in enumerate(text.splitlines(), start=1):
        words = line.partition("#")[0].split()
        if words:
            range_, kind = _entry(words, number)
            if kind == _FIRMWARE:
                firmware.append(range_)
            else:
                blocks.append(MemoryBlock(range_, kind == _REMOVABLE))
    try:
        return MemoryMap.of(blocks, RangeSet(firmware), RangeSet())
    except ValueError as error:
        raise FormatError(f"{error}; the first line of most machines is as 0..1G") from error


def parse_range(text: str) -> Range:
    """``START..END``.

    :raises ValueError: it is not a range, or is empty.
    """
    start, dots, end = text.partition("..")
    if not dots:
        raise ValueError(f"{quoted(text)} is not a range; write it as 0x0..2G")
    first, last = parse_size(start), parse_size(end)
    if first >= last:
        raise ValueError(f"the end of {text} is not above its start; write it as 0x0..2G")
    return Range(first, last)


def parse_size(text: str) -> int:
    """A size in Linux's format, which must be all of the text.

    :raises ValueError: it isn't one, or has more than 64 bits, of which Linux itself would only use the lower ones.
    """
    match = _SIZE.fullmatch(text)
    if match is None:
        raise ValueError(f"{quoted(text)} is not a size; write it as 2G or 0x80000000")
    number, unit = match.groups()
    base = 16 if number[:2] in ("0x", "0X") else 8 if number[0] == "0" else 10
    size_bytes = int(number[: _MOST_DIGITS + 1], base) * memparse(f"1{unit}")[0]
    if len(number) > _MOST_DIGITS or size_bytes > U64:
        raise ValueError(f"{text[:_MOST_DIGITS]!r} does not fit into 64 bits")
    return size_bytes


def _entry(words: list[str], number: int) -> tuple[Range, str]:
    kind = words[1] if len(words) > 1 else _MEMORY
    if len(words) > 2 or kind not in _KINDS:
        wanted = f"START..END [{'|'.join(_KINDS)}]; write it as 0..1G, or 4G..8G removable"
        raise FormatError(f"line {number}: {quoted(' '.join(words))} is not {wanted}")
    try:
        return parse_range(words[0]), kind
    except ValueError as error:
        raise FormatError(f"line {number}: {error}") from error

"""A memory map as a text that people can write: one range a line, and what it is.

    0x0..0x80000000                      memory
    4G..5G              removable        memory that can be unplugged while running
    0x2fff0000..768M    firmware         in the root's reserved-ranges
    # a comment

Numbers are Linux's (decimal, 0x for hex, K, M, G, T); a range's end is not in it.
"""

from fadump.errors import FormatError
from fadump.kernel.cmdline import memparse
from fadump.kernel.memory_map import MemoryBlock, MemoryMap
from fadump.memory.ranges import Range, RangeSet

_MEMORY, _REMOVABLE, _FIRMWARE = "memory", "removable", "firmware"


def parse_map(text: str) -> MemoryMap:
    """The map that a text describes.

    :raises FormatError: a line is not a range with a known word, or there is no memory at 0; ``offset`` counts
        characters to the line.
    """
    blocks: list[MemoryBlock] = []
    firmware: list[Range] = []
    offset = 0
    for line in text.splitlines(keepends=True):
        words = line.partition("#")[0].split()
        if words:
            range_, kind = _entry(words, offset)
            if kind == _FIRMWARE:
                firmware.append(range_)
            else:
                blocks.append(MemoryBlock(range_, kind == _REMOVABLE))
        offset += len(line)
    try:
        return MemoryMap.of(blocks, RangeSet(firmware), RangeSet())
    except ValueError as error:
        raise FormatError(f"memory map: {error}", offset=0) from error


def parse_range(text: str) -> Range:
    """``START..END``.

    :raises ValueError: it is no range, or empty.
    """
    start, dots, end = text.partition("..")
    if not dots:
        raise ValueError(f"{text!r} is no range; write it as 0x0..2G")
    range_ = Range(parse_size(start), parse_size(end))
    if not range_:
        raise ValueError(f"the range {text} is empty")
    return range_


def parse_size(text: str) -> int:
    """A number as Linux writes sizes, all of the text.

    :raises ValueError: it is none.
    """
    value, end = memparse(text)
    digits = text[:1].isdecimal()
    if not digits or end != len(text):
        raise ValueError(f"{text!r} is no size; write it as 2G or 0x80000000")
    return value


def _entry(words: list[str], offset: int) -> tuple[Range, str]:
    kind = words[1] if len(words) > 1 else _MEMORY
    if len(words) > 2 or kind not in (_MEMORY, _REMOVABLE, _FIRMWARE):
        raise FormatError(f"memory map: {' '.join(words)!r} is not a range and what it is", offset=offset)
    try:
        return parse_range(words[0]), kind
    except ValueError as error:
        raise FormatError(f"memory map: {error}", offset=offset) from error

"""What is in pages, and reading all of a dump back."""

import numpy as np

from benchmarks.report import MIB
from benchmarks.truth import PAGE
from fadump.memory.ranges import Range
from fadump.vmcore.contract import READABLE, Dump, State


def fill(count):
    """Pages: every fourth zeros, every fourth doesn't get smaller, the others do."""
    rng = np.random.default_rng(4)
    pages = np.zeros((count, PAGE), np.uint8)
    pages[1::4] = rng.integers(0, 256, (len(pages[1::4]), PAGE), dtype=np.uint8)
    pages[2::4] = np.repeat(rng.integers(0, 256, (len(pages[2::4]), PAGE // 64), dtype=np.uint8), 64, axis=1)
    pages[3::4, -1] = 1
    return pages.tobytes()


def states_of(dump: Dump, pages: int) -> list[State]:
    """The state of each page's first byte."""
    states = []
    for piece in dump.mapping(Range(0, pages * PAGE)):
        states += [piece.state] * (-(-piece.range.end // PAGE) - -(-piece.range.start // PAGE))
    return states


def differing_pages(dump: Dump, source: Dump) -> list[int]:
    """Where pages of ``dump`` that can be read aren't the source's: the first page of each MiB that differs."""
    different = []
    for memory in dump.memory:
        for piece in dump.mapping(memory):
            if piece.state in READABLE:
                for at in range(piece.range.start, piece.range.end, MIB):
                    size = min(MIB, piece.range.end - at)
                    if dump.read_physical(at, size) != source.read_physical(at, size):
                        different.append(at // PAGE)
    return different

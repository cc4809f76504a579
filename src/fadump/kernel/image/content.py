"""The contents of the model kernel's memory: bytes from a seed, so that a dump isn't empty.

No step of its own in docs/architecture.md. :mod:`.page_mix` decides what a page is used for; here some of the used ones
get contents, different ones at each boot. The more of boot memory a capture kernel overwrites, the more of the dump
must come from the firmware's copy.
"""

import random
from collections.abc import Sequence

from fadump.kernel.state import TEXT
from fadump.memory.guest import GuestMemory
from fadump.memory.ranges import Range, RangeSet

_PAGES = 128
_STEP_BYTES = 1 << 20


def write_image(memory: GuestMemory, seed: str) -> None:
    """Write the kernel's text and data."""
    source = seeded(f"{seed} image")
    for start in range(TEXT.start, TEXT.end, _STEP_BYTES):
        memory.write(start, source.randbytes(min(_STEP_BYTES, TEXT.end - start)))


def use_memory(memory: GuestMemory, used: RangeSet, page_bytes: int, seed: str) -> None:
    """Write some bytes to the middle of some pages of ``used``, so that there are holes before and after them."""
    pieces = [piece for piece in used if piece.size_bytes >= page_bytes]
    if not pieces:
        return
    source = seeded(f"{seed} pages")
    for piece in source.choices(pieces, [piece.size_bytes for piece in pieces], k=_PAGES):
        page = _page(source, piece, page_bytes)
        if page is not None:
            at = page + source.randrange(page_bytes // 2)
            memory.write(at, source.randbytes(page_bytes // 4))


def usable_memory(regions: Sequence[Range], end: int, taken: RangeSet) -> RangeSet:
    """RAM below ``end`` that is not taken."""
    below = RangeSet([Range(0, end)]) if end else RangeSet()
    return (RangeSet(regions) & below) - taken


def seeded(seed: str) -> random.Random:
    """A generator with the same numbers for the same ``seed`` on every host, for contents of memory and registers."""
    return random.Random(seed)  # noqa: S311 - not a secret


def _page(source: random.Random, piece: Range, page_bytes: int) -> int | None:
    first, last = -(-piece.start // page_bytes), piece.end // page_bytes
    return source.randrange(first, last) * page_bytes if first < last else None

"""The embedded machine's hash page table: the model of Linux has no MMU, so that its entries are made up from a seed.

Step "crash" of docs/architecture.md. Each entry lies where its hash belongs, and names memory that there is, as those
of processes do: pages of 64 KiB in segments of 1 TiB.
"""

import numpy as np
import numpy.typing as npt

from fadump.abi.pseries.hash_table import AVPN_SHIFT, ENTRIES_PER_GROUP, ENTRY, GROUP_BYTES, Access, EntryFlag
from fadump.kernel.image.content import seeded
from fadump.memory.ranges import RangeSet

_PAGE_BITS, _SEGMENT_BITS, _AVPN_UNIT_BITS = 16, 40, 23
_SEGMENT_OF_1T = 1 << 62
_PAGE_OF_64K = 1 << 12
"""The page size in the low bits of the real page number, "LP", of a segment of such pages."""
_MOST_USED = 3
_USER = 2
"""The page protection of what a process may write to."""
_Words = npt.NDArray[np.uint64]


def hash_table(seed: str, ram: RangeSet, table_bytes: int, size_bytes: int) -> bytes:
    """The first ``size_bytes``, which are whole groups, of a table of ``table_bytes``; no more than there are."""
    groups = min(size_bytes, table_bytes) // GROUP_BYTES
    used = _random(seed, "groups").integers(0, _MOST_USED, groups, endpoint=True)
    group = np.repeat(np.arange(groups, dtype=np.uint64), used)
    # So few bits that the hash adds nothing to them: it is the segment's number, itself shifted by 25, and the page's.
    segment = _random(seed, "segments").integers(1, 1 << 17, len(group), dtype=np.uint64) << np.uint64(7)
    page = (segment ^ group) & np.uint64((1 << _SEGMENT_BITS - _PAGE_BITS) - 1)
    address = segment << np.uint64(_SEGMENT_BITS - _AVPN_UNIT_BITS) | page >> np.uint64(_AVPN_UNIT_BITS - _PAGE_BITS)
    slots = np.arange(ENTRIES_PER_GROUP) < used[:, None]
    table = np.zeros((groups, ENTRIES_PER_GROUP), ENTRY.dtype)
    flags = _SEGMENT_OF_1T | EntryFlag.VALID | EntryFlag.LARGE
    table["virtual"][slots] = address << np.uint64(AVPN_SHIFT) | np.uint64(flags)
    access = Access.COHERENT | Access.REFERENCED | Access.CHANGED | Access.NO_EXECUTE
    table["real"][slots] = _some_pages(_random(seed, "pages"), ram, len(group)) | np.uint64(
        _PAGE_OF_64K | access | _USER
    )
    return table.tobytes()


def _random(seed: str, what: str) -> np.random.Generator:
    """Random numbers of their own for each column, so that a table begins alike whatever its end."""
    return np.random.default_rng(seeded(f"{seed} hash page table {what}").getrandbits(64))


def _some_pages(random: np.random.Generator, ram: RangeSet, count: int) -> _Words:
    """Addresses of pages of RAM, as they come."""
    starts = np.array([piece.start >> _PAGE_BITS for piece in ram], np.uint64)
    ends = np.cumsum([piece.size_bytes >> _PAGE_BITS for piece in ram]).astype(np.uint64)
    which = random.integers(0, ends[-1], count, dtype=np.uint64)
    piece = np.searchsorted(ends, which, "right")
    before = np.concatenate([[np.uint64(0)], ends[:-1]])
    pages: _Words = starts[piece] + which - before[piece]
    return pages << np.uint64(_PAGE_BITS)

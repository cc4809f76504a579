"""Whether entries of a hash page table lie where they belong, which tells such a table from other memory.

Power ISA, Book III, "Hash Page Table Search": the virtual page's hash is the number of its group, or of the secondary
one its complement. An entry leaves out the virtual address's lowest 23 bits, so that of a small page's hash only the
upper bits can be computed.
"""

import numpy as np
import numpy.typing as npt

from fadump.abi.pseries.hash_table import (
    AVPN_BITS,
    AVPN_SHIFT,
    ENTRIES_PER_GROUP,
    ENTRY,
    GROUP_BYTES,
    SEGMENT_BITS,
    EntryFlag,
)

_AVPN_UNIT_BITS = 23
_BASE_PAGE_BITS = (12, 16, 24, 34)
_Words = npt.NDArray[np.uint64]


def misplaced(beginning: bytes, table_bytes: int) -> tuple[int, int]:
    """How many valid entries there are in the beginning of a table of so many bytes, and how many of them can't have
    been put where they are."""
    words = np.frombuffer(beginning, ENTRY.dtype)["virtual"].astype(np.uint64)
    (places,) = np.nonzero(words & np.uint64(EntryFlag.VALID))
    entries = words[places]
    groups = (places // ENTRIES_PER_GROUP).astype(np.uint64)
    groups = np.where(entries & np.uint64(EntryFlag.SECONDARY), ~groups, groups)
    mask = table_bytes // GROUP_BYTES - 1
    fits = np.zeros(len(entries), bool)
    for field, segment_bits in enumerate(SEGMENT_BITS):
        in_segment = entries >> np.uint64(62) == field
        for page_bits in _BASE_PAGE_BITS:
            unknown_bits = max(0, _AVPN_UNIT_BITS - page_bits)
            differs = (_hash(entries, segment_bits, page_bits) ^ groups) & np.uint64(mask)
            fits |= in_segment & (differs >> np.uint64(unknown_bits) == 0)
    return len(entries), int(np.count_nonzero(~fits))


def _hash(entries: _Words, segment_bits: int, page_bits: int) -> _Words:
    """The hash of a page of a segment, its unknown low bits 0."""
    avpn = entries >> np.uint64(AVPN_SHIFT) & np.uint64((1 << AVPN_BITS) - 1)
    offset_bits = segment_bits - _AVPN_UNIT_BITS
    segment = avpn >> np.uint64(offset_bits)
    page = (avpn & np.uint64((1 << offset_bits) - 1)) << np.uint64(_AVPN_UNIT_BITS) >> np.uint64(page_bits)
    if segment_bits == SEGMENT_BITS[1]:
        segment = segment ^ segment << np.uint64(25)
    return segment ^ page

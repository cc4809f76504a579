"""A dump with some bytes and notes replaced.

After the last step of "follow one crash" in docs/architecture.md: what is added to a dump while it is copied is an
overlay, so that readers and writers need no special case for it.
"""

import heapq
from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice

import numpy as np

from fadump.memory.ranges import Range, RangeSet
from fadump.vmcore.contract import READABLE, Bytes, Dump, Piece, State, merged
from fadump.vmcore.notes import Note


class OverlayDump(Dump):
    """Another dump, ``base``, which this one owns from now on, with patches over its memory."""

    def __init__(
        self, base: Dump, patches: Mapping[int, bytes], *, page_bytes: int, notes: Sequence[Note] | None = None
    ) -> None:
        """``patches`` are bytes by physical address, all of them in ``base``; ``notes`` None means those of ``base``.

        A page of ``page_bytes`` with a patch has no offset in the file any more.
        """
        self.kind = base.kind
        self.flattened = base.flattened
        self.machine = base.machine
        self.byte_order = base.byte_order
        self.notes = base.notes if notes is None else notes
        self.vmcoreinfo = base.vmcoreinfo
        self.memory = base.memory
        self.damage = base.damage
        self.dump_level = base.dump_level
        self.page_bytes = base.page_bytes
        self.system_name = base.system_name
        self.erase_info = base.erase_info
        self.shared_bytes = base.shared_bytes
        self.virtual_ranges = base.virtual_ranges
        self._base = base
        self._patches = sorted(patches.items())
        self._longest = max(map(len, patches.values()), default=0)
        self._patched = RangeSet(Range.sized(address, len(data)) for address, data in self._patches)
        self._pages = RangeSet(
            Range(where.start // page_bytes * page_bytes, -(-where.end // page_bytes) * page_bytes)
            for where in self._patched
        )

    def mapping(self, wanted: Range) -> Iterator[Piece]:
        return merged(self._all_pieces(wanted))

    def data_ranges(self, wanted: Range) -> Iterator[Range]:
        return heapq.merge(self._base.data_ranges(wanted), self._pages.within(wanted))

    def read_physical(self, address: int, length: int) -> bytes:
        data = self._base.read_physical(address, length)
        wanted = Range.sized(address, length)
        return bytes(self._patch(wanted, bytearray(data))) if self._patched.overlaps(wanted) else data

    def view_physical(self, wanted: Range) -> Bytes:
        view = self._base.view_physical(wanted)
        if not self._patched.overlaps(wanted):
            return view
        return np.frombuffer(bytes(self._patch(wanted, bytearray(view))), dtype=np.uint8)

    def read_or_view(self, wanted: Range, buffer: Bytes) -> Bytes:
        if self._patched.overlaps(wanted):
            return self.view_physical(wanted)
        return self._base.read_or_view(wanted, buffer)

    def close(self) -> None:
        self._base.close()

    def _patch(self, wanted: Range, data: bytearray) -> bytearray:
        first = bisect_left(self._patches, wanted.start - self._longest, key=_address)
        for address, patch in islice(self._patches, first, None):
            if address >= wanted.end:
                break
            common = wanted.intersection(Range.sized(address, len(patch)))
            if common is not None:
                data[common.start - wanted.start : common.end - wanted.start] = patch[
                    common.start - address : common.end - address
                ]
        return data

    def _all_pieces(self, wanted: Range) -> Iterator[Piece]:
        for piece in self._base.mapping(wanted):
            if piece.state not in READABLE or not self._pages.overlaps(piece.range):
                yield piece
                continue
            at = piece.range.start
            for page in self._pages.within(piece.range):
                if at < page.start:
                    yield piece.part(Range(at, page.start))
                yield Piece(page, State.STORED)
                at = page.end
            if at < piece.range.end:
                yield piece.part(Range(at, piece.range.end))


def _address(patch: tuple[int, bytes]) -> int:
    return patch[0]

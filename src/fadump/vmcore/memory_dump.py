"""The memory of a machine as a :class:`~fadump.vmcore.contract.Dump`, without any file."""

from collections.abc import Iterator, Sequence

import numpy as np

from fadump.abi.layout import ByteOrder
from fadump.errors import AddressError
from fadump.memory.guest import GuestMemory
from fadump.memory.ranges import Range
from fadump.vmcore.contract import Bytes, Dump, Kind, NotInDumpError, Piece, State
from fadump.vmcore.notes import Note


class MemoryDump(Dump):
    """Guest memory, which stays the caller's; closing this doesn't close it."""

    kind = Kind.MEMORY
    flattened = False
    damage = ()

    def __init__(
        self,
        memory: GuestMemory,
        *,
        machine: str,
        byte_order: ByteOrder,
        notes: Sequence[Note] = (),
        vmcoreinfo: bytes | None = None,
    ) -> None:
        """``notes`` and ``vmcoreinfo`` are what is known of the guest; its memory has neither at a known place."""
        self._guest = memory
        self.machine = machine
        self.byte_order = byte_order
        self.notes = notes
        self.vmcoreinfo = vmcoreinfo
        self.memory = memory.ram

    def mapping(self, wanted: Range) -> Iterator[Piece]:
        at = wanted.start
        for ram in self.memory:
            common = ram.intersection(wanted)
            if common is None:
                continue
            if at < common.start:
                yield Piece(Range(at, common.start), State.HOLE)
            yield Piece(common, State.STORED)
            at = common.end
        if at < wanted.end:
            yield Piece(Range(at, wanted.end), State.HOLE)

    def read_physical(self, address: int, length: int) -> bytes:
        self._check(address, length)
        return self._guest.read(address, length)

    def view_physical(self, wanted: Range) -> Bytes:
        """The memory itself if it lies in one segment: it changes as the guest changes it."""
        self._check(wanted.start, wanted.size_bytes)
        try:
            view = self._guest.view(wanted)
        except AddressError:  # empty, or in more than one segment
            return super().view_physical(wanted)
        return np.frombuffer(view.toreadonly(), dtype=np.uint8)

    def close(self) -> None:
        """Nothing: the memory is the caller's."""

    def _check(self, address: int, length: int) -> None:
        if address < 0 or length < 0:
            raise AddressError(address, length)
        wanted = Range.sized(address, length)
        if not self.memory.contains(wanted):
            hole = next(piece.range.start for piece in self.mapping(wanted) if piece.state is State.HOLE)
            raise NotInDumpError(address, length, hole, State.HOLE)

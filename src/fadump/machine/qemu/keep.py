"""Keep and put back: what a boot firmware overwrites of the crashed kernel's memory is restored at handover.

SLOF and prom_init live near the top of RAM while they boot the capture kernel, where the crashed kernel's
memory is to stay as it was. A machine that holds guest RAM can copy the populated part away before the reset
and put back whatever differs when the capture kernel is entered.
"""

import os

from fadump.errors import MachineError
from fadump.memory.guest import GuestMemory, Segment
from fadump.memory.ranges import Range, RangeSet
from fadump.progress import binary_size

_CHUNK_BYTES = 0x10000
"""What is compared and put back at once; much more would be slower, as malloc(3) would ask the host for each piece."""


class KeptMemory:
    """A sparse copy of some of a guest's memory, in an anonymous file of the same addresses."""

    def __init__(self, memory: GuestMemory, keep: RangeSet) -> None:
        self._memory = memory
        self._ranges = keep
        top = max(piece.end for piece in memory.ram)
        self._fd = os.memfd_create("fadump-kept")
        try:
            os.ftruncate(self._fd, top)
            self._copy = GuestMemory([Segment(Range(0, top), self._fd, 0)])
        except BaseException:
            os.close(self._fd)
            raise
        for piece in keep:
            memory.copy_to_empty(piece, self._copy)

    @property
    def stored_bytes(self) -> int:
        """How much host memory the copy takes."""
        return os.fstat(self._fd).st_blocks * 512

    def check(self, images: RangeSet) -> None:
        """Make sure that nothing was loaded into memory that is kept, where the next kernel needs it to stay.

        :raises MachineError: ``images`` lie there, so the dump can't be as it was.
        """
        overwritten = images & self._ranges
        if overwritten:
            size = binary_size(sum(piece.size_bytes for piece in overwritten))
            start = min(piece.start for piece in overwritten)
            raise MachineError(
                f"kernel or initrd have been loaded over {size} of the crashed kernel's memory, from {start:#x} on, so "
                "the dump would be wrong there: give Linux more boot memory (crashkernel= on its command line)"
            )

    def put_back(self, live: RangeSet) -> int:
        """Make guest memory what it was, except ``live``; returns how many bytes lay in changed chunks."""
        changed_bytes = 0
        for piece in self._ranges - live:
            for populated in self._memory.populated(piece) | self._copy.populated(piece):
                changed_bytes += sum(self._restore(chunk) for chunk in _chunks(populated))
        return changed_bytes

    def keep_instead(self, piece: Range) -> None:
        """Keep what is in ``piece``, a part of what is kept, now."""
        for chunk in _chunks(piece):
            self._copy.write(chunk.start, self._memory.read(chunk.start, chunk.size_bytes))

    def close(self) -> None:
        """Forget what was kept."""
        self._copy.close()
        os.close(self._fd)

    def _restore(self, chunk: Range) -> int:
        kept = self._copy.read(chunk.start, chunk.size_bytes)
        if self._memory.read(chunk.start, chunk.size_bytes) == kept:
            return 0
        self._memory.write(chunk.start, kept)
        return chunk.size_bytes


def _chunks(piece: Range) -> list[Range]:
    """Pieces that don't cross a multiple of the chunk size."""
    cuts = [piece.start, *range(piece.start // _CHUNK_BYTES * _CHUNK_BYTES + _CHUNK_BYTES, piece.end, _CHUNK_BYTES)]
    return [Range(start, end) for start, end in zip(cuts, [*cuts[1:], piece.end], strict=True)]

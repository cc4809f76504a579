"""How much of its boot memory a capture boot touches, until it says that the dump has been dealt with.

Guest memory is ours to look at while the guest stands still: a hash of each 64 KiB at the capture kernel's handover is
compared with one at the invalidation. Memory that was written with what it held before is not noticed. Most of what a
capture boot touches is its page cache, which Linux gives up when it must: this is an upper bound of what it needs.
"""

from collections.abc import Iterator

from fadump.firmware.contract import FirmwareCall, Outcome, PreservedDump, Trigger
from fadump.machine.channel import Report
from fadump.machine.contract import Handover
from fadump.memory.guest import GuestMemory
from fadump.memory.ranges import Range, RangeSet
from fadump.observer import Milestone, Observer, Seen
from fadump.systems.size.available import LeastAvailable

PIECE_BYTES = 64 << 10
_READ_BYTES = 8 << 20


class TouchedMemory:
    """An observer before another one, which looks at boot memory when the guest stands still."""

    def __init__(self, observer: Observer, memory: GuestMemory) -> None:
        self._observer = observer
        self._memory = memory
        self._boot_memory = RangeSet()
        self._before: dict[int, int] = {}
        self.least_available = LeastAvailable(memory)
        self.touched_bytes: int | None = None
        """None until a capture boot has invalidated its dump."""

    def milestone(self, milestone: Milestone, at_seconds: float) -> None:
        self._observer.milestone(milestone, at_seconds)

    def handed_over(self, handover: Handover) -> None:
        self._observer.handed_over(handover)

    def firmware_call(self, call: FirmwareCall, outcome: Outcome, at_seconds: float) -> None:
        self._observer.firmware_call(call, outcome, at_seconds)

    def seen(self, seen: Seen, at_seconds: float) -> None:
        if seen is Seen.CAPTURE_BOOT:
            self._before = _hashes(self._memory, self._boot_memory)
        elif seen is Seen.INVALIDATED and self._before and self.touched_bytes is None:
            after = _hashes(self._memory, self._boot_memory)
            changed = sum(after.get(at) != self._before.get(at) for at in after.keys() | self._before.keys())
            self.touched_bytes = changed * PIECE_BYTES
        self._observer.seen(seen, at_seconds)

    def terminated(self, trigger: Trigger, at_seconds: float) -> None:
        self._observer.terminated(trigger, at_seconds)

    def preserved(self, dump: PreservedDump, at_seconds: float) -> None:
        self._boot_memory = dump.boot_memory
        self.least_available.boot_memory = dump.boot_memory
        self._observer.preserved(dump, at_seconds)

    def report(self, report: Report) -> None:
        self._observer.report(report)


def _hashes(memory: GuestMemory, wanted: RangeSet) -> dict[int, int]:
    """A number for each piece that isn't zero, by its address."""
    return {
        piece.start: hash(data)
        for range_ in wanted
        for extent in memory.populated(range_)
        for piece, data in _pieces(memory, extent)
        if data != bytes(len(data))
    }


def _pieces(memory: GuestMemory, extent: Range) -> Iterator[tuple[Range, bytes]]:
    start = extent.start // PIECE_BYTES * PIECE_BYTES
    for at in range(start, extent.end, _READ_BYTES):
        data = memory.read(at, min(at + _READ_BYTES, _end(memory, extent)) - at)
        for offset in range(0, len(data), PIECE_BYTES):
            piece = data[offset : offset + PIECE_BYTES]
            yield Range.sized(at + offset, len(piece)), piece


def _end(memory: GuestMemory, extent: Range) -> int:
    end = -(-extent.end // PIECE_BYTES) * PIECE_BYTES
    return end if memory.ram.contains(Range(extent.start, end)) else extent.end

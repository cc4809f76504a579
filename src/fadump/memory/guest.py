"""A machine's memory: parts of sparse files, mapped by guest address.

Every step of docs/architecture.md that touches memory uses this module. The files belong to the machine (QEMU's memory
back ends, or the embedded machine's memfd); they are mapped shared, so that both sides see every write at once. Memory
that hasn't been touched is a hole in its file: it reads as zeros and takes no space, and only a write or a view here
fills it. Holes are found with SEEK_DATA and SEEK_HOLE (lseek(2)) and made with MADV_REMOVE (madvise(2)). Addresses are
guest physical, sizes in bytes; byte order is up to the caller.
"""

import errno
import mmap
import os
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import pairwise
from types import TracebackType
from typing import Self

import numpy as np

from fadump.errors import AddressError
from fadump.memory.holes import data_ranges, first_data
from fadump.memory.ranges import Range, RangeSet

_COPY_BYTES = 8 << 20
"""How much is copied in one call: it fits most last-level caches, and other threads run between calls."""
_ZERO_CHUNK_BYTES = 0x10000
"""The size of the pieces that are checked for zeros: Linux's largest page size on Power."""


@dataclass(frozen=True, slots=True)
class Segment:
    """Bytes of a file that are guest memory: those from ``offset`` of ``fd`` are at ``range``.

    The file may be a memfd or any regular file that is open for reading and writing.
    """

    range: Range
    fd: int
    offset: int


class GuestMemory:
    """All RAM of one guest.

    Segments may be adjacent (NUMA nodes, DIMMs): reads, writes and copies may span them. The descriptors are
    duplicated, so the caller may close its own. Also a context manager.

    :raises ValueError: segments are empty or overlap, or a file is shorter than its segment.
    """

    def __init__(self, segments: Sequence[Segment]) -> None:
        ordered = sorted(segments, key=lambda segment: segment.range)
        for lower, higher in pairwise(ordered):
            if lower.range.end > higher.range.start:
                raise ValueError(f"segments {lower.range} and {higher.range} overlap")
        self._mappings: list[_Mapping] = []
        try:
            for segment in ordered:
                self._mappings.append(_Mapping(segment))
        except BaseException:
            self.close()
            raise
        self._index()

    def plug(self, segment: Segment) -> None:
        """Add memory, as when a DIMM is plugged.

        :raises ValueError: it overlaps memory that is there, is empty, or is longer than its file.
        """
        if self._ram.overlaps(segment.range):
            raise ValueError(f"there is memory in {segment.range} already")
        self._mappings.append(_Mapping(segment))
        self._index()

    def unplug(self, wanted: Range) -> None:
        """Remove the segment at ``wanted``; its contents are lost.

        :raises ValueError: there is no such segment.
        """
        for mapping in self._mappings:
            if mapping.range == wanted:
                self._mappings.remove(mapping)
                mapping.close()
                self._index()
                return
        raise ValueError(f"{wanted} is not a segment of memory")

    def _index(self) -> None:
        self._mappings.sort(key=lambda mapping: mapping.range)
        self._starts = [mapping.range.start for mapping in self._mappings]
        self._ram = RangeSet(mapping.range for mapping in self._mappings)

    @property
    def ram(self) -> RangeSet:
        """Where there is memory; adjacent segments are one range."""
        return self._ram

    def read(self, address: int, length: int) -> bytes:
        """Read ``length`` bytes from ``address``; holes read as zeros and stay holes.

        :raises AddressError: not all of it is RAM.
        """
        return b"".join(mapping.read(part) for mapping, part in self._parts(address, length))

    def write(self, address: int, data: bytes | bytearray | memoryview) -> None:
        """Write ``data`` at ``address``.

        :raises AddressError: not all of it is RAM; then nothing has been written.
        """
        view = memoryview(data).cast("B")
        for mapping, part in self._parts(address, len(view)):
            mapping.write(part, view[part.start - address : part.end - address])

    def view(self, wanted: Range) -> memoryview:
        """The memory itself, writable, without a copy; reading it through a view fills holes.

        A view stays valid after :meth:`close`; the memory is unmapped when the last view is freed.

        :raises AddressError: it is empty, or doesn't lie within one segment.
        """
        parts = list(self._parts(wanted.start, wanted.size_bytes))
        if len(parts) != 1:
            raise AddressError(wanted.start, wanted.size_bytes)
        mapping, part = parts[0]
        return mapping.view(part)

    def populated(self, wanted: Range) -> RangeSet:
        """Where ``wanted`` has been touched; the rest reads as zeros.

        It is all of ``wanted`` if the file system doesn't support holes. Pass large ranges: the host looks for the end
        of the last extent even if that is far after ``wanted``, so many small ranges take quadratic time.

        :raises AddressError: not all of ``wanted`` is RAM.
        """
        parts = self._parts(wanted.start, wanted.size_bytes)
        return RangeSet(extent for mapping, part in parts for extent in mapping.extents(part))

    def populated_within(self, wanted: Range) -> Iterator[Range]:
        """The same, one after another, and only for those addresses that are RAM; the host looks as far as is asked."""
        for ram in self._ram.within(wanted):
            for mapping, part in self._parts(ram.start, ram.size_bytes):
                yield from mapping.extents(part)

    def copy(self, source: Range, destination: int) -> int:
        """Copy ``source`` to ``destination``, and return its size in bytes.

        Holes stay holes: where the source has one, whole pages at the destination are given back to
        the host and the rest is zeroed. The arguments are checked before anything is copied.

        :raises AddressError: not all of the source or the destination is RAM.
        :raises ValueError: they overlap.
        """
        self._check(source.start, source.size_bytes)
        self._check(destination, source.size_bytes)
        target = Range.sized(destination, source.size_bytes)
        if source.overlaps(target):
            raise ValueError(f"can't copy {source} onto {target}: they overlap")
        data = self.populated(source)
        shift = target.start - source.start
        for stale in self.populated(target) - RangeSet(Range(at.start + shift, at.end + shift) for at in data):
            self.discard(stale)
        for extent in data:
            self._move(extent, self, shift)
        return source.size_bytes

    def copy_to_empty(self, source: Range, other: "GuestMemory") -> None:
        """Write ``source`` to the same addresses in ``other``, which has holes there.

        Pages of zeros also become holes: Linux touches all of RAM when it frees it, and leaves most of it zero.

        :raises AddressError: one of the two has no RAM there.
        """
        other._check(source.start, source.size_bytes)  # noqa: SLF001 - of the same class
        for extent in self.populated(source):
            for piece in self._without_zeros(extent):
                self._move(piece, other, 0)

    def _without_zeros(self, extent: Range) -> RangeSet:
        """``extent`` without its chunks of zeros."""
        return RangeSet(
            chunk
            for mapping, part in self._parts(extent.start, extent.size_bytes)
            for start in range(part.start, part.end, _ZERO_CHUNK_BYTES)
            if mapping.has_data(chunk := Range(start, min(start + _ZERO_CHUNK_BYTES, part.end)))
        )

    def discard(self, unwanted: Range) -> None:
        """Zero ``unwanted``, and give its whole pages back to the host.

        :raises AddressError: not all of it is RAM.
        """
        for mapping, part in self._parts(unwanted.start, unwanted.size_bytes):
            mapping.discard(part)

    def close(self) -> None:
        """Unmap everything without views; from then on there is no RAM. May be called twice."""
        for mapping in self._mappings:
            mapping.close()
        self._mappings = []
        self._starts = []
        self._ram = RangeSet()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _check(self, address: int, length: int) -> None:
        if address < 0 or length < 0 or not self._ram.contains(Range.sized(address, length)):
            raise AddressError(address, length)

    def _parts(self, address: int, length: int) -> "Iterator[tuple[_Mapping, Range]]":
        """``length`` bytes from ``address``, split at the borders of segments; all are checked before the first."""
        self._check(address, length)
        end = address + length
        index = bisect_right(self._starts, address) - 1
        while address < end:
            mapping = self._mappings[index]
            part = Range(address, min(end, mapping.range.end))
            yield mapping, part
            address, index = part.end, index + 1

    def _move(self, source: Range, other: "GuestMemory", shift: int) -> None:
        for from_mapping, part in self._parts(source.start, source.size_bytes):
            for to_mapping, target in other._parts(part.start + shift, part.size_bytes):  # noqa: SLF001
                for at in range(target.start, target.end, _COPY_BYTES):
                    chunk = Range(at, min(at + _COPY_BYTES, target.end))
                    with from_mapping.view(Range(chunk.start - shift, chunk.end - shift)) as data:
                        to_mapping.write_fresh(chunk, data)


class _Mapping:
    """One segment, mapped. Its ranges are guest addresses within the segment."""

    __slots__ = ("_fd", "_file_offset", "_map", "_map_offset", "_view", "range")

    def __init__(self, segment: Segment) -> None:
        self.range = segment.range
        self._file_offset = segment.offset
        size_bytes, file_bytes = segment.range.size_bytes, os.fstat(segment.fd).st_size
        if not size_bytes or segment.offset < 0:
            raise ValueError(f"segment {segment.range} at file offset {segment.offset:#x} can't be mapped")
        if segment.offset + size_bytes > file_bytes:
            raise ValueError(
                f"segment {segment.range} needs {segment.offset + size_bytes:#x} bytes of its file, "
                f"which has {file_bytes:#x}"
            )
        self._map_offset = segment.offset - segment.offset % mmap.ALLOCATIONGRANULARITY
        self._map = mmap.mmap(
            segment.fd, segment.offset + size_bytes - self._map_offset, mmap.MAP_SHARED, offset=self._map_offset
        )
        self._view = memoryview(self._map)[segment.offset - self._map_offset :]
        self._fd = os.dup(segment.fd)

    def read(self, part: Range) -> bytes:
        # Reading a file's hole through a mapping would fill it with pages of zeros; pread(2) doesn't.
        chunks = []
        at, end = self._in_file(part.start), self._in_file(part.end)
        while at < end:
            chunk = os.pread(self._fd, end - at, at)
            if not chunk:  # the file was made shorter
                raise AddressError(part.start, part.size_bytes)
            chunks.append(chunk)
            at += len(chunk)
        return b"".join(chunks)

    def write(self, part: Range, data: memoryview) -> None:
        self.view(part)[:] = data

    def has_data(self, part: Range) -> bool:
        with self.view(part) as data:
            return bool(np.frombuffer(data, np.uint8).any())

    def write_fresh(self, part: Range, data: memoryview) -> None:
        """Like write, but two to three times as fast if ``part`` is a hole: the host neither zeroes new pages
        before they are written nor takes a fault for each."""
        written = 0
        try:
            while written < len(data):
                written += os.pwrite(self._fd, data[written:], self._in_file(part.start) + written)
        except OSError as error:
            if error.errno != errno.EINVAL:  # hugetlbfs has no write(2)
                raise
            self.write(part, data)

    def view(self, part: Range) -> memoryview:
        return self._view[part.start - self.range.start : part.end - self.range.start]

    def extents(self, part: Range) -> Iterator[Range]:
        """Where the file has data within ``part``."""
        shift = self.range.start - self._file_offset
        for found in data_ranges(self._fd, Range(part.start - shift, part.end - shift)):
            yield Range(found.start + shift, found.end + shift)

    def discard(self, part: Range) -> None:
        # Not by extents: the time to find where data ends grows with all the data that follows.
        misaligned = self._in_map(part.start) % mmap.PAGESIZE
        first_page = part.start + -misaligned % mmap.PAGESIZE
        pages_end = part.end - self._in_map(part.end) % mmap.PAGESIZE
        if first_page < pages_end and self._punch(Range(first_page, pages_end)):
            self._zero(Range(part.start, first_page))
            self._zero(Range(pages_end, part.end))
        else:
            self._zero(part)

    def close(self) -> None:
        self._view.release()
        os.close(self._fd)
        with suppress(BufferError):  # a view is still in use: the mapping is freed with it
            self._map.close()

    def _in_file(self, address: int) -> int:
        return address - self.range.start + self._file_offset

    def _in_map(self, address: int) -> int:
        return self._in_file(address) - self._map_offset

    def _punch(self, pages: Range) -> bool:
        try:
            self._map.madvise(mmap.MADV_REMOVE, self._in_map(pages.start), pages.size_bytes)
        except OSError:  # huge pages, or a file system that can't make holes
            return False
        return True

    def _zero(self, part: Range) -> None:
        first = first_data(self._fd, self._in_file(part.start))
        if first is None:
            return
        for at in range(first - self._file_offset + self.range.start, part.end, _COPY_BYTES):
            chunk = Range(at, min(at + _COPY_BYTES, part.end))
            self.view(chunk)[:] = bytes(chunk.size_bytes)

"""A kdump-compressed dump as a :class:`~fadump.vmcore.contract.Dump`: one file, or the files of a split one.

Each file is a :class:`~fadump.vmcore.kdump_file.KdumpFile`. The files of a set (makedumpfile --split) have the same
headers and bitmaps, and each has the pages of its own range.
"""

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from fadump.errors import AddressError, FormatError
from fadump.memory.ranges import Range, RangeSet
from fadump.vmcore.codecs import PACKED
from fadump.vmcore.contract import Bytes, Dump, Kind, NotInDumpError, Piece, State, SystemName, merged
from fadump.vmcore.kdump_file import STATES, KdumpFile, Pages
from fadump.vmcore.kdump_header import Descriptor, KdumpHeader
from fadump.vmcore.source import Source

_WINDOW_PAGES = 1 << 16
"""How many pages' descriptors are read at once."""
_FEW_PAGES = 16
"""Up to this many are found faster one by one."""
_LEAST_RUN_PAGES = 16
"""Fewer contiguous uncompressed pages are no piece of their own: where many pages share one of zeros, there would be
as many pieces as pages."""
_LEAST_GAP_PAGES = 256
"""Shorter runs of zeros aren't told from data: there may be as many as pages."""
_CACHE_PAGES = 1024
"""How many unpacked pages are kept, as in libkdumpfile."""
_FIND_IT = "name it too; if its name ends in .incomplete, go on with fadump save --continue"
_SPLIT_OFFSET = 12
"""The offset of ``split`` in the sub header."""

_Flags = npt.NDArray[np.bool_]


class AbsentFileError(FormatError):
    """A file of a split dump is missing: the one with ``pages``; ``offset`` is that of ``split`` in the others."""

    def __init__(self, pages: Range, offset: int) -> None:
        super().__init__("split dump without one of its files", offset=offset)
        self.pages = pages
        self.args = (f"the file of this split dump that has pages {pages} isn't here: {_FIND_IT}",)


class KdumpDump(Dump):
    """An open kdump-compressed dump. It keeps the bitmaps and the last pages read in memory."""

    kind = Kind.KDUMP

    def __init__(self, sources: Sequence[Source]) -> None:
        """Open all files of a dump; this object owns ``sources`` from then on, unless this fails.

        :raises FormatError: one is not a kdump-compressed file or its headers make no sense, or they don't belong
            together.
        :raises OSError: a file can't be read.
        """
        files = sorted((KdumpFile(source) for source in sources), key=lambda file: file.pages)
        _check_set(files)
        self._sources = sources
        self._files = files
        self._first_pages = [file.pages.start for file in files]
        self._cache = _PageCache()
        header = files[0].header
        self.page_bytes: int = header.page_bytes
        self.system_name = _system_name(header)
        self.flattened = False
        self.machine = header.machine
        self.byte_order = header.byte_order
        self.dump_level = header.dump_level
        self.notes = next((file.notes for file in files if file.notes), ())
        self.vmcoreinfo = next((file.vmcoreinfo for file in files if file.vmcoreinfo), None)
        self.erase_info = next((file.erase_info for file in files if file.erase_info), None)
        self.memory = max(files, key=lambda file: file.bitmap.pages_known).memory()
        self._ranges = list(self.memory)
        self._last_read = Range(0, 0)
        self.damage = [*(found for file in files for found in file.damage), *_absent_files(files)]

    @property
    def files(self) -> Sequence[KdumpFile]:
        """The files, in the order of their pages; :attr:`Piece.file` is an index of it."""
        return self._files

    @property
    def header(self) -> KdumpHeader:
        """The headers of the first file."""
        return self._files[0].header

    def mapping(self, wanted: Range) -> Iterator[Piece]:
        return merged(self._all_pieces(wanted))

    def data_ranges(self, wanted: Range) -> Iterator[Range]:
        at, end = wanted.start // self.page_bytes, -(-wanted.end // self.page_bytes)
        for number, file in enumerate(self._files):
            pages = self._known_pages(number).intersection(Range(at, end)) or Range(at, at)
            for start in range(pages.start, pages.end, _WINDOW_PAGES):
                stop = min(start + _WINDOW_PAGES, pages.end)
                if file.bitmap.count_between(start, stop) and not file.has_only_zeros(start, stop):
                    found = file.look(start, stop)
                    numbers = np.flatnonzero(found.stored & ~file.are_zeros(found)) + start
                    for run in _runs_of(numbers):
                        data = self._addresses(*run).intersection(wanted)
                        if data is not None:
                            yield data

    def read_physical(self, address: int, length: int) -> bytes:
        if address < 0 or length < 0:
            raise AddressError(address, length)
        if not length:
            return b""
        end = address + length
        if not (self._last_read.start <= address and end <= self._last_read.end):
            self._last_read = self._memory_around(Range(address, end))
        first, skipped = divmod(address, self.page_bytes)
        if skipped + length <= self.page_bytes:
            return self._part_of_page(first, skipped, length)
        data = b"".join(self._pages_between(first, -(-end // self.page_bytes), Range(address, end)))
        return data if not skipped and len(data) == length else data[skipped : skipped + length]

    def view_physical(self, wanted: Range) -> Bytes:
        pieces = self.mapping(wanted)
        piece = next(pieces, None)
        if piece is not None and piece.file_offset is not None and piece.range == wanted:
            view = self._files[piece.file].source.view(piece.file_offset, wanted.size_bytes)
            if view is not None:
                return view
        return super().view_physical(wanted)

    def close(self) -> None:
        for source in self._sources:
            source.close()
        self._cache.clear()

    def _part_of_page(self, page: int, skipped: int, length: int) -> bytes:
        index, found = self._find(page, page * self.page_bytes + skipped, length)
        if found.is_plain(self.page_bytes):
            return self._files[index].source.read(found.offset + skipped, length, "page")
        data = self._unpacked(index, found)
        return data if length == len(data) else data[skipped : skipped + length]

    def _pages_between(self, start: int, end: int, wanted: Range) -> Iterator[bytes]:
        """Whole pages; ``wanted`` is for errors. If they are many, their descriptors are read together."""
        while start < end:
            index = bisect_right(self._first_pages, start) - 1
            known = self._known_pages(index) if index >= 0 else Range(0, 0)
            stop = min(end, known.end, start + _WINDOW_PAGES)
            if stop - start < _FEW_PAGES or start not in known:
                yield self._unpacked(*self._find(start, wanted.start, wanted.size_bytes))
                start += 1
                continue
            pages = self._files[index].look(start, stop)
            columns = (pages.stored.tolist(), pages.offsets.tolist(), pages.sizes.tolist(), pages.flags.tolist())
            for page, (is_stored, *fields) in enumerate(zip(*columns, strict=True), start):
                found = (index, Descriptor(*fields)) if is_stored else self._find(page, wanted.start, wanted.size_bytes)
                yield self._unpacked(*found)
            start = stop

    def _find(self, page: int, address: int, length: int) -> tuple[int, Descriptor]:
        """Which file has the page, and where; ``address`` and ``length`` are for errors."""
        index = bisect_right(self._first_pages, page) - 1
        file = self._files[index]
        found = file.find(page) if index >= 0 and page in file.pages else State.MISSING
        if isinstance(found, State):
            raise NotInDumpError(address, length, max(address, page * self.page_bytes), found)
        return index, found

    def _unpacked(self, index: int, found: Descriptor) -> bytes:
        key = (index, found)
        data = self._cache.get(key)
        if data is None:
            data = self._files[index].unpack(found)
            self._cache.put(key, data)
        return data

    def _memory_around(self, wanted: Range) -> Range:
        """The range of memory that contains all of ``wanted``.

        :raises NotInDumpError: there is none.
        """
        index = bisect_right(self._ranges, wanted.start, key=_start)
        if index and self._ranges[index - 1].contains(wanted):
            return self._ranges[index - 1]
        lacking = next(piece for piece in self.mapping(wanted) if piece.state is not State.STORED)
        raise NotInDumpError(wanted.start, wanted.size_bytes, lacking.range.start, lacking.state)

    def _all_pieces(self, wanted: Range) -> Iterator[Piece]:
        at = wanted.start
        for number in range(max(0, bisect_right(self._ranges, at, key=_start) - 1), len(self._ranges)):
            common = self._ranges[number].intersection(wanted)
            if common is None:
                if self._ranges[number].start >= wanted.end:
                    break
                continue
            if at < common.start:
                yield Piece(Range(at, common.start), State.HOLE)
            for piece in self._memory_pieces(common):
                clipped = piece.range.intersection(common)
                if clipped is not None:
                    yield piece.part(clipped)
            at = common.end
        if at < wanted.end:
            yield Piece(Range(at, wanted.end), State.HOLE)

    def _memory_pieces(self, memory: Range) -> Iterator[Piece]:
        """The pieces of a range of whole pages without holes."""
        at, end = memory.start // self.page_bytes, -(-memory.end // self.page_bytes)
        while at < end:
            index = bisect_right(self._first_pages, at) - 1
            if index >= 0 and at in self._known_pages(index):
                stop = min(end, self._known_pages(index).end, at + _WINDOW_PAGES)
                yield from self._window_pieces(index, at, stop)
            else:
                stop = min([end, *self._first_pages[index + 1 : index + 2]])
                yield Piece(self._addresses(at, stop), State.MISSING)
            at = stop

    def _window_pieces(self, index: int, start: int, stop: int) -> Iterator[Piece]:
        file = self._files[index]
        if not file.bitmap.count_between(start, stop):
            yield Piece(self._addresses(start, stop), State.EXCLUDED)
            return
        if file.has_only_zeros(start, stop):
            yield Piece(self._addresses(start, stop), State.STORED)
            return
        pages = file.look(start, stop)
        plain = pages.stored & (pages.flags & PACKED == 0) & (pages.sizes == self.page_bytes)
        plain &= pages.offsets >= file.data_offset
        plain &= _run_lengths(self._goes_on(plain, pages)) >= _LEAST_RUN_PAGES
        cuts = np.flatnonzero((pages.states[1:] != pages.states[:-1]) | ~self._goes_on(plain, pages)) + 1
        offsets = pages.offsets
        for first, last in pairwise([0, *cuts.tolist(), stop - start]):
            where = self._addresses(start + first, start + last)
            state = STATES[pages.states[first]]
            yield Piece(where, state, int(offsets[first]), index) if plain[first] else Piece(where, state)

    def _goes_on(self, plain: _Flags, pages: Pages) -> _Flags:
        """Whether each page but the first continues the one before it: both aren't plain, or they are contiguous."""
        behind = pages.offsets[1:] == pages.offsets[:-1] + np.uint64(self.page_bytes)
        goes_on: _Flags = (plain[1:] & plain[:-1] & behind) | ~(plain[1:] | plain[:-1])
        return goes_on

    def _known_pages(self, index: int) -> Range:
        """Those of a file's pages that are in its bitmap, which may be cut short."""
        pages, known = self._files[index].pages, self._files[index].bitmap.pages_known
        return Range(min(pages.start, known), min(pages.end, known))

    def _addresses(self, start_page: int, end_page: int) -> Range:
        return Range(start_page * self.page_bytes, end_page * self.page_bytes)


class _PageCache:
    """The pages read last, in two generations: when the newer is full, the older is dropped.

    It is thread-safe: each step is atomic in the interpreter.
    """

    def __init__(self) -> None:
        self._newer: dict[tuple[int, Descriptor], bytes] = {}
        self._older: dict[tuple[int, Descriptor], bytes] = {}

    def get(self, key: tuple[int, Descriptor]) -> bytes | None:
        data = self._newer.get(key)
        if data is None:
            data = self._older.get(key)
            if data is not None:
                self.put(key, data)
        return data

    def put(self, key: tuple[int, Descriptor], data: bytes) -> None:
        if len(self._newer) >= _CACHE_PAGES // 2:
            self._older, self._newer = self._newer, {}
        self._newer[key] = data

    def clear(self) -> None:
        self._newer, self._older = {}, {}


def _runs_of(numbers: npt.NDArray[np.int64]) -> Iterator[tuple[int, int]]:
    """First and last+1 of rising numbers; fewer than :data:`_LEAST_GAP_PAGES` in between are none."""
    if len(numbers):
        cuts = np.flatnonzero(np.diff(numbers) > _LEAST_GAP_PAGES)
        starts, ends = numbers[np.append(0, cuts + 1)], numbers[np.append(cuts, len(numbers) - 1)] + 1
        yield from zip(starts.tolist(), ends.tolist(), strict=True)


def _run_lengths(goes_on: _Flags) -> npt.NDArray[np.int64]:
    """For each element, the length of the run of continued elements that it belongs to."""
    borders = np.concatenate([[0], np.flatnonzero(~goes_on) + 1, [len(goes_on) + 1]])
    lengths = np.diff(borders)
    return np.repeat(lengths, lengths)


def _system_name(header: KdumpHeader) -> SystemName:
    return SystemName(
        system=header.sysname,
        node=header.nodename,
        release=header.release,
        version=header.kernel_version,
        machine=header.machine,
        domain=header.domainname,
        seconds=header.timestamp,
        microseconds=header.microseconds,
        phys_base=header.phys_base,
        cpus=header.cpus,
    )


def _check_set(files: Sequence[KdumpFile]) -> None:
    """Check that sorted ``files`` are of one dump."""
    first = files[0].header
    for lower, higher in pairwise(files):
        header = higher.header
        for file in (lower, higher):
            if file.header.split is None:
                message = "one of several files is not of a split dump"
                raise FormatError(message, offset=file.header.page_bytes + _SPLIT_OFFSET)
        for what, ours, theirs in zip(_IDENTITY, _identity(first), _identity(header), strict=True):
            if ours != theirs:
                raise FormatError(f"files of different dumps: the {what} is {ours} in one and {theirs} in another")
        if lower.pages.end > higher.pages.start:
            message = "files of a split dump that have the same pages"
            raise FormatError(message, offset=header.page_bytes, expected=lower.pages.end, found=higher.pages.start)


def _absent_files(files: Sequence[KdumpFile]) -> Iterator[FormatError]:
    """What is missing from a set that isn't whole."""
    header = files[0].header
    for pages in RangeSet([Range(0, header.pages)]) - RangeSet(file.pages for file in files):
        yield AbsentFileError(pages, header.page_bytes + _SPLIT_OFFSET)


_IDENTITY = ("byte order", "page size", "number of pages", "node name", "release", "time")


def _identity(header: KdumpHeader) -> tuple[object, ...]:
    return (header.byte_order, header.page_bytes, header.pages, header.nodename, header.release, header.timestamp)


def _start(range_: Range) -> int:
    return range_.start

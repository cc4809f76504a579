"""Writing a kdump-compressed file so that at any time it is either complete or says that it isn't.

Step "saved" of docs/architecture.md; the layout is :mod:`fadump.vmcore.kdump_header`'s, what is added
:mod:`fadump.vmcore.seal`'s. In this order, with a barrier between two steps:

    1. headers that say INCOMPLETE, notes, bitmaps, and room for the descriptors, of zeros: no page is there yet
    2. pages, then their descriptors; again and again
    3. the checksums
    4. headers that don't say INCOMPLETE

A descriptor is written only when its page is durable. So whatever is lost, every page in the file is right.
"""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from fadump.capture.about import About
from fadump.capture.files import Bytes
from fadump.capture.packers import Compression, pack_page
from fadump.capture.packing import PackedBatch
from fadump.capture.sealing import Checksums, SealedNotes, agrees, chunks, sealed
from fadump.capture.selection import Selection
from fadump.capture.target import FileTarget, Target
from fadump.memory.ranges import Range
from fadump.vmcore.kdump_header import (
    DESCRIPTOR,
    DESCRIPTOR_BYTES,
    INCOMPLETE,
    NEWEST_VERSION,
    SUB_HEADER_BYTES,
    KdumpHeader,
    encode_header,
    encode_sub_header,
)
from fadump.vmcore.notes import ERASEINFO_NAME, VMCOREINFO_NAME
from fadump.vmcore.seal import Seal
from fadump.vmcore.source import Source, data_or_all

CHECKPOINT_BYTES = 256 << 20
"""How many bytes of pages are written before their descriptors are."""
STREAM_CHECKPOINT_BYTES = 4 << 20
"""The same for a stream, which may break off at any time and doesn't have to wait for a disk."""
_ROWS_BYTES = 65536 * DESCRIPTOR_BYTES
"""How many bytes of descriptors are read back at once."""
_ROWS_WEIGHT = 16
"""What a descriptor that waits in memory counts for, as pages of zeros have nothing else: 16 MiB wait at most."""


class KdumpWriter:
    """Writes one file: the whole dump, or of a split dump the wanted pages among ``pages``."""

    def __init__(
        self, target: Target, about: About, selection: Selection, compression: Compression, split: Range | None = None
    ) -> None:
        self._target = target
        self._about = about
        self._selection = selection
        self._compression = compression
        self._notes = SealedNotes(about.notes, about.byte_order, selection.page_bytes + SUB_HEADER_BYTES)
        self._header = _header(about, selection, compression, self._notes, split)
        self._checksums = Checksums(about.byte_order)
        self._pages = split or Range(0, selection.pages)
        self._count = selection.wanted.count_between(self._pages.start, self._pages.end)
        self._row = DESCRIPTOR.in_order(about.byte_order).dtype
        self._descriptors_at = self._header.descriptors_offset
        self._data_at = self._descriptors_at + self._count * DESCRIPTOR_BYTES
        self._zero = np.zeros((), self._row)
        self._pending: list[npt.NDArray[np.void]] = []
        self._unsafe_bytes = self._end = 0
        self._most_unsafe_bytes = STREAM_CHECKPOINT_BYTES if target.barriers_are_free else CHECKPOINT_BYTES

    @property
    def size_bytes(self) -> int:
        """How large the file is by now."""
        return max(self._data_at, self._end)

    def begin(self) -> None:
        """Step 1.

        :raises OSError: the file can't be written; the other steps raise it too.
        """
        head = self._head(self._header, Seal(complete=False))
        self._target.write(0, head)
        for offset, bits in self._bitmaps():
            if bits != bytes(len(bits)) or offset + len(bits) == self._descriptors_at:
                self._target.write(offset, bits)
                self._checksums.add_bytes(offset, bits)
        self._target.allocate(self._descriptors_at, self._count * DESCRIPTOR_BYTES)
        self._target.barrier()
        self._append(self._share_zeros())

    def _share_zeros(self) -> bytes:
        """The page of zeros, packed, that all descriptors of such pages share."""
        packed, flags = self._packed_zeros()
        self._zero["offset"], self._zero["size"], self._zero["flags"] = self._data_at, len(packed), flags
        self._checksums.add_bytes(self._data_at, packed)
        return packed

    def _packed_zeros(self) -> tuple[bytes, int]:
        zeros = bytes(self._selection.page_bytes)
        packed = pack_page(self._compression, zeros)
        return (packed, int(self._compression.flag)) if len(packed) < len(zeros) else (zeros, 0)

    def add(self, batch: PackedBatch) -> None:
        """Step 2: the next pages."""
        rows = np.zeros(len(batch.pages), self._row)
        ends = np.cumsum(batch.sizes, dtype=np.uint64)
        there = ~batch.missing
        for field, values in {
            "offset": ends - batch.sizes + np.uint64(self._data_at),
            "size": batch.sizes,
            "flags": batch.flags,
        }.items():
            rows[field] = np.where(batch.zeros, self._zero[field], values) * there
        self._checksums.add(self._data_at, len(batch.data), batch.crc)
        self._append(batch.data)
        self._wait(rows)

    def add_zeros(self, pages: Range) -> None:
        """Step 2 for pages of zeros: each has a descriptor, as those that have none are taken for left out."""
        rows = np.zeros(pages.size_bytes, self._row)
        rows[:] = self._zero
        self._wait(rows)

    def _wait(self, rows: npt.NDArray[np.void]) -> None:
        """Keep descriptors until their pages are durable."""
        self._pending.append(rows)
        self._unsafe_bytes += rows.nbytes * _ROWS_WEIGHT
        if self._unsafe_bytes >= self._most_unsafe_bytes:
            self.checkpoint()

    def checkpoint(self) -> None:
        """Make all pages so far durable, then write their descriptors."""
        rows = b"".join(part.tobytes() for part in self._pending)
        if rows:
            self._target.barrier()
            self._target.write(self._descriptors_at, rows)
            self._checksums.add_bytes(self._descriptors_at, rows)
        self._pending, self._unsafe_bytes = [], 0  # first: a signal may come here, and lead here once more
        self._descriptors_at += len(rows)

    def finish(self, *, complete: bool) -> None:
        """Steps 3 and 4; a file that isn't ``complete``, since its source wasn't, stays marked."""
        self.checkpoint()
        head = self._head(self._header, Seal(complete=False))
        status = self._header.status & ~INCOMPLETE if complete else self._header.status
        final = self._head(replace(self._header, status=status), Seal(complete=complete))
        self._checksums.add_bytes(self._notes.seal.end, head[self._notes.seal.end :])
        table = self._checksums.encode()
        self._target.write(self._data_at, table)
        self._target.barrier()
        self._end = self._data_at + len(table)
        seal = sealed(final[: self._notes.seal.start], table, self._data_at, complete=complete)
        self._target.write(0, self._head(replace(self._header, status=status), seal))
        self._target.barrier()

    def matches(self, source: Source) -> bool:
        return self._agrees(source, exactly=False)

    def has_begun(self, source: Source) -> bool:
        bitmaps = all(agrees(source, offset, bits, [], exactly=True) for offset, bits in self._bitmaps())
        zeros = agrees(source, self._data_at, self._packed_zeros()[0], [], exactly=True)
        return bitmaps and zeros and self._agrees(source, exactly=True)

    def _agrees(self, source: Source, *, exactly: bool) -> bool:
        finished = replace(self._header, status=self._header.status & ~INCOMPLETE)
        variants = [self._head(header, Seal(complete=False)) for header in (self._header, finished)]
        return any(agrees(source, 0, head, [self._notes.seal], exactly=exactly) for head in variants)

    def resume(self, target: FileTarget, source: Source, page: int) -> None:
        kept = self._selection.wanted.count_between(self._pages.start, page)
        rows_at, room = self._descriptors_at, self._count * DESCRIPTOR_BYTES
        for offset, bits in self._bitmaps():
            self._checksums.add_bytes(offset, bits)
        self._data_at += len(self._share_zeros())
        end, rows_end = self._data_at, rows_at + kept * DESCRIPTOR_BYTES
        for at in range(rows_at, rows_end, _ROWS_BYTES):
            rows = source.read(at, min(_ROWS_BYTES, rows_end - at), "page descriptors")
            self._checksums.add_bytes(at, rows)
            table = np.frombuffer(rows, self._row)
            end = max(end, int((table["offset"] + table["size"]).max(initial=0)))
        for offset, size_bytes in chunks(self._data_at, end):
            self._checksums.add_bytes(offset, source.read(offset, size_bytes, "pages"))
        target.write(0, self._head(self._header, Seal(complete=False)))
        for data in data_or_all(source, Range(rows_end, rows_at + room)):
            for at in range(data.start, data.end, _ROWS_BYTES):
                target.write(at, bytes(min(_ROWS_BYTES, data.end - at)))
        target.barrier()  # no descriptor is left of the pages that are cut off now
        target.truncate(end)
        self._data_at, self._descriptors_at = end, rows_end

    def _append(self, data: Bytes) -> None:
        self._target.write(self._data_at, data)
        self._data_at += len(data)
        self._unsafe_bytes += len(data)

    def _head(self, header: KdumpHeader, seal: Seal) -> bytes:
        first = encode_header(header)
        second = encode_sub_header(header) + self._notes.encode(seal)
        return (first.ljust(header.page_bytes, b"\0") + second).ljust(header.bitmap_offset, b"\0")

    def _bitmaps(self) -> Iterator[tuple[int, bytes]]:
        """Offset and bytes of pieces of both bitmaps. Those of zeros needn't be written if others follow them."""
        half = self._header.bitmaps_bytes // 2
        for number, bits in enumerate((self._selection.memory, self._selection.wanted)):
            start = self._header.bitmap_offset + number * half
            for at, size_bytes in chunks(0, half):
                yield start + at, bits.bytes_at(at, size_bytes)


def head_bytes(about: About, selection: Selection, compression: Compression) -> int:
    """The size of what comes before the descriptors in each file: headers, notes, and the bitmaps of all pages."""
    notes = SealedNotes(about.notes, about.byte_order, selection.page_bytes + SUB_HEADER_BYTES)
    return _header(about, selection, compression, notes, None).descriptors_offset


def _bitmap_blocks(selection: Selection) -> int:
    return 2 * -(-selection.pages // (8 * selection.page_bytes))


def _header(
    about: About, selection: Selection, compression: Compression, notes: SealedNotes, split: Range | None
) -> KdumpHeader:
    page_bytes = selection.page_bytes
    return KdumpHeader(
        byte_order=about.byte_order,
        version=NEWEST_VERSION,
        sysname=about.name.system,
        nodename=about.name.node,
        release=about.name.release,
        kernel_version=about.name.version,
        machine=about.name.machine,
        domainname=about.name.domain,
        timestamp=about.seconds,
        microseconds=about.microseconds,
        status=INCOMPLETE | int(compression.flag),
        page_bytes=page_bytes,
        sub_header_blocks=-(-(notes.where.end - page_bytes) // page_bytes),
        bitmap_blocks=_bitmap_blocks(selection),
        pages=selection.pages,
        cpus=about.cpus,
        phys_base=about.phys_base,
        dump_level=int(selection.level | about.level_before),
        split=split,
        notes=notes.where,
        vmcoreinfo=notes.text_of(VMCOREINFO_NAME),
        erase_info=notes.text_of(ERASEINFO_NAME),
    )

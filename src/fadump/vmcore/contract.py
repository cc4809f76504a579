"""What every dump file is, whatever its format: physical memory, of which some is in the file.

After the last step of "follow one crash" in docs/architecture.md: all readers of dumps use :class:`Dump` and don't
know the format. A byte of physical memory is in one of five states (:class:`State`), and missing memory never reads
as zeros. Addresses are the crashed system's physical ones; sizes are in bytes.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from types import TracebackType
from typing import Self

import numpy as np
import numpy.typing as npt

from fadump.abi.layout import ByteOrder
from fadump.errors import AddressError, FadumpError, FormatError, LimitError, ReadError
from fadump.limits import MOST_PIECES
from fadump.memory.ranges import Range, RangeSet
from fadump.vmcore.notes import VMCOREINFO_NAME, Note

Bytes = npt.NDArray[np.uint8]
"""Memory as a read-only array of one dimension."""


class Kind(StrEnum):
    """The format of a dump, apart from being flattened."""

    ELF = "elf"
    KDUMP = "kdump"


class State(StrEnum):
    """What a dump has of some memory."""

    STORED = "stored"
    """Its bytes are in the file, compressed or not."""
    ZEROS = "zeros"
    """The format says that they are zeros: an ELF segment's end beyond p_filesz. makedumpfile's ELF files also
    have excluded pages there."""
    HOLE = "hole"
    """No memory, as far as the dump knows."""
    EXCLUDED = "excluded"
    """Left out on purpose when the dump was written."""
    MISSING = "missing"
    """The dump should have it but doesn't: it was never finished, is cut short, or is one file of a set."""


READABLE = frozenset({State.STORED, State.ZEROS})

UNREADABLE = (AddressError, FormatError, ReadError)
"""What reading memory raises if it isn't in the dump, is damaged, or is on a failing disk; not what it raises if the
host lacks a library."""

_WHY: dict[State, str] = {
    State.HOLE: "there is no memory, as far as the dump knows",
    State.EXCLUDED: "it was left out when the dump was written",
    State.MISSING: "the dump should have it and doesn't: it is incomplete",
}


class NotInDumpError(AddressError):
    """Memory that isn't in a dump: ``state`` says why, ``at`` is the first such address.

    ``address`` and ``length`` are what was asked for.
    """

    def __init__(self, address: int, length: int, at: int, state: State) -> None:
        super().__init__(address, length)
        self.at = at
        self.state = state
        FadumpError.__init__(self, f"{length:#x} bytes at {address:#x} can't be read, from {at:#x} on: {_WHY[state]}")


@dataclass(frozen=True, slots=True)
class Piece:
    """Memory that is all in the same state.

    ``file_offset`` is where its bytes are, contiguous and uncompressed, in file number ``file`` of the set (0 if there
    is only one; for a flattened file, the offset after unflattening). None: they are compressed, not stored, or only a
    few contiguous pages.
    """

    range: Range
    state: State
    file_offset: int | None = None
    file: int = 0

    def part(self, wanted: Range) -> "Piece":
        """The part of it at ``wanted`` addresses."""
        offset = None if self.file_offset is None else self.file_offset + wanted.start - self.range.start
        return Piece(wanted, self.state, offset, self.file)


@dataclass(frozen=True, slots=True)
class SystemName:
    """What a format's own header says about the crashed system: uname(2)'s names, the time of the dump in seconds since
    1970, UTC, how far x86 has moved its memory (``phys_base``), and how many CPUs there were."""

    system: str
    node: str
    release: str
    version: str
    machine: str
    domain: str
    seconds: int
    microseconds: int
    phys_base: int
    cpus: int


@dataclass(frozen=True, slots=True)
class VirtualRange:
    """The virtual address at which a file's header has some physical memory."""

    physical: Range
    virtual: int


class Dump(ABC):
    """An open dump. Also a context manager; safe to read from several threads.

    Errors that didn't prevent opening the file are in ``damage``.
    """

    kind: Kind
    flattened: bool
    """Whether the file is in makedumpfile's flattened format (-F)."""
    machine: str
    """As uname(1) gives it: "ppc64le"."""
    byte_order: ByteOrder
    """The byte order of headers and notes, which is the crashed kernel's."""
    notes: Sequence[Note]
    """All notes, in the order of the file; a note's ``offset`` counts bytes in the unflattened file."""
    vmcoreinfo: bytes | None
    """What the crashed kernel says about itself; None if it isn't in the dump."""
    memory: RangeSet
    """All physical memory that the dump describes, in the file or not."""
    damage: Sequence[FormatError]
    dump_level: int = 0
    """The makedumpfile level at which it was filtered, if it says so; an ELF core doesn't."""
    page_bytes: int | None = None
    """The size of the pages that memory is stored in; None: its format, such as ELF, has no pages."""
    system_name: SystemName | None = None
    """The crashed system by the file's header; None: its format, such as ELF, doesn't say."""
    erase_info: bytes | None = None
    """What makedumpfile has written about the data that it has erased; None: nothing."""
    shared_bytes: int = 0
    """How much memory has its bytes of the file in common with other memory at another address, in an ELF core."""
    virtual_ranges: Sequence[VirtualRange] = ()
    """Where an ELF core's PT_LOADs have its memory, in the order of the file; other formats don't say."""
    opal_entry: int | None = None
    """Where OPAL is entered, if this is OPAL's core and not a dump of Linux: its addresses count from OPAL's base."""

    @abstractmethod
    def mapping(self, wanted: Range) -> Iterator[Piece]:
        """The state of all of ``wanted``, in pieces in the order of addresses.

        This takes little memory, however large the range.

        :raises FormatError: the file has become shorter since it was opened.
        :raises OSError: the file can't be read.
        """

    def data_ranges(self, wanted: Range) -> Iterator[Range]:
        """Those of the ``wanted`` addresses that may have anything but zeros, by rising starts.

        No memory is read for this: all others that can be read are known to be zeros. Short runs of zeros, and what
        can't be read, may be among them.

        :raises FormatError: the file has become shorter since it was opened.
        :raises OSError: the file can't be read.
        """
        return (piece.range for piece in self.mapping(wanted) if piece.state in READABLE)

    @abstractmethod
    def read_physical(self, address: int, length: int) -> bytes:
        """Read ``length`` bytes of memory from physical ``address``.

        :raises NotInDumpError: some of them are not in the dump.
        :raises AddressError: the address or the length is negative.
        :raises FormatError: they don't decompress, or the file has become shorter since it was opened.
        :raises SetupError: they need a library that the host lacks.
        :raises OSError: the file can't be read.
        """

    def view_physical(self, wanted: Range) -> Bytes:
        """The bytes of ``wanted``, read-only; a mapping of the file if they are contiguous in it.

        A view stays valid after :meth:`close`. If the file is made shorter while a view is mapped, using the view ends
        the process (SIGBUS, mmap(2)); :meth:`read_physical` raises an error instead.

        :raises AddressError: as :meth:`read_physical`; the other errors likewise.
        """
        return np.frombuffer(self.read_physical(wanted.start, wanted.size_bytes), dtype=np.uint8)

    def read_or_view(self, wanted: Range, buffer: Bytes) -> Bytes:
        """The bytes of ``wanted``, for one use: in ``buffer``, which has room for them, if they must be read anyway.

        Mapping a page and unmapping it takes longer than copying it. Errors are those of :meth:`view_physical`.
        """
        return self.view_physical(wanted)

    @property
    def readable(self) -> RangeSet:
        """The part of :attr:`memory` that can be read. Computed at every use; :meth:`mapping` takes less memory.

        :raises FormatError: it has more than :data:`~fadump.limits.MOST_PIECES` ranges.
        """
        pieces = (piece for part in self.memory for piece in self.mapping(part))
        return limited_set((piece.range for piece in pieces if piece.state in READABLE), MOST_PIECES)

    def why_not(self, address: int) -> State | None:
        """Why the byte at ``address`` can't be read: HOLE, EXCLUDED or MISSING. None: it can."""
        for piece in self.mapping(Range.sized(address, 1)):
            if piece.state not in READABLE:
                return piece.state
        return None

    @abstractmethod
    def close(self) -> None:
        """Close the files; nothing but headers and notes can be read any more. May be called twice."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


def limited_set(ranges: Iterable[Range], most: int) -> RangeSet:
    """The set of rising ``ranges``; adjacent ones are merged.

    :raises FormatError: they are more than ``most``.
    """
    merged: list[Range] = []
    for range_ in ranges:
        if merged and merged[-1].end == range_.start:
            merged[-1] = Range(merged[-1].start, range_.end)
        else:
            merged.append(range_)
        if len(merged) > most:
            raise LimitError("ranges of memory", found=len(merged), limit=most)
    return RangeSet(merged)


def merged(pieces: Iterable[Piece]) -> Iterator[Piece]:
    """The same pieces, with neighbours merged that have the same state and are contiguous in the file."""
    last: Piece | None = None
    for piece in pieces:
        if last is not None and _continues(last, piece):
            last = Piece(Range(last.range.start, piece.range.end), last.state, last.file_offset, last.file)
            continue
        if last is not None:
            yield last
        last = piece
    if last is not None:
        yield last


def _continues(last: Piece, piece: Piece) -> bool:
    offset = None if last.file_offset is None else last.file_offset + last.range.size_bytes
    where_next = (last.range.end, last.state, offset, last.file)
    return where_next == (piece.range.start, piece.state, piece.file_offset, piece.file)


def vmcoreinfo_of(notes: Sequence[Note]) -> bytes | None:
    """The text of the first VMCOREINFO note that has any; None if there is none."""
    texts = (note.desc for note in notes if note.name == VMCOREINFO_NAME)
    return next((text for text in texts if text.strip(b"\0\n")), None)

"""What every dump file is, whatever its format: physical memory, of which some is in the file.

After the last step of "follow one crash" in docs/architecture.md: whoever reads a dump reads it through
:class:`Dump` and doesn't know its format. A byte of physical memory is in one of five states
(:class:`State`), and memory that isn't there is never passed off as zeros. Addresses are the crashed
system's physical ones; sizes are in bytes.
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
from fadump.memory.ranges import Range, RangeSet
from fadump.vmcore.notes import VMCOREINFO_NAME, Note

Bytes = npt.NDArray[np.uint8]
"""Memory as an array of one dimension, not to be written to."""

MOST_MEMORY_RANGES = 1 << 16
"""How many ranges :attr:`Dump.memory` may have: far more than machines have, and a file can claim any number."""
MOST_RANGES = 1 << 20
"""How many ranges :attr:`Dump.readable` may have, which a strict dump level leaves in many."""


class Kind(StrEnum):
    """The format of a dump, once it has been unflattened."""

    ELF = "elf"
    KDUMP = "kdump"


class State(StrEnum):
    """What a dump has of some memory."""

    STORED = "stored"
    """Its bytes are in the file, as they are or compressed."""
    ZEROS = "zeros"
    """The format says that they are zeros: an ELF segment's end that isn't in the file. makedumpfile's ELF
    files say so of pages that it has excluded, too."""
    HOLE = "hole"
    """No memory, as far as the dump knows."""
    EXCLUDED = "excluded"
    """Left out on purpose when the dump was written."""
    MISSING = "missing"
    """The dump should have it, and doesn't: it was never finished, is cut short, or is one file of a set."""


READABLE = frozenset({State.STORED, State.ZEROS})

UNREADABLE = (AddressError, FormatError, ReadError)
"""What reading memory raises where the dump doesn't have it, has it damaged, or its disk can't read it; not what it
raises where the host lacks a library."""

_WHY: dict[State, str] = {
    State.HOLE: "there is no memory, as far as the dump knows",
    State.EXCLUDED: "it was left out when the dump was written",
    State.MISSING: "the dump should have it and doesn't: it is incomplete",
}


class NotInDumpError(AddressError):
    """Memory that a dump doesn't have: ``state`` says why not, ``at`` is the first such address.

    ``address`` and ``length`` are what was asked for.
    """

    def __init__(self, address: int, length: int, at: int, state: State) -> None:
        super().__init__(address, length)
        self.at = at
        self.state = state
        FadumpError.__init__(self, f"{length:#x} bytes at {address:#x} can't be read, from {at:#x} on: {_WHY[state]}")


@dataclass(frozen=True, slots=True)
class Piece:
    """Some memory of which a dump has the same to say.

    ``file_offset`` is where its bytes stand one after the other, uncompressed, in file number ``file`` of the
    set (0 if there is but one; of a flattened file, the offset after unflattening). None: compressed, not stored, or
    only a few pages in the same place.
    """

    range: Range
    state: State
    file_offset: int | None = None
    file: int = 0

    def part(self, wanted: Range) -> "Piece":
        """The same for some of its addresses."""
        offset = None if self.file_offset is None else self.file_offset + wanted.start - self.range.start
        return Piece(wanted, self.state, offset, self.file)


@dataclass(frozen=True, slots=True)
class SystemName:
    """What a format's own header says of the crashed system: two of uname(2)'s names, and the time of the dump in
    seconds since 1970, UTC."""

    nodename: str
    release: str
    timestamp: int


class Dump(ABC):
    """An open dump. Also a context manager; safe to read from several threads.

    What is wrong with the file, but did not keep it from being opened, is in ``damage``.
    """

    kind: Kind
    flattened: bool
    """Whether the file is a stream of makedumpfile's (-F)."""
    machine: str
    """As uname(1) says it: "ppc64le"."""
    byte_order: ByteOrder
    """Of headers and notes; it is the crashed kernel's."""
    notes: Sequence[Note]
    """All notes, in the order of the file; a note's ``offset`` counts bytes in the unflattened file."""
    vmcoreinfo: bytes | None
    """What the crashed kernel says about itself; None if the dump doesn't have it."""
    memory: RangeSet
    """All physical memory that the dump speaks of, in the file or not."""
    damage: Sequence[FormatError]
    dump_level: int = 0
    """At which of makedumpfile's levels it was filtered, as far as it says; an ELF core doesn't."""
    page_bytes: int | None = None
    """Bytes in each of the pages that the file has memory in; None: its format, as ELF, has none."""
    system_name: SystemName | None = None
    """Whose dump it is by its header; None: its format, as ELF, doesn't say."""

    @abstractmethod
    def mapping(self, wanted: Range) -> Iterator[Piece]:
        """What the dump has of ``wanted``: all of it in the order of addresses, in pieces of one state each.

        It takes little memory, however large the range.

        :raises FormatError: the file has become shorter since it was opened.
        :raises OSError: the file can't be read.
        """

    @abstractmethod
    def read_physical(self, address: int, length: int) -> bytes:
        """``length`` bytes of memory from physical ``address``.

        :raises NotInDumpError: some of them are not in the dump.
        :raises AddressError: the address or the length is negative.
        :raises FormatError: they don't decompress, or the file has become shorter since it was opened.
        :raises SetupError: they need a library that the host lacks.
        :raises OSError: the file can't be read.
        """

    def view_physical(self, wanted: Range) -> Bytes:
        """The bytes of ``wanted``, read-only; the file itself, mapped, where it has them in one piece.

        A view stays valid after :meth:`close`. Whoever makes the file shorter while a view is mapped ends
        the process that looks at it (SIGBUS, mmap(2)); :meth:`read_physical` raises instead.

        :raises AddressError: as :meth:`read_physical`, and so the other errors.
        """
        return np.frombuffer(self.read_physical(wanted.start, wanted.size_bytes), dtype=np.uint8)

    @property
    def readable(self) -> RangeSet:
        """What of :attr:`memory` can be read. Computed at every use; :meth:`mapping` takes less memory.

        :raises FormatError: it has more than :data:`MOST_RANGES` ranges.
        """
        pieces = (piece for part in self.memory for piece in self.mapping(part))
        return limited_set((piece.range for piece in pieces if piece.state in READABLE), MOST_RANGES)

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
    """The set of rising ``ranges``, of which those that touch are one.

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
    """The same with neighbours put together that are one: same state, and in the file one after the other."""
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
    """The bytes of the first VMCOREINFO note; None if there is none."""
    return next((note.desc for note in notes if note.name == VMCOREINFO_NAME), None)

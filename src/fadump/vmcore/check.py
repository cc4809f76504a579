"""Whether a dump is whole: structure, notes, VMCOREINFO, and every byte that it says it has.

After the last step of "follow one crash" in docs/architecture.md. A check continues after a finding and says what is
still usable; it raises an error only if it can't continue.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType

import numpy as np

from fadump.abi.layout import ByteOrder
from fadump.errors import FormatError, ReadError, reason
from fadump.memory.ranges import Range, RangeSet
from fadump.printable import first_of
from fadump.progress import binary_size
from fadump.vmcore.checksums import broken_checksums, bytes_behind, proven_bytes
from fadump.vmcore.contract import Dump, State
from fadump.vmcore.elf_dump import ElfDump
from fadump.vmcore.elfcore import ElfCore
from fadump.vmcore.kdump import KdumpDump
from fadump.vmcore.kdump_file import KdumpFile
from fadump.vmcore.kdump_header import DESCRIPTOR_BYTES, Descriptor
from fadump.vmcore.notes import Note, decode_prstatus, vmcoreinfo_lines
from fadump.vmcore.source import Source, data_or_all

_PIECE_BYTES = 1 << 20
_WINDOW_PAGES = 1 << 16
_PAGE_SIZES = frozenset(1 << shift for shift in range(12, 17))
_WANTED_FACTS = ("OSRELEASE", "PAGESIZE")
"""Without these, drgn and makedumpfile refuse a dump."""


class Weight(StrEnum):
    """What a finding means."""

    DAMAGE = "damage"
    """Something is missing, contradictory or unreadable: the dump isn't whole."""
    REMARK = "remark"
    """Worth knowing, but no damage."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One fact about a dump, in a sentence."""

    weight: Weight
    text: str


@dataclass(frozen=True, slots=True)
class CheckReport:
    """The result of a check. ``sizes`` has the bytes of memory in each state, and adds up to all memory."""

    sizes: Mapping[State, int]
    cpus: int
    """How many CPUs' registers the notes have."""
    findings: Sequence[Finding]
    unreadable_bytes: int = 0
    """How much memory is in the file but can't be read: its disk fails, or pages don't unpack."""

    @property
    def whole(self) -> bool:
        """Whether nothing is damaged."""
        return all(finding.weight is not Weight.DAMAGE for finding in self.findings)


def check_dump(dump: Dump, *, advance: Callable[[int], None] | None = None) -> CheckReport:
    """Check all of an open dump; ``advance`` is called with the number of bytes read since its last call.

    For a whole dump, these add up to :func:`work_bytes`.

    :raises SetupError: pages are packed with LZO or Snappy, which the host lacks.
    :raises OSError: a header can't be read.
    """
    reading = _Reading(advance or _ignore_progress)
    findings = list(_listed(map(str, dump.damage)))
    in_states: dict[State, int] = {}
    missing = list(_listed(_missing_memory(dump, in_states)))
    if not dump.memory:
        findings.append(_damage("it has no memory at all"))
    findings += missing
    if in_states[State.ZEROS]:
        amount = binary_size(in_states[State.ZEROS])
        findings.append(_remark(f"{amount} of memory are not in the file: zeros, or pages that were left out"))
    findings += _check_notes(dump)
    if isinstance(dump, ElfDump):
        findings += _check_program_headers(dump.core)
        findings += _check_bytes(dump, reading)
        findings += _check_seal(dump.core.source, dump.notes, dump.byte_order, reading)
    if isinstance(dump, KdumpDump):
        findings += _check_bitmaps(dump)
        for file in dump.files:
            findings += _check_pages(file, reading)
            findings += _check_seal(file.source, file.notes, dump.byte_order, reading)
    cpus = sum(note.is_prstatus() for note in dump.notes)
    return CheckReport(MappingProxyType(in_states), cpus, tuple(findings), reading.unreadable_bytes)


@dataclass(slots=True)
class _Reading:
    """``advance`` is called with the number of bytes that were read, or should have been."""

    advance: Callable[[int], None]
    unreadable_bytes: int = 0


def sizes(dump: Dump) -> dict[State, int]:
    """How many bytes of a dump's memory are in each state.

    :raises OSError: the file can't be read.
    """
    counts: dict[State, int] = {}
    for _missing in _missing_memory(dump, counts):
        pass
    return counts


def work_bytes(dump: Dump) -> int:
    """How many bytes a check reads: not the holes of a file, and of pages that share one of zeros only what says so.

    :raises SetupError: as :func:`check_dump`.
    :raises OSError: the file can't be read.
    """
    total = 0
    if isinstance(dump, ElfDump):
        source = dump.core.source
        total += sum(data.size_bytes for part in _in_file(dump) for data in data_or_all(source, part))
        total += proven_bytes(source, dump.notes, dump.byte_order)
    if isinstance(dump, KdumpDump):
        for file in dump.files:
            total += sum(_window_bytes(file, *window) for window in _windows(file))
            total += proven_bytes(file.source, file.notes, dump.byte_order)
    return total


def _missing_memory(dump: Dump, counts: dict[State, int]) -> Iterator[str]:
    """What should be in the file and isn't; afterwards ``counts`` has the bytes of memory in each state."""
    counts.update(dict.fromkeys((state for state in State if state is not State.HOLE), 0))
    for memory in dump.memory:
        for piece in dump.mapping(memory):
            counts[piece.state] += piece.range.size_bytes
            if piece.state is State.MISSING:
                yield f"memory {piece.range} should be in the file and isn't"


def _check_notes(dump: Dump) -> Iterator[Finding]:
    if not any(note.is_prstatus() for note in dump.notes):
        yield _remark("it has no CPU's registers (NT_PRSTATUS)")
    if dump.machine.startswith("ppc64"):
        for note in dump.notes:
            if note.is_prstatus():
                try:
                    decode_prstatus(note, dump.byte_order)
                except FormatError as error:
                    yield _damage(str(error))
    if dump.vmcoreinfo is not None:
        yield from _check_vmcoreinfo(dump, dump.vmcoreinfo)
    elif dump.opal_entry is None:
        yield _remark("it has no VMCOREINFO: little can be said about the Linux in it")


def _check_vmcoreinfo(dump: Dump, vmcoreinfo: bytes) -> Iterator[Finding]:
    facts = {line.key: line.value for line in vmcoreinfo_lines(vmcoreinfo)}
    for fact in _WANTED_FACTS:
        if fact not in facts:
            yield _damage(f"its VMCOREINFO doesn't say {fact}")
    stated = facts.get("PAGESIZE")
    if dump.page_bytes is not None and stated not in (None, str(dump.page_bytes)):
        # QEMU has pages of 64 KiB, whatever the kernel's are
        is_smaller = stated.isdecimal() and int(stated) in _PAGE_SIZES and int(stated) < dump.page_bytes
        weight = Weight.REMARK if is_smaller else Weight.DAMAGE
        yield Finding(weight, f"its pages are {dump.page_bytes} bytes, VMCOREINFO says {stated}")


def _check_program_headers(core: ElfCore) -> Iterator[Finding]:
    """PT_LOADs may share bytes of the file, each for another virtual address of the same memory; no others may."""
    by_distance: dict[int, list[Range]] = {}
    for load in core.segments:
        if load.physical:
            by_distance.setdefault(load.physical.start - load.file_offset, []).append(load.physical)
    by_address = sorted(physical for ranges in by_distance.values() for physical in RangeSet(ranges))
    overlaps = (f"PT_LOADs {lower} and {higher} overlap" for lower, higher in _overlapping(by_address))
    yield from _listed((f"{overlap}, the first in the file counts" for overlap in overlaps), Weight.REMARK)
    in_file: dict[int, list[Range]] = {}
    for load in core.segments:
        if load.file_bytes:
            where = Range.sized(load.file_offset, load.file_bytes)
            in_file.setdefault(load.physical.start - load.file_offset, []).append(where)
    by_offset = sorted(where for ranges in in_file.values() for where in RangeSet(ranges))
    yield from _listed(
        f"two PT_LOADs share bytes of the file: {lower} and {higher}" for lower, higher in _overlapping(by_offset)
    )


def _check_bytes(dump: ElfDump, reading: _Reading) -> Iterator[Finding]:
    """Read all memory in the file, once; holes of the file are skipped."""
    buffer = memoryview(bytearray(_PIECE_BYTES))
    yield from _listed(text for part in _in_file(dump) for text in _unreadable_bytes(dump.core, part, buffer, reading))


def _in_file(dump: ElfDump) -> RangeSet:
    """Where the file has memory."""
    return RangeSet(
        Range.sized(piece.file_offset, piece.range.size_bytes)
        for memory in dump.memory
        for piece in dump.mapping(memory)
        if piece.file_offset is not None
    )


def _unreadable_bytes(core: ElfCore, part: Range, buffer: memoryview, reading: _Reading) -> Iterator[str]:
    for data in data_or_all(core.source, part):
        for at in range(data.start, data.end, len(buffer)):
            size_bytes = min(len(buffer), data.end - at)
            try:
                core.read_file_into(at, buffer[:size_bytes])
            except (ReadError, FormatError) as error:
                reading.unreadable_bytes += size_bytes
                yield f"{size_bytes:#x} bytes of the file at offset {at:#x} can't be read: {reason(error)}"
            reading.advance(size_bytes)


def _check_seal(source: Source, notes: Sequence[Note], byte_order: ByteOrder, reading: _Reading) -> Iterator[Finding]:
    behind = bytes_behind(source, notes, byte_order)
    if behind:
        yield _remark(f"{behind:#x} bytes follow the dump in its file, which are no part of it")
    yield from _listed(broken_checksums(source, notes, byte_order, reading.advance))


def _check_bitmaps(dump: KdumpDump) -> Iterator[Finding]:
    page_bytes = dump.page_bytes
    for file in dump.files:
        runs = (Range(start * page_bytes, end * page_bytes) for start, end in file.bitmap.runs())
        odd = (RangeSet([run]) - RangeSet(dump.memory.within(run)) for run in runs if not dump.memory.contains(run))
        yield from _listed(f"pages {pages} are in the file, and were no memory" for parts in odd for pages in parts)


def _check_pages(file: KdumpFile, reading: _Reading) -> Iterator[Finding]:
    """Unpack every page; pages that share bytes are unpacked once."""
    yield from _listed(text for window in _windows(file) for text in _unreadable_pages(file, *window, reading))


def _windows(file: KdumpFile) -> Iterator[tuple[int, int]]:
    """First and last+1 of pages that are looked at together; where none is in the file, there is no window."""
    end = min(file.pages.end, file.bitmap.pages_known)
    windows = ((at, min(at + _WINDOW_PAGES, end)) for at in range(file.pages.start, end, _WINDOW_PAGES))
    return (window for window in windows if file.bitmap.count_between(*window))


def _window_bytes(file: KdumpFile, start: int, end: int) -> int:
    """How many bytes are read for the pages of a window."""
    if file.has_only_zeros(start, end):
        return (end - start) * DESCRIPTOR_BYTES
    pages = file.look(start, end)
    zeros = int(np.count_nonzero(file.are_zeros(pages)))
    return (int(np.count_nonzero(pages.stored)) - zeros) * file.header.page_bytes + zeros * DESCRIPTOR_BYTES


def _unreadable_pages(file: KdumpFile, start: int, end: int, reading: _Reading) -> Iterator[str]:
    if file.has_only_zeros(start, end):
        reading.advance((end - start) * DESCRIPTOR_BYTES)
        return
    pages = file.look(start, end)
    page_bytes = file.header.page_bytes
    places = np.flatnonzero(pages.stored)
    rows = np.column_stack([pages.offsets[places], pages.sizes[places], pages.flags[places]])
    is_new = np.append(True, (rows[1:] != rows[:-1]).any(axis=1))[: len(rows)]
    heads = np.flatnonzero(is_new)  # sorting takes long, and nearly all pages may be the same one of zeros
    unique, first, which = np.unique(rows[heads], axis=0, return_index=True, return_inverse=True)
    counts = np.bincount(which.ravel(), np.diff(heads, append=len(rows)), len(unique)).astype(np.int64)
    zeros = file.are_zeros(pages)
    last_end = 0
    found = zip(unique.tolist(), places[heads[first]].tolist(), counts.tolist(), strict=True)
    for (offset, size, flags), place, count in found:
        address = (pages.start + place) * page_bytes
        if offset < last_end:
            yield f"page {address:#x} shares bytes of the file with another, before offset {last_end:#x}"
        last_end = max(last_end, offset + size)
        try:
            file.unpack(Descriptor(offset, size, flags))
        except (ReadError, FormatError) as error:
            reading.unreadable_bytes += page_bytes * count
            yield f"page {address:#x} can't be read: {reason(error)}"
        reading.advance(count * (DESCRIPTOR_BYTES if zeros[place] else page_bytes))


def _overlapping(rising: Sequence[Range]) -> Iterator[tuple[Range, Range]]:
    """Pairs of an earlier range and one that begins before its end, out of ``rising`` ones."""
    widest: Range | None = None
    for range_ in rising:
        if widest is not None and range_.start < widest.end:
            yield widest, range_
        if widest is None or range_.end > widest.end:
            widest = range_


def _listed(texts: Iterable[str], weight: Weight = Weight.DAMAGE) -> Iterator[Finding]:
    """A finding for each of the first texts, and one that counts the others."""
    return (Finding(weight, text) for text in first_of(texts))


def _damage(text: str) -> Finding:
    return Finding(Weight.DAMAGE, text)


def _remark(text: str) -> Finding:
    return Finding(Weight.REMARK, text)


def _ignore_progress(_amount: int) -> None:
    pass

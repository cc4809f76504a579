"""Proof of a dump: every byte and every register of it, compared with the machine at the crash.

After the last step of "follow one crash" in docs/architecture.md. The machine at the crash is a
:class:`~fadump.proof.crash_image.CrashImage`, taken before the firmware ran; the dump is the result of firmware, a
reset, a second kernel and a copy to disk. Everything that the file has of every PT_LOAD is compared: compared and
excluded bytes add up to the sum of p_filesz.

How the registers of the register save area map to those of NT_PRSTATUS is in Linux,
arch/powerpc/platforms/pseries/rtas-fadump.c, rtas_fadump_set_regval(); a register that isn't in the area
is 0 in the note, since rtas_fadump_read_regs() starts from zeros.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from fadump.abi.elf import EM_PPC64
from fadump.abi.registers import PAPR_TO_PT_REGS, CpuRegisters
from fadump.errors import FormatError
from fadump.memory.ranges import Range, RangeSet
from fadump.proof.crash_image import CrashImage
from fadump.vmcore.contract import Dump, State
from fadump.vmcore.elfcore import ElfCore, LoadSegment
from fadump.vmcore.notes import Prstatus, decode_prstatus

MOST_DIFFERENCES = 64
"""How many differing ranges a comparison lists; all are counted."""

PT_REGS_TO_PAPR: Mapping[str, str] = MappingProxyType({linux: papr for papr, linux in PAPR_TO_PT_REGS.items()})

_PIECE_BYTES = 1 << 20
_BLOCK_BYTES = 4096
"""Differences closer than this are shown as one range."""
_MACHINE_OFFSET = 0x12


@dataclass(frozen=True, slots=True)
class Exclusion:
    """Physical addresses that can't be compared, and why not, in words."""

    range: Range
    reason: str


@dataclass(frozen=True, slots=True)
class Comparison:
    """The result of comparing memory. Sizes are bytes, ranges are physical addresses.

    ``bytes_compared`` + ``bytes_excluded`` is the sum of p_filesz; ``bytes_different`` of those compared
    differ, or were not RAM at the crash. ``excluded`` are the exclusions that left anything out.
    ``differences`` are the first of ``difference_count`` ranges in the order of the file, each from its
    first to its last differing byte; differences less than 4 KiB apart are one range.
    ``not_in_dump`` is RAM that no PT_LOAD has bytes for: on Power the reserved dump area.
    """

    bytes_compared: int
    bytes_different: int
    bytes_excluded: int
    excluded: tuple[Exclusion, ...]
    differences: tuple[Range, ...]
    difference_count: int
    not_in_dump: RangeSet


def _ignore_progress(_bytes: int) -> None:
    """Ignore the progress."""


def compare(
    core: ElfCore,
    image: CrashImage,
    excluded: Sequence[Exclusion] = (),
    *,
    advance: Callable[[int], None] = _ignore_progress,
) -> Comparison:
    """Compare all memory in a dump with the machine's; ``advance`` is called with the size of each piece.

    This needs a few MiB of memory, whatever the dump's size. If both have a hole, nothing is read.

    :raises FormatError: the dump has become shorter since it was opened.
    :raises OSError: the dump can't be read.
    """
    left_out = RangeSet(exclusion.range for exclusion in excluded)
    in_dump = RangeSet(segment.in_file for segment in core.segments)
    tally = _Tally()
    reader = _Reader(core, image)
    bytes_compared = 0
    for segment in core.segments:
        for part, is_ram in _parts(segment, left_out, image.ram):
            bytes_compared += part.size_bytes
            if is_ram:
                for where, bytes_different in reader.differences(segment, part, advance):
                    tally.add(where, bytes_different)
            else:
                tally.add(part, part.size_bytes)
                advance(part.size_bytes)
    return Comparison(
        bytes_compared=bytes_compared,
        bytes_different=tally.bytes_different,
        bytes_excluded=sum((RangeSet([segment.in_file]) & left_out).size_bytes for segment in core.segments),
        excluded=tuple(exclusion for exclusion in excluded if in_dump.overlaps(exclusion.range)),
        differences=tally.differences,
        difference_count=tally.count,
        not_in_dump=image.ram - in_dump,
    )


@dataclass(frozen=True, slots=True)
class OpalComparison:
    """OPAL's memory in its core, compared with the machine's. Sizes are bytes."""

    bytes_compared: int
    bytes_different: int


def compare_opalcore(core: ElfCore, image: CrashImage) -> OpalComparison:
    """Compare what Linux offers as /sys/firmware/opal/mpipl/core.

    Its virtual addresses are where OPAL's memory was at the crash, its physical ones begin at 0 (Linux
    arch/powerpc/platforms/powernv/opal-core.c, create_opalcore()).

    :raises FormatError: the core has become shorter since it was opened.
    :raises AddressError: it has memory that the machine didn't.
    """
    compared = different = 0
    for segment in core.segments:
        for at in range(0, segment.file_bytes, _PIECE_BYTES):
            size_bytes = min(_PIECE_BYTES, segment.file_bytes - at)
            saved = bytearray(core.read_file(segment.file_offset + at, size_bytes))
            original = bytearray(image.read(segment.virtual_address + at, size_bytes))
            compared += size_bytes
            different += sum(count for _where, count in _differing_blocks(saved, original, 0))
    return OpalComparison(compared, different)


def compare_stored(
    dump: Dump,
    image: CrashImage,
    excluded: Sequence[Exclusion] = (),
    *,
    over_zeros: Mapping[bytes, str] = MappingProxyType({}),
    advance: Callable[[int], None] = _ignore_progress,
) -> Comparison:
    """Compare all memory that a dump of any format has stored with the machine's.

    Memory that it doesn't store but says to be zeros is left out, as makedumpfile does that for excluded pages. So is
    what a tool adds where the machine had nothing but zeros: ``over_zeros`` has such texts, and why. So
    ``bytes_compared`` + ``bytes_excluded`` is what the file has stored, and ``not_in_dump`` the rest of RAM.

    :raises FormatError: pages don't decompress, or the dump has become shorter since it was opened.
    :raises OSError: the dump can't be read.
    """
    left_out = RangeSet(exclusion.range for exclusion in excluded)
    tally = _Tally()
    compared: list[Range] = []
    met: list[Range] = []
    added: list[Exclusion] = []
    for piece in (piece for part in dump.memory for piece in dump.mapping(part) if piece.state is State.STORED):
        met += RangeSet([piece.range]) & left_out
        for part in RangeSet([piece.range]) - left_out:
            compared.append(part)
            for stored in _stored_pieces(dump, image, part):
                added += stored.take_out(over_zeros)
                for where, bytes_different in stored.differences():
                    tally.add(where, bytes_different)
            advance(part.size_bytes)
    put_in = RangeSet(exclusion.range for exclusion in added)
    in_dump, out = RangeSet(compared) - put_in, RangeSet(met) | put_in
    return Comparison(
        bytes_compared=in_dump.size_bytes,
        bytes_different=tally.bytes_different,
        bytes_excluded=out.size_bytes,
        excluded=(*(exclusion for exclusion in excluded if out.overlaps(exclusion.range)), *added),
        differences=tally.differences,
        difference_count=tally.count,
        not_in_dump=image.ram - in_dump - out,
    )


@dataclass(frozen=True, slots=True)
class _StoredPiece:
    """What a dump has from an address on, and what the machine had: nothing where that was not RAM."""

    start: int
    stored: bytearray
    original: bytearray

    def take_out(self, over_zeros: Mapping[bytes, str]) -> Iterator[Exclusion]:
        """Make both equal where one of the texts has been put over zeros, and say where that is."""
        if self.stored == self.original or len(self.stored) != len(self.original):
            return
        for text, why in over_zeros.items():
            at = self.stored.find(text)
            while at >= 0:
                end = at + len(text)
                if not any(self.original[at:end]):
                    self.original[at:end] = text
                    yield Exclusion(Range.sized(self.start + at, len(text)), why)
                at = self.stored.find(text, end)

    def differences(self) -> Iterator[tuple[Range, int]]:
        """The blocks that differ, and in how many bytes."""
        if len(self.stored) != len(self.original):
            yield Range.sized(self.start, len(self.stored)), len(self.stored)
        elif self.stored != self.original:
            yield from _differing_blocks(self.stored, self.original, self.start)


def _stored_pieces(dump: Dump, image: CrashImage, part: Range) -> Iterator[_StoredPiece]:
    for start in range(part.start, part.end, _PIECE_BYTES):
        piece = Range(start, min(start + _PIECE_BYTES, part.end))
        ram = RangeSet([piece]) & image.ram
        for where in sorted([*ram, *(RangeSet([piece]) - image.ram)]):
            stored = bytearray(dump.read_physical(where.start, where.size_bytes))
            original = bytearray(image.read(where.start, where.size_bytes)) if ram.contains(where) else bytearray()
            yield _StoredPiece(where.start, stored, original)


def compare_cpus(core: ElfCore | Dump, image: CrashImage, crashing_cpu: int | None) -> list[str]:
    """Sentences about every register in NT_PRSTATUS that isn't what the CPU had; none if all are right.

    The notes don't say which CPU they belong to (pr_pid is 0), but Linux writes them in the order of the register
    save area. So if there are more or fewer notes than CPUs, the only sentence says so and nothing is compared.
    ``crashing_cpu``'s note comes from the crash-info header instead, and is left out; None: none is.

    :raises FormatError: a note is cut short, or the dump isn't of a ppc64 machine.
    """
    if core.machine not in (EM_PPC64, "ppc64", "ppc64le"):
        raise FormatError("registers of another machine", offset=_MACHINE_OFFSET, expected=EM_PPC64, found=core.machine)
    notes = [decode_prstatus(note, core.byte_order) for note in core.notes if note.is_prstatus()]
    if len(notes) != len(image.cpus):
        counts = f"the dump has the registers of {len(notes)} CPUs, {len(image.cpus)} were online at the crash"
        return [f"{counts}: none were compared, since a note doesn't say whose it is"]
    sentences = []
    if crashing_cpu is not None and all(cpu.cpu_id != crashing_cpu for cpu in image.cpus):
        sentences.append(f"CPU {crashing_cpu} is said to have crashed, and was not online")
    for note, cpu in zip(notes, image.cpus, strict=True):
        if cpu.cpu_id != crashing_cpu:
            sentences += _register_differences(note, cpu)
    return sentences


class _Tally:
    """Counts differing bytes, and collects where they are."""

    def __init__(self) -> None:
        self.bytes_different = 0
        self.count = 0
        self._listed: list[Range] = []
        self._last: Range | None = None

    @property
    def differences(self) -> tuple[Range, ...]:
        return tuple(self._listed)

    def add(self, where: Range, bytes_different: int) -> None:
        self.bytes_different += bytes_different
        last = self._last
        if last is not None and 0 <= where.start - last.end < _BLOCK_BYTES:
            self._last = Range(last.start, where.end)
        else:
            self._last = where
            self.count += 1
        if self.count <= MOST_DIFFERENCES:
            self._listed[self.count - 1 :] = [self._last]


def _parts(segment: LoadSegment, left_out: RangeSet, ram: RangeSet) -> Iterator[tuple[Range, bool]]:
    """The parts of a segment to compare, by address, and whether each was RAM."""
    wanted = RangeSet([segment.in_file]) - left_out
    yield from sorted([*((part, True) for part in wanted & ram), *((part, False) for part in wanted - ram)])


class _Reader:
    """Reads dump and image into two buffers, which are reused, as allocating memory costs more than reading."""

    def __init__(self, core: ElfCore, image: CrashImage) -> None:
        self._core = core
        self._image = image
        self._dumped = bytearray()
        self._original = bytearray()

    def differences(
        self, segment: LoadSegment, part: Range, advance: Callable[[int], None]
    ) -> Iterator[tuple[Range, int]]:
        """The blocks of ``part``, which is RAM, that differ; see :func:`_differing_blocks`."""
        in_dump = RangeSet(self._core.data_ranges(segment)) & RangeSet([part])
        at = part.start
        for data in in_dump | RangeSet(self._image.data_ranges(part)):
            for start in range(data.start, data.end, _PIECE_BYTES):
                piece = Range(start, min(start + _PIECE_BYTES, data.end))
                yield from self._compared(segment, piece)
                advance(piece.end - at)
                at = piece.end
        advance(part.end - at)

    def _compared(self, segment: LoadSegment, piece: Range) -> Iterator[tuple[Range, int]]:
        if len(self._dumped) != piece.size_bytes:
            self._dumped, self._original = bytearray(piece.size_bytes), bytearray(piece.size_bytes)
        offset = segment.file_offset + piece.start - segment.physical.start
        self._core.read_file_into(offset, memoryview(self._dumped))
        self._image.read_into(piece.start, memoryview(self._original))
        if self._dumped != self._original:
            yield from _differing_blocks(self._dumped, self._original, piece.start)


def _differing_blocks(left: bytearray, right: bytearray, address: int) -> Iterator[tuple[Range, int]]:
    """For each block that differs: the range from the first to the last differing byte, and how many differ."""
    for at in range(0, len(left), _BLOCK_BYTES):
        left_block, right_block = left[at : at + _BLOCK_BYTES], right[at : at + _BLOCK_BYTES]
        if left_block == right_block:
            continue
        changed = int.from_bytes(left_block, "little") ^ int.from_bytes(right_block, "little")
        flags = changed.to_bytes(len(left_block), "little")  # bytes that are the same are 0
        start, end = len(flags) - len(flags.lstrip(b"\0")), len(flags.rstrip(b"\0"))
        yield Range(address + at + start, address + at + end), len(flags) - flags.count(0)


def _register_differences(note: Prstatus, cpu: CpuRegisters) -> Iterator[str]:
    for pt_regs_name, in_dump in note.registers.items():
        name = PT_REGS_TO_PAPR.get(pt_regs_name, pt_regs_name)
        at_crash = cpu.values.get(name, 0)
        if in_dump != at_crash:
            was = f"was {at_crash:#x} at the crash" if name in cpu.values else "should be 0: it was not read"
            yield f"CPU {cpu.cpu_id}: {name} is {in_dump:#x} in the dump, {was}"

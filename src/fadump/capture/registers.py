"""Each CPU's registers where other readers look for them.

After the last step of "follow one crash" in docs/architecture.md, on the way from a dump to a saved one. When a kernel
dies by kdump, every CPU saves its registers as an NT_PRSTATUS in its own ``crash_notes`` (kernel/crash_core.c,
crash_save_cpu()). drgn takes them from there if VMCOREINFO has CRASHTIME, and crash asks there which CPUs have a note.
In a firmware-assisted dump that memory is zeros: crash_fadump() leaves the registers to the firmware, and the capture
kernel makes notes of them that don't say whose they are. So each CPU's note is laid over its ``crash_notes`` here,
exactly as crash_save_cpu() would have written it, but for the process id, which isn't known; and the notes are sorted
by CPU, those of offline CPUs last, since crash counts online ones. Nothing but zeros is ever overwritten.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from fadump.errors import FadumpError
from fadump.linux.cpu_numbers import number_registers, online_cpus
from fadump.linux.memory import KernelMemory
from fadump.linux.symbols import SymbolTable
from fadump.linux.system import CrashedSystem
from fadump.memory.ranges import Range
from fadump.vmcore.core import Dump
from fadump.vmcore.dump import StrPath
from fadump.vmcore.notes import CORE_NAME, NT_PRSTATUS, Note, decode_prstatus, encode_note
from fadump.vmcore.overlay import OverlayDump

_END_BYTES = 12
"""final_note(): a header of zeros behind the note."""
_ADDRESS_MASK = (1 << 64) - 1


@dataclass(frozen=True, slots=True)
class AddedRegisters:
    """What was added. ``cpus`` are the numbers of those whose registers were put in their place.

    ``already`` had a note there, ``occupied`` something else, which was left alone. ``unknown`` is the number of notes
    of which nobody knows the CPU. ``why_not`` says why nothing could be added, None if that isn't so.
    """

    cpus: Sequence[int] = ()
    already: Sequence[int] = ()
    occupied: Sequence[int] = ()
    unknown: int = 0
    why_not: str | None = None


def with_registers(dump: Dump, vmlinux: StrPath | None = None) -> tuple[Dump, AddedRegisters]:
    """The same dump with registers for every reader, and what was added to it; closing it closes ``dump``.

    ``vmlinux`` may be the crashed kernel's, for a kernel that doesn't list its own symbols. What the dump lacks is no
    error, as it can be saved without.

    :raises OSError: the dump or the vmlinux can't be read.
    """
    system = CrashedSystem(dump, vmlinux)
    try:
        return _with_registers(system.memory, system.symbols)
    except FadumpError as error:
        return dump, AddedRegisters(why_not=str(error))


def _with_registers(memory: KernelMemory, symbols: SymbolTable) -> tuple[Dump, AddedRegisters]:
    dump = memory.dump
    notes = [note for note in dump.notes if note.is_prstatus()]
    numbers = number_registers(memory, symbols, [decode_prstatus(note, dump.byte_order).registers for note in notes])
    numbered = {number: note for number, note in zip(numbers, notes, strict=True) if number is not None}
    places = _Places(memory, symbols)
    patches: dict[int, bytes] = {}
    added: list[int] = []
    already: list[int] = []
    occupied: list[int] = []
    for number, note in sorted(numbered.items()):
        wanted = encode_note(CORE_NAME, NT_PRSTATUS, note.desc, dump.byte_order)
        address = places.address(number)
        found = memory.read(address, len(wanted) + _END_BYTES)
        if not any(found):
            patches |= _physical(memory, address, wanted)
            added.append(number)
        else:
            head_bytes = len(wanted) - len(note.desc)
            (already if found[:head_bytes] == wanted[:head_bytes] else occupied).append(number)
    result = AddedRegisters(tuple(added), tuple(already), tuple(occupied), unknown=len(notes) - len(numbered))
    sorted_notes = _sorted(dump.notes, numbered, frozenset(online_cpus(memory, symbols)))
    if not patches and sorted_notes == list(dump.notes):
        return dump, result
    return OverlayDump(dump, patches, page_bytes=memory.facts.page_size(), notes=sorted_notes), result


class _Places:
    """Where each CPU's ``crash_notes`` is: a per-CPU variable that is allocated (crash_notes_memory_init())."""

    def __init__(self, memory: KernelMemory, symbols: SymbolTable) -> None:
        self._memory = memory
        self._pointer = memory.word(symbols.address("crash_notes"))
        self._offsets = symbols.address("__per_cpu_offset") if "__per_cpu_offset" in symbols else None

    def address(self, number: int) -> int:
        """Its virtual address; without SMP there are no offsets."""
        if self._offsets is None:
            return self._pointer
        return self._pointer + self._memory.word(self._offsets + 8 * number) & _ADDRESS_MASK


def _physical(memory: KernelMemory, virtual: int, data: bytes) -> Mapping[int, bytes]:
    """``data`` at a virtual address, by physical addresses."""
    pieces = memory.translation.mapped(Range.sized(virtual, len(data)))
    return {piece.physical: data[piece.virtual.start - virtual : piece.virtual.end - virtual] for piece in pieces}


def _sorted(notes: Sequence[Note], numbered: Mapping[int, Note], online: frozenset[int]) -> list[Note]:
    """The same notes; those of CPUs by number, online ones first, in the places that such notes had."""
    known = sorted(numbered, key=lambda number: (number not in online, number))
    offsets = {note.offset for note in numbered.values()}
    unknown = [note for note in notes if note.is_prstatus() and note.offset not in offsets]
    of_cpus = iter([numbered[number] for number in known] + unknown)
    return [next(of_cpus) if note.is_prstatus() else note for note in notes]

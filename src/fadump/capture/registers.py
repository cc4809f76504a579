"""Each CPU's registers where other readers look for them.

Step "saved" of docs/architecture.md. The capture kernel makes one NT_PRSTATUS per CPU, without the CPU's number, and
readers differ in how they assign them:

* drgn looks in the kernel's memory. When a kernel dies by kdump, every CPU saves its registers in its own
  ``crash_notes`` (kernel/crash_core.c, crash_save_cpu()), and drgn takes them from there if VMCOREINFO has CRASHTIME.
  crash_fadump() leaves the registers to the firmware, and zeros in that memory. So each CPU's note is put over its
  ``crash_notes``, exactly as crash_save_cpu() would have written it but for the process id, which isn't known.
* crash counts the notes. In an ELF core the n-th note is the n-th online CPU's; so those of offline CPUs come last
  here. In a kdump-compressed file it is the n-th online CPU's up to crash 8.0.6, and the n-th present CPU's in 9.0
  (diskdump.c, map_cpus_to_prstatus_kdump_cmprs()). All versions take it for CPU n's if there is a note whose owner
  begins with QEMU, as QEMU has a note for every CPU. So in such a file CPUs without a note get a stand-in of zeros,
  which crash reads as registers that were not saved. Its owner isn't ``CORE``, so that no other reader takes it for
  registers.

Nothing but zeros is ever overwritten, and no register is invented.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from fadump.abi.elf import CORE_NAME, NOTE_HEADER, NT_PRSTATUS
from fadump.limits import MOST_CPUS, Budget
from fadump.linux.cpus.numbers import SYMBOLS, number_registers, online_cpus
from fadump.linux.memory import KernelMemory
from fadump.linux.symbols.table import SymbolTable
from fadump.linux.system import UNREADABLE_KERNEL, CrashedSystem
from fadump.memory.ranges import Range
from fadump.vmcore.contract import Dump
from fadump.vmcore.notes import Note, decode_prstatus, encode_note
from fadump.vmcore.overlay import OverlayDump

STAND_IN_NAME = "OFFLINE"
"""The owner of the NT_PRSTATUS of a CPU without registers."""
EVERY_CPU_NAME = "QEMU-style"
"""The owner of the note that makes crash take the n-th NT_PRSTATUS for CPU n's."""

_EVERY_CPU_TEXT = b"The n-th NT_PRSTATUS is CPU n's. The owner OFFLINE means that it has no registers.\0"
_END_BYTES = NOTE_HEADER.size_bytes
"""final_note(): a header of zeros after the note."""
_ADDRESS_MASK = (1 << 64) - 1
_NOTES, _OFFSETS = "crash_notes", "__per_cpu_offset"
_SYMBOLS = SYMBOLS | {_NOTES, _OFFSETS}


@dataclass(frozen=True, slots=True)
class AddedRegisters:
    """What was added. ``cpus`` are the numbers of the CPUs whose registers were put in their place.

    CPUs in ``already`` had a note there, those in ``occupied`` something else, which was left as it is. ``unknown`` is
    how many notes are of a CPU that isn't known. ``why_not`` says why nothing could be added; None: something could.
    """

    cpus: Sequence[int] = ()
    already: Sequence[int] = ()
    occupied: Sequence[int] = ()
    unknown: int = 0
    why_not: str | None = None


def with_registers(system: CrashedSystem, *, every_cpu: bool = False) -> tuple[Dump, AddedRegisters]:
    """The system's dump with registers for every reader, and what was added to it.

    ``every_cpu`` adds stand-ins for CPUs without registers, which a kdump-compressed file needs and an ELF core must
    not have. It is no error if the dump lacks something of this or it can't be read: a dump can be saved without.

    :raises SetupError: the dump is packed with LZO or Snappy, which the host lacks.
    :raises FadumpError: the vmlinux is a directory, a pipe or the like.
    :raises OSError: it can't be opened.
    """
    try:
        return _with_registers(system, system.find_symbols(_SYMBOLS), every_cpu=every_cpu)
    except UNREADABLE_KERNEL as error:
        return system.dump, AddedRegisters(why_not=str(error))


def _with_registers(system: CrashedSystem, symbols: SymbolTable, *, every_cpu: bool) -> tuple[Dump, AddedRegisters]:
    memory, dump = system.memory, system.dump
    if memory.byte_order != dump.byte_order:
        return dump, AddedRegisters(why_not="the dump's headers have another byte order than its kernel")
    notes = [note for note in dump.notes if note.is_prstatus()]
    Budget("notes with a processor's registers", MOST_CPUS).spend(len(notes))
    numbers = number_registers(memory, symbols, [decode_prstatus(note, dump.byte_order).registers for note in notes])
    numbered = {number: note for number, note in zip(numbers, notes, strict=True) if number is not None}
    unknown = [note for number, note in zip(numbers, notes, strict=True) if number is None]
    others = [note for note in dump.notes if not note.is_prstatus() and not _is_ours(note)]
    of_cpus = _every_cpu(numbered) if every_cpu else _online_first(numbered, online_cpus(memory, symbols))
    arranged = [*of_cpus, *unknown, *others]
    patches, added = _fill_crash_notes(memory, symbols, numbered)
    added = replace(added, unknown=len(unknown))
    if not patches and arranged == list(dump.notes):
        return dump, added
    return OverlayDump(dump, patches, page_bytes=system.page_bytes, notes=arranged), added


def _fill_crash_notes(
    memory: KernelMemory, symbols: SymbolTable, numbered: Mapping[int, Note]
) -> tuple[Mapping[int, bytes], AddedRegisters]:
    """What to put over memory, by physical address, so that each CPU has its note where kdump has it."""
    places = _Places(memory, symbols)
    patches: dict[int, bytes] = {}
    added: list[int] = []
    already: list[int] = []
    occupied: list[int] = []
    for number, note in sorted(numbered.items()):
        wanted = encode_note(CORE_NAME, NT_PRSTATUS, note.desc, memory.byte_order)
        address = places.address(number)
        found = memory.read(address, len(wanted) + _END_BYTES)
        if not any(found):
            patches |= _physical(memory, address, wanted)
            added.append(number)
        else:
            head_bytes = len(wanted) - len(note.desc)
            (already if found[:head_bytes] == wanted[:head_bytes] else occupied).append(number)
    return patches, AddedRegisters(tuple(added), tuple(already), tuple(occupied))


class _Places:
    """Where each CPU's ``crash_notes`` is: a per-CPU variable that is allocated (crash_notes_memory_init())."""

    def __init__(self, memory: KernelMemory, symbols: SymbolTable) -> None:
        self._memory = memory
        self._pointer = memory.word(symbols.address(_NOTES))
        self._offsets = symbols.address(_OFFSETS) if _OFFSETS in symbols else None

    def address(self, number: int) -> int:
        """Its virtual address; without SMP there are no offsets."""
        if self._offsets is None:
            return self._pointer
        return self._pointer + self._memory.word(self._offsets + 8 * number) & _ADDRESS_MASK


def _physical(memory: KernelMemory, virtual: int, data: bytes) -> Mapping[int, bytes]:
    """``data`` that begins at a virtual address, in pieces by physical address."""
    pieces = memory.translation.mapped(Range.sized(virtual, len(data)))
    return {piece.physical: data[piece.virtual.start - virtual : piece.virtual.end - virtual] for piece in pieces}


def _every_cpu(numbered: Mapping[int, Note]) -> list[Note]:
    """A note for each CPU by its number, and one that says so; only the notes there are if no CPU lacks one."""
    if all(number < len(numbered) for number in numbered):
        return [numbered[number] for number in sorted(numbered)]
    desc_bytes = max(len(note.desc) for note in numbered.values())
    stand_in = Note(STAND_IN_NAME, NT_PRSTATUS, bytes(desc_bytes), 0)
    notes = [numbered.get(number, stand_in) for number in range(max(numbered) + 1)]
    return [*notes, Note(EVERY_CPU_NAME, 0, _EVERY_CPU_TEXT, 0)]


def _online_first(numbered: Mapping[int, Note], online: Sequence[int]) -> list[Note]:
    known = frozenset(online)
    return [numbered[number] for number in sorted(numbered, key=lambda number: (number not in known, number))]


def _is_ours(note: Note) -> bool:
    return note.name in (STAND_IN_NAME, EVERY_CPU_NAME)

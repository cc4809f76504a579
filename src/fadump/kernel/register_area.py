"""The register save area as Linux reads it: with few checks, and beyond its end if that is missing.

Step "capture boot" of docs/architecture.md. Linux arch/powerpc/platforms/pseries/rtas-fadump.c,
rtas_fadump_build_cpu_notes(). It checks the magic, follows the offset to the number of CPUs, expects CPUSTRT at the
start of each, and reads what follows up to the next CPUEND, wherever that is: a CPU without one also gets the next
CPU's registers, and after the last CPU the search continues to the end of memory.
"""

from collections.abc import Iterator

from fadump.abi.elf import CORE_NAME, NOTE_HEADER, padded_note_bytes
from fadump.abi.linux.prstatus import PRSTATUS
from fadump.abi.pseries.register_save_area import (
    CPU_COUNT,
    CPU_END,
    CPU_ID_MASK,
    CPU_START,
    ENTRY,
    HEADER,
    MAGIC,
    RegisterEntry,
)
from fadump.abi.registers import CpuRegisters
from fadump.errors import AddressError, FadumpError
from fadump.kernel.calls import no_memory_at
from fadump.kernel.traits import align_up
from fadump.memory.guest import GuestMemory
from fadump.memory.ranges import Range

NOTE_BUFFER_BYTES = NOTE_HEADER.size_bytes * 2 + padded_note_bytes(len(CORE_NAME) + 1) + PRSTATUS.size_bytes
"""sizeof(note_buf_t): a CPU's note and a closing one."""
_MOST_ENTRIES = 1024
_NEAR_BYTES = 1 << 12
"""More than a CPU has, so that no extent of memory has to be found for each."""
_CHUNK_BYTES = 1 << 20
_MOST_ALLOCATION_BYTES = 1 << 30
"""More than the page allocator can allocate at once, with any page size: MAX_PAGE_ORDER."""


class UnreadableError(FadumpError):
    """The kernel discards the dump; the sentence is Linux's."""


class NoBufferError(UnreadableError):
    """The same, as there is no memory for the notes; the platforms' common code logs the sentence."""


def read_area(memory: GuestMemory, address: int, page_bytes: int) -> Iterator[CpuRegisters]:
    """The CPUs of the area at ``address``, in order.

    :raises NoBufferError: there is no memory for so many CPUs' notes.
    :raises UnreadableError: Linux stops here for another reason.
    :raises KernelPanicError: Linux reads an address without memory.
    """
    magic, _version, count_offset = HEADER.decode(_read(memory, address, HEADER.size_bytes))
    if magic != MAGIC:
        raise UnreadableError("Unable to read register save area.")
    at = address + count_offset
    count = CPU_COUNT.decode(_read(memory, at, CPU_COUNT.size_bytes)).cpus
    _allocate_notes(count, page_bytes)
    at += CPU_COUNT.size_bytes
    for _cpu in range(count):
        start = _entry(memory, at)
        if start.name != CPU_START:
            raise UnreadableError("Unable to read CPU state data")
        end = _find_end(memory, at)
        yield CpuRegisters(start.value & CPU_ID_MASK, dict(_registers(memory, at + ENTRY.size_bytes, end)))
        at = end + ENTRY.size_bytes


def _allocate_notes(count: int, page_bytes: int) -> None:
    """fadump_setup_cpu_notes_buf(): allocation fails for 0 CPUs and for too many."""
    size_bytes = align_up(count * NOTE_BUFFER_BYTES, page_bytes)
    if not 0 < size_bytes <= _MOST_ALLOCATION_BYTES:
        raise NoBufferError(f"Failed to allocate {size_bytes} bytes for CPU notes buffer")


def _registers(memory: GuestMemory, start: int, end: int) -> Iterator[tuple[str, int]]:
    """The registers from ``start`` to ``end``; only the beginning if all memory was searched."""
    for at in range(start, min(end, start + _MOST_ENTRIES * ENTRY.size_bytes), ENTRY.size_bytes):
        entry = _entry(memory, at)
        yield entry.text, entry.value


def _find_end(memory: GuestMemory, start: int) -> int:
    """The address of the first CPUEND, entry by entry from ``start`` on; untouched memory is skipped."""
    extent = next(piece for piece in memory.ram if start in piece)
    near = _aligned(memory.read(start, min(_NEAR_BYTES, extent.end - start)))
    if near is not None:
        return start + near
    for part in memory.populated(Range(start, extent.end)):
        first = start + (part.start - start) // ENTRY.size_bytes * ENTRY.size_bytes
        for at in range(first, part.end, _CHUNK_BYTES):
            found = _aligned(memory.read(at, min(_CHUNK_BYTES, extent.end - at)))
            if found is not None:
                return at + found
    raise no_memory_at(extent.end)


def _aligned(chunk: bytes) -> int | None:
    at = chunk.find(CPU_END)
    while at >= 0 and at % ENTRY.size_bytes:
        at = chunk.find(CPU_END, at + 1)
    return at if at >= 0 else None


def _entry(memory: GuestMemory, address: int) -> RegisterEntry:
    return ENTRY.decode(_read(memory, address, ENTRY.size_bytes))


def _read(memory: GuestMemory, address: int, length: int) -> bytes:
    try:
        return memory.read(address, length)
    except AddressError as error:
        raise no_memory_at(address) from error

"""The register save area as Linux reads it: with few questions, and on through memory where it has no end.

Step "capture boot" of docs/architecture.md. Linux arch/powerpc/platforms/pseries/rtas-fadump.c,
rtas_fadump_build_cpu_notes(). It looks at the magic, follows the offset to the number of CPUs, expects CPUSTRT at the
start of each, and takes what follows up to the next CPUEND, wherever that is: a CPU without one gets the next CPU's
registers too, and behind the last CPU the search goes on to the end of memory.
"""

import struct
from collections.abc import Iterator

from fadump.abi.elf import CORE_NAME, NOTE_HEADER, padded_note_bytes
from fadump.abi.linux.prstatus import PRSTATUS
from fadump.abi.pseries import register_save_area
from fadump.abi.registers import CpuRegisters
from fadump.errors import AddressError, FadumpError
from fadump.kernel.calls import no_memory_at
from fadump.kernel.traits import align_up
from fadump.memory.guest import GuestMemory
from fadump.memory.ranges import Range

NOTE_BUFFER_BYTES = NOTE_HEADER.size_bytes * 2 + padded_note_bytes(len(CORE_NAME) + 1) + PRSTATUS.size_bytes
"""sizeof(note_buf_t): a CPU's note and a closing one."""
_START, _END = b"CPUSTRT\0", b"CPUEND\0\0"
_ENTRY = struct.Struct(">8sQ")
_MOST_ENTRIES = 1024
_CHUNK_BYTES = 1 << 20
_MOST_ALLOCATION_BYTES = 1 << 30
"""More than the page allocator gives in one piece, on any page size: MAX_PAGE_ORDER."""


class UnreadableError(FadumpError):
    """The kernel gives the dump up; the sentence is its own."""


def read_area(memory: GuestMemory, address: int, page_bytes: int) -> Iterator[CpuRegisters]:
    """The CPUs in their order, of the area that begins at ``address``.

    :raises UnreadableError: Linux stops here.
    :raises KernelPanicError: Linux reads what is not memory.
    """
    magic, _version, count_offset = struct.unpack(">8sII", _read(memory, address, 16))
    if magic != register_save_area.MAGIC:
        raise UnreadableError("Unable to read register save area.")
    at = address + count_offset
    (count,) = struct.unpack(">I", _read(memory, at, 4))
    _allocate_notes(count, page_bytes)
    at += 4
    for _cpu in range(count):
        name, value = _ENTRY.unpack(_read(memory, at, _ENTRY.size))
        if name != _START:
            raise UnreadableError("Unable to read CPU state data")
        end = _find_end(memory, at)
        yield CpuRegisters(value & register_save_area.CPU_ID_MASK, dict(_registers(memory, at + _ENTRY.size, end)))
        at = end + _ENTRY.size


def _allocate_notes(count: int, page_bytes: int) -> None:
    """fadump_setup_cpu_notes_buf(): no buffer is had for no CPUs, nor for too many."""
    size_bytes = align_up(count * NOTE_BUFFER_BYTES, page_bytes)
    if not 0 < size_bytes <= _MOST_ALLOCATION_BYTES:
        raise UnreadableError(f"Failed to allocate {size_bytes} bytes for CPU notes buffer")


def _registers(memory: GuestMemory, start: int, end: int) -> Iterator[tuple[str, int]]:
    """What stands between; of a search through all of memory only the beginning, where registers are."""
    for at in range(start, min(end, start + _MOST_ENTRIES * _ENTRY.size), _ENTRY.size):
        raw, value = _ENTRY.unpack(_read(memory, at, _ENTRY.size))
        yield raw.rstrip(b"\0").decode("ascii", "backslashreplace"), value


def _find_end(memory: GuestMemory, start: int) -> int:
    """Where the first CPUEND is, entry by entry from ``start`` on; untouched memory has none."""
    extent = next(piece for piece in memory.ram if start in piece)
    for part in memory.populated(Range(start, extent.end)):
        first = start + (part.start - start) // _ENTRY.size * _ENTRY.size
        for at in range(first, part.end, _CHUNK_BYTES):
            found = _aligned(memory.read(at, min(_CHUNK_BYTES, extent.end - at)))
            if found is not None:
                return at + found
    raise no_memory_at(extent.end)


def _aligned(chunk: bytes) -> int | None:
    at = chunk.find(_END)
    while at >= 0 and at % _ENTRY.size:
        at = chunk.find(_END, at + 1)
    return at if at >= 0 else None


def _read(memory: GuestMemory, address: int, length: int) -> bytes:
    try:
        return memory.read(address, length)
    except AddressError as error:
        raise no_memory_at(address) from error

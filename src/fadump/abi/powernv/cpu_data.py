"""CPU data: every thread's registers, as the firmware leaves them for the capture kernel.

Step "preserve" of docs/architecture.md. Specification: HDAT's architected register data; skiboot has it as struct
proc_reg_data_hdr and proc_reg_data in include/opal-dump.h. Its readers: Linux
arch/powerpc/platforms/powernv/opal-fadump.c, opal_fadump_build_cpu_notes(), and opal-core.c,
opalcore_append_cpu_notes(). All fields are big-endian.

    thread  0x00  u32      pir
            0x04  u8       core_state, the stop state of its core; 0x0f: inactive, no registers
            0x05  3 bytes  zero
            0x08  u32      entries_offset, counted from this field: 0x10 if they follow the header
            0x0c  u32      number of entries
            0x10  u32      entry_bytes, from one entry to the next
            0x14  u32      used_bytes, of an entry
            0x18           entries
    entry   0x00  u32      type, see register_numbers.py
            0x04  u32      number
            0x08  u64      value

Threads stand one behind the other, all of one size, which the metadata has. Both readers take entries_offset, the
number of entries and entry_bytes from the first thread's header, for all threads. So every thread has as many entries
here: a register that couldn't be read leaves one of type 0 at the end.

A thread that was not online is in CPU data too, as inactive. opalcore puts the crashing CPU's note first and counts on
that CPU being one of the threads: without it, there would be one note more than there is room for.
"""

import struct
from collections.abc import Iterator, Sequence

from fadump.abi.powernv.register_numbers import NUMBERS, RegisterType, register_name
from fadump.abi.registers import CpuRegisters
from fadump.errors import FormatError

VERSION = 1
INACTIVE = 0x0F
"""The core_state of a thread that both readers skip."""

_HEADER = struct.Struct(">IB3xIIII")
_ENTRY = struct.Struct(">IIQ")
_OFFSET_FIELD = 8  # entries_offset counts from itself
THREAD_BYTES = _HEADER.size + len(NUMBERS) * _ENTRY.size
"""Size of one thread's data, with room for every register that has a number."""


def encode(cpus: Sequence[CpuRegisters], pirs: Sequence[int]) -> bytes:
    """CPU data of THREAD_BYTES for each of ``pirs``, in their order; those not in ``cpus`` are inactive.

    Registers without a number are left out.

    :raises ValueError: a CPU has no place among ``pirs`` or comes twice, or a number doesn't fit its field.
    """
    online = {cpu.cpu_id: cpu for cpu in cpus}
    if len(online) != len(cpus) or not online.keys() <= set(pirs):
        raise ValueError(f"CPUs {[cpu.cpu_id for cpu in cpus]} are not all different and among {list(pirs)}")
    try:
        return b"".join(_thread(pir, online.get(pir)) for pir in pirs)
    except struct.error as error:
        raise ValueError(f"CPU data with a number too large for its field: {error}") from error


def decode(data: bytes | memoryview, thread_bytes: int) -> list[CpuRegisters]:
    """The threads that are not inactive, in their order, read as Linux reads them.

    ``thread_bytes`` is the size of one thread's data, from the metadata; what is behind the last whole thread is not
    looked at. Registers without a name in PAPR are called "SPR" and their number.

    :raises FormatError: no thread fits, or the entries don't fit into a thread.
    """
    if not _HEADER.size <= thread_bytes <= len(data):
        raise FormatError("CPU data without a thread", offset=0, expected=_HEADER.size, found=thread_bytes)
    _pir, _state, offset, count, entry_bytes, _used = _HEADER.unpack_from(data)
    first = _OFFSET_FIELD + offset
    if count and (entry_bytes < _ENTRY.size or first + (count - 1) * entry_bytes + _ENTRY.size > thread_bytes):
        raise FormatError(
            "CPU data's register entries leave their thread", offset=_OFFSET_FIELD, expected=thread_bytes, found=first
        )
    entries = range(first, first + count * entry_bytes, entry_bytes) if count else range(0)
    starts = range(0, len(data) - thread_bytes + 1, thread_bytes)
    return list(_active_threads(data, starts, entries))


def _active_threads(data: bytes | memoryview, starts: Sequence[int], entries: Sequence[int]) -> Iterator[CpuRegisters]:
    for start in starts:
        pir, state, *_layout = _HEADER.unpack_from(data, start)
        if state == INACTIVE:
            continue
        values: dict[str, int] = {}
        for offset in entries:
            type_, number, value = _ENTRY.unpack_from(data, start + offset)
            if type_ != RegisterType.NONE:
                values[register_name(type_, number)] = value
        yield CpuRegisters(pir, values)


def _thread(pir: int, cpu: CpuRegisters | None) -> bytes:
    state = INACTIVE if cpu is None else 0
    offset = _HEADER.size - _OFFSET_FIELD
    header = _HEADER.pack(pir, state, offset, len(NUMBERS), _ENTRY.size, _ENTRY.size)
    values = {} if cpu is None else cpu.values
    entries = [_ENTRY.pack(*NUMBERS[name], value) for name, value in values.items() if name in NUMBERS]
    return (header + b"".join(entries)).ljust(THREAD_BYTES, b"\0")

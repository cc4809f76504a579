"""CPU data: every thread's registers, as the firmware leaves them for the capture kernel.

Step "preserve" of docs/architecture.md. Specification: HDAT's architected register data; skiboot has it as struct
proc_reg_data_hdr and proc_reg_data in include/opal-dump.h. Its readers: Linux
arch/powerpc/platforms/powernv/opal-fadump.c, opal_fadump_build_cpu_notes(), and opal-core.c,
opalcore_append_cpu_notes(). All fields are big-endian. A thread is a header and its register entries.

Threads are contiguous and of the same size, which the metadata has. Both readers take entries_offset, the number of
entries and entry_bytes from the first thread's header, for all threads. So every thread has the same number of entries
here: one of type 0 at the end replaces a register that couldn't be read.

A thread that was not online is also in CPU data, as inactive. opalcore puts the crashing CPU's note first and relies on
that CPU being one of the threads: without it, there would be one note more than there is room for.
"""

from collections.abc import Iterator, Sequence
from typing import Annotated, NamedTuple

from fadump.abi.layout import Layout, u8, u32, u64
from fadump.abi.powernv.register_numbers import NUMBERS, RegisterType, register_name
from fadump.abi.registers import CpuRegisters
from fadump.errors import FormatError

VERSION = 1
INACTIVE = 0x0F
"""The core_state of a thread that both readers skip."""


class ThreadHeader(NamedTuple):
    """struct proc_reg_data_hdr."""

    pir: Annotated[int, u32(0x00)]
    core_state: Annotated[int, u8(0x04)]
    """The stop state of its core; :data:`INACTIVE`: no registers."""
    entries_offset: Annotated[int, u32(0x08)]
    """Relative to this field: 0x10 if they follow the header."""
    entries: Annotated[int, u32(0x0C)]
    """The number of entries."""
    entry_bytes: Annotated[int, u32(0x10)]
    """From one entry to the next."""
    used_bytes: Annotated[int, u32(0x14)]
    """How much of an entry is used."""


class RegisterEntry(NamedTuple):
    """struct proc_reg_data; see register_numbers.py."""

    type: Annotated[int, u32(0x00)]
    number: Annotated[int, u32(0x04)]
    value: Annotated[int, u64(0x08)]


THREAD = Layout(ThreadHeader, "CPU data's thread")
ENTRY = Layout(RegisterEntry, "CPU data's register entry")
ENTRIES_BASE = THREAD.offset("entries_offset")
"""What entries_offset is relative to."""
THREAD_BYTES = THREAD.size_bytes + len(NUMBERS) * ENTRY.size_bytes
"""Size of one thread's data, with room for every register that has a number."""


def encode(cpus: Sequence[CpuRegisters], pirs: Sequence[int]) -> bytes:
    """CPU data, THREAD_BYTES for each of ``pirs``, in their order; those not in ``cpus`` are inactive.

    Registers without a number are left out.

    :raises ValueError: a CPU is not among ``pirs`` or comes twice, or a number doesn't fit its field.
    """
    online = {cpu.cpu_id: cpu for cpu in cpus}
    if len(online) != len(cpus) or not online.keys() <= set(pirs):
        raise ValueError(f"CPUs {[cpu.cpu_id for cpu in cpus]} are not all different and among {list(pirs)}")
    return b"".join(_thread(pir, online.get(pir)) for pir in pirs)


def decode(data: bytes | memoryview, thread_bytes: int) -> list[CpuRegisters]:
    """The threads that are not inactive, in their order, read as Linux reads them.

    ``thread_bytes`` is the size of one thread's data, from the metadata; what follows the last whole thread is
    ignored. Registers without a name in PAPR are called "SPR" and their number.

    :raises FormatError: no thread fits, or the entries don't fit into a thread.
    """
    if not THREAD.size_bytes <= thread_bytes <= len(data):
        wanted = f"{THREAD.size_bytes:#x} to {len(data):#x}"
        raise FormatError("CPU data without a thread", expected=wanted, found=thread_bytes)
    _pir, _state, offset, count, entry_bytes, _used = THREAD.decode(data)
    first = ENTRIES_BASE + offset
    end = first + (count - 1) * entry_bytes + ENTRY.size_bytes
    if count and (entry_bytes < ENTRY.size_bytes or end > thread_bytes):
        message, wanted = "CPU data's register entries leave their thread", f"at most {thread_bytes:#x}"
        raise FormatError(message, offset=ENTRIES_BASE, expected=wanted, found=end)
    entries = range(first, first + count * entry_bytes, entry_bytes) if count else range(0)
    starts = range(0, len(data) - thread_bytes + 1, thread_bytes)
    return list(_active_threads(data, starts, entries))


def _active_threads(data: bytes | memoryview, starts: Sequence[int], entries: Sequence[int]) -> Iterator[CpuRegisters]:
    for start in starts:
        pir, state, *_layout = THREAD.decode(data, start)
        if state == INACTIVE:
            continue
        values: dict[str, int] = {}
        for offset in entries:
            type_, number, value = ENTRY.decode(data, start + offset)
            if type_ != RegisterType.NONE:
                values[register_name(type_, number)] = value
        yield CpuRegisters(pir, values)


def _thread(pir: int, cpu: CpuRegisters | None) -> bytes:
    state = INACTIVE if cpu is None else 0
    offset = THREAD.size_bytes - ENTRIES_BASE
    header = THREAD.pack(pir, state, offset, len(NUMBERS), ENTRY.size_bytes, ENTRY.size_bytes)
    values = {} if cpu is None else cpu.values
    entries = [ENTRY.pack(*NUMBERS[name], value) for name, value in values.items() if name in NUMBERS]
    return (header + b"".join(entries)).ljust(THREAD_BYTES, b"\0")

"""A guest's hash page table as it lies in QEMU's own memory: what is read by H_READ is compared with it.

The proof's part, and no firmware's: which of QEMU's memory it is, no interface tells. QEMU allocates the table at a
multiple of its size (hw/ppc/spapr.c, spapr_reallocate_hpt()), and its entries lie where their hash belongs, as those of
nothing else do.
"""

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from fadump.abi.pseries.hash_table import ENTRY, usual_bytes
from fadump.errors import MachineError, reason
from fadump.machine.contract import MOST_LOOKED_AT
from fadump.machine.hash_places import misplaced
from fadump.memory.ranges import Range, RangeSet

_LEAST_VALID = 16
_MOST_MISPLACED = 0.01
_QEMUS_DIRTY = 0x40
"""HPTE64_V_HPTE_DIRTY, which is no guest's."""


def read_host_table(pid: int, sizes: set[int]) -> bytes:
    """The table of the guest of a stopped QEMU, which is as large as one of ``sizes``; its beginning if that is much.

    :raises MachineError: it can't be found, or this process may not look.
    """
    try:
        with Path(f"/proc/{pid}/mem").open("rb", buffering=0) as memory:
            anonymous = _anonymous(pid)
            for size_bytes in sorted(sizes):
                wanted_bytes = min(size_bytes, MOST_LOOKED_AT)
                for start in _places(anonymous, size_bytes):
                    table = os.pread(memory.fileno(), wanted_bytes, start)
                    if len(table) == wanted_bytes and _is_table(table, size_bytes):
                        return _as_the_guest_sees_it(table)
    except OSError as error:
        raise MachineError(f"QEMU's memory can't be read for its hash page table: {reason(error)}") from error
    raise MachineError("QEMU's memory has nothing that looks like the guest's hash page table")


def table_sizes(least_memory_bytes: int, most_memory_bytes: int) -> set[int]:
    """How large the table of a guest may be, which grows with its memory as Linux asks for that."""
    least, most = usual_bytes(least_memory_bytes), usual_bytes(most_memory_bytes)
    return {1 << shift for shift in range(least.bit_length() - 1, most.bit_length())}


def _anonymous(pid: int) -> RangeSet:
    """The memory of a process that is nobody's file, readable and writable; adjoining pieces are one."""
    with Path(f"/proc/{pid}/maps").open(encoding="ascii", errors="replace") as lines:
        return RangeSet(piece for line in lines if (piece := _piece(line)) is not None)


def _piece(line: str) -> Range | None:
    addresses, modes, _offset, _device, inode, *_name = line.split()
    if not modes.startswith("rw-p") or inode != "0":
        return None
    start, _dash, end = addresses.partition("-")
    return Range(int(start, 16), int(end, 16))


def _places(memory: RangeSet, size_bytes: int) -> Iterator[int]:
    for piece in memory:
        yield from range(-(-piece.start // size_bytes) * size_bytes, piece.end - size_bytes + 1, size_bytes)


def _is_table(memory: bytes, table_bytes: int) -> bool:
    valid, wrong = misplaced(memory, table_bytes)
    return valid >= _LEAST_VALID and wrong <= _MOST_MISPLACED * valid


def _as_the_guest_sees_it(table: bytes) -> bytes:
    entries = np.frombuffer(table, ENTRY.dtype).copy()
    entries["virtual"] &= ~np.uint64(_QEMUS_DIRTY)
    return entries.tobytes()

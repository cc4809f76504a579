"""Notes of registers in another byte order: QEMU's headers may have one that isn't the kernel's.

Step "saved" of docs/architecture.md. A saved dump's headers have the kernel's byte order, as other readers have no
other way to know it. Linux: include/uapi/linux/elf.h; QEMU: target/ppc/arch_dump.c.
"""

from collections.abc import Iterable, Iterator
from dataclasses import replace

import numpy as np

from fadump.abi.elf import CORE_NAME, NT_PRSTATUS
from fadump.abi.layout import ByteOrder
from fadump.abi.linux.prstatus import PRSTATUS
from fadump.vmcore.notes import Note

_REGISTER_BYTES = {
    (CORE_NAME, 2): 8,
    ("LINUX", 0x100): 16,
    ("LINUX", 0x102): 8,
    (CORE_NAME, 0x100): 16,
    (CORE_NAME, 0x102): 8,
}
"""The size of each register in NT_PRFPREG, NT_PPC_VMX and NT_PPC_VSX; QEMU's are all of CORE."""


def in_order(notes: Iterable[Note], now: ByteOrder, wanted: ByteOrder) -> Iterator[Note]:
    """The same notes with registers in the ``wanted`` byte order; what else a note says is text, or isn't known."""
    for note in notes:
        register_bytes = _REGISTER_BYTES.get((note.name, note.type))
        if now == wanted:
            yield note
        elif (note.name, note.type) == (CORE_NAME, NT_PRSTATUS) and len(note.desc) >= PRSTATUS.size_bytes:
            fields = PRSTATUS.in_order(now).decode(note.desc[: PRSTATUS.size_bytes])
            yield replace(note, desc=PRSTATUS.in_order(wanted).encode(fields) + note.desc[PRSTATUS.size_bytes :])
        elif register_bytes is not None and len(note.desc) % register_bytes == 0:
            registers = np.frombuffer(note.desc, np.uint8).reshape(-1, register_bytes)
            yield replace(note, desc=registers[:, ::-1].tobytes())
        else:
            yield note

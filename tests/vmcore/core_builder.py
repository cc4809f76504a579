"""Builds ELF cores for tests, field by field, and shares no code with what reads them."""

import os
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

ByteOrder = Literal["little", "big"]

HEADER_BYTES = 64
PROGRAM_HEADER_BYTES = 56
SECTION_HEADER_BYTES = 64
PT_LOAD, PT_NOTE = 1, 4
PN_XNUM = 0xFFFF
PPC64, S390 = 21, 22

PT_REGS = [f"gpr{number}" for number in range(32)]
PT_REGS += ["nip", "msr", "orig_gpr3", "ctr", "link", "xer", "ccr", "softe", "trap", "dar", "dsisr", "result"]


@dataclass(frozen=True)
class Load:
    """A PT_LOAD; ``memory_bytes`` (all of ``data`` if None) may be more than the data."""

    physical: int
    data: bytes
    memory_bytes: int | None = None
    virtual: int | None = None


def build_core(
    loads: Sequence[Load],
    notes: Sequence[bytes] = (),
    *,
    byte_order: ByteOrder = "little",
    machine: int = PPC64,
    extended_numbering: bool = False,
) -> bytes:
    """A core: headers, one PT_NOTE per element of ``notes``, PT_LOADs, each at the next odd offset of the file."""
    order = {"little": "<", "big": ">"}[byte_order]
    count = len(notes) + len(loads)
    section_headers_at = HEADER_BYTES + count * PROGRAM_HEADER_BYTES
    data_at = section_headers_at + (SECTION_HEADER_BYTES if extended_numbering else 0)
    headers, blocks = [], []
    for data in notes:
        headers.append(struct.pack(order + "IIQQQQQQ", PT_NOTE, 0, data_at, 0, 0, len(data), 0, 4))
        blocks.append(data)
        data_at += len(data)
    for load in loads:
        padding = bytes(1 - data_at % 2)
        memory_bytes = len(load.data) if load.memory_bytes is None else load.memory_bytes
        virtual = (load.physical | 0xC000_0000_0000_0000) if load.virtual is None else load.virtual
        offset = data_at + len(padding)
        fields = (PT_LOAD, 7, offset, virtual, load.physical, len(load.data), memory_bytes, 0)
        headers.append(struct.pack(order + "IIQQQQQQ", *fields))
        blocks.append(padding + load.data)
        data_at = offset + len(load.data)
    ident = b"\x7fELF" + bytes([2, {"little": 1, "big": 2}[byte_order], 1]) + bytes(9)
    section_headers = b""
    numbers = (count, 0, 0, 0)
    if extended_numbering:
        section_headers = struct.pack(order + "IIQQQQIIQQ", 0, 0, 0, 0, 0, 1, 0, count, 0, 0)
        numbers = (PN_XNUM, SECTION_HEADER_BYTES, 1, 0)
    header = ident + struct.pack(
        order + "HHIQQQIHHHHHH",
        *(4, machine, 1, 0, HEADER_BYTES, section_headers_at if extended_numbering else 0, 0),
        *(HEADER_BYTES, PROGRAM_HEADER_BYTES, *numbers),
    )
    return b"".join([header, *headers, section_headers, *blocks])


def note(name: str, type_: int, desc: bytes, byte_order: ByteOrder = "little") -> bytes:
    """A note, padded."""
    raw_name = name.encode() + b"\0"
    sizes = b"".join(number.to_bytes(4, byte_order) for number in (len(raw_name), len(desc), type_))
    return sizes + raw_name + bytes(-len(raw_name) % 4) + desc + bytes(-len(desc) % 4)


def prstatus(registers: Mapping[str, int], *, pid: int = 0, signal: int = 0, byte_order: ByteOrder = "little") -> bytes:
    """A ppc64 NT_PRSTATUS with these members of pt_regs, the rest 0."""
    desc = bytearray(504)
    desc[12:14] = signal.to_bytes(2, byte_order)
    desc[32:36] = pid.to_bytes(4, byte_order)
    for name, value in registers.items():
        at = 112 + 8 * PT_REGS.index(name)
        desc[at : at + 8] = value.to_bytes(8, byte_order)
    return note("CORE", 1, bytes(desc), byte_order)


def write_sparse(path: Path, data: bytes, block_bytes: int = 4096) -> None:
    """Write a file that has a hole wherever a whole block is zeros."""
    with path.open("wb") as file:
        for at in range(0, len(data), block_bytes):
            block = data[at : at + block_bytes]
            if block.count(0) != len(block):
                os.pwrite(file.fileno(), block, at)
        file.truncate(len(data))

"""How a debugger comes from OPAL's functions to their callers: DWARF's call frame information, made of their code.

After the last step of "follow one crash" in docs/architecture.md. Specification: DWARF 3, "Call Frame Information";
64-bit PowerPC ELF ABI, "The Stack Frame", and the numbers of its registers in DWARF. skiboot's image has lost its own.
What is in its code is enough: a function that calls others makes its frame by ``stdu r1``. From there on r1 leads to
the caller's frame by the back chain, and the return address lies in that. A function that has just given its frame back
is not told from one that has it. One that is no C function, as opal_entry(), ends a backtrace.
"""

import struct
from collections.abc import Iterator, Sequence
from itertools import pairwise

from fadump.abi.linux.stack import INSTRUCTION_BYTES, RETURN_ADDRESS_OFFSET
from fadump.abi.powernv.symbol_map import OpalSymbol

_STDU_R1, _STDU_R1_MASK = 0xF821_0001, 0xFFFF_0003
_MOST_PROLOGUE_INSTRUCTIONS = 32
_R1, _LR = 1, 65
_DATA_ALIGNMENT = -8
_CIE_ID, _VERSION = 0xFFFF_FFFF, 3
_ADVANCE_LOC4, _UNDEFINED, _DEF_CFA, _DEF_CFA_EXPRESSION, _OFFSET_EXTENDED_SF = 0x04, 0x07, 0x0C, 0x0F, 0x11
_BREG_R1_0, _DEREF = bytes([0x70 + _R1, 0]), bytes([0x06])
_BACK_CHAIN = _BREG_R1_0 + _DEREF
_NOP = b"\0"
_ALIGNMENT_BYTES = 8


def encode_frame_info(symbols: Sequence[OpalSymbol], base: int, code: bytes) -> bytes:
    """The content of ``.debug_frame`` for an OPAL at ``base`` with these symbols, by address, and this ``code``."""
    alignment = bytes([INSTRUCTION_BYTES, _DATA_ALIGNMENT & 0x7F])
    cie = _record(struct.pack(">IB", _CIE_ID, _VERSION) + b"\0" + alignment + bytes([_LR]) + bytes([_DEF_CFA, _R1, 0]))
    functions = (
        _record(struct.pack(">IQQ", 0, base + symbol.offset, size_bytes) + _rules(symbol, _frame_at(body)))
        for symbol, size_bytes, body in _functions(symbols, code)
    )
    return cie + b"".join(functions)


def _functions(symbols: Sequence[OpalSymbol], code: bytes) -> Iterator[tuple[OpalSymbol, int, bytes]]:
    """What has code, how much, and its beginning."""
    for symbol, following in pairwise(symbols):
        size_bytes = following.offset - symbol.offset
        if symbol.is_code and size_bytes:
            beginning = min(size_bytes, _MOST_PROLOGUE_INSTRUCTIONS * INSTRUCTION_BYTES)
            yield symbol, size_bytes, code[symbol.offset : symbol.offset + beginning]


def _frame_at(body: bytes) -> int | None:
    """After how many instructions the function has its frame; None: it makes none."""
    for index in range(len(body) // INSTRUCTION_BYTES):
        (instruction,) = struct.unpack_from(">I", body, index * INSTRUCTION_BYTES)
        if instruction & _STDU_R1_MASK == _STDU_R1:
            return index + 1
    return None


def _rules(symbol: OpalSymbol, frame_at: int | None) -> bytes:
    if not symbol.name.startswith("."):
        return bytes([_UNDEFINED, _LR])
    if frame_at is None:
        return b""
    return (
        struct.pack(">BI", _ADVANCE_LOC4, frame_at)
        + bytes([_DEF_CFA_EXPRESSION, len(_BACK_CHAIN)])
        + _BACK_CHAIN
        + bytes([_OFFSET_EXTENDED_SF, _LR, RETURN_ADDRESS_OFFSET // _DATA_ALIGNMENT & 0x7F])
    )


def _record(content: bytes) -> bytes:
    """With its length before it, and padding."""
    padding = -(4 + len(content)) % _ALIGNMENT_BYTES
    return struct.pack(">I", len(content) + padding) + content + _NOP * padding

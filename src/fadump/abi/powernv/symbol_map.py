"""skiboot's list of its own symbols, which lies in its memory for its backtraces.

Steps "crash" and "read" of docs/architecture.md. Specification: skiboot, core/backtrace.c, its reader, and core/opal.c,
add_opal_firmware_node(), for where the device tree says it is: ``symbol-map`` of ``/ibm,opal/firmware``. It is what
nm(1) prints, sorted: a line has an address, counted from OPAL's base, a letter for the kind, and a name. A function
``f`` has its code at ``.f``, and its descriptor at ``f``, as the ELF ABI of big-endian 64-bit PowerPC has it; one built
for that ABI's second version has only ``f``, its code.
"""

import re
from collections.abc import Iterator
from typing import NamedTuple

_LINE = re.compile(rb"^([0-9a-f]{16}) ([A-Za-z]) ([\x21-\x7e]{1,255})$", re.MULTILINE)
_FIRST = b"0000000000000000 T __head\n"
_CODE = "Tt"


class OpalSymbol(NamedTuple):
    """A name, its address from OPAL's base on, and nm's letter for its kind."""

    name: str
    offset: int
    kind: str

    @property
    def is_code(self) -> bool:
        """Whether it is in the code."""
        return self.kind in _CODE


def find_symbol_map(memory: bytes | memoryview) -> bytes:
    """The list's text, in OPAL's memory; empty if it isn't there."""
    whole = bytes(memory)
    start = whole.find(_FIRST)
    return b"" if start < 0 else whole[start:].partition(b"\0")[0]


def symbols_of(text: bytes) -> Iterator[OpalSymbol]:
    """The symbols of a list; a line that is no symbol's is left out."""
    for offset, kind, name in _LINE.findall(text):
        yield OpalSymbol(name.decode(), int(offset, 16), kind.decode())


def code_offset(text: bytes, function: str) -> int | None:
    """Where a function's code is, from OPAL's base on; None: there is no such function."""
    line = re.compile(rb"^([0-9a-f]{16}) [Tt] \.?%s$" % re.escape(function.encode()), re.MULTILINE).search(text)
    return None if line is None else int(line[1], 16)

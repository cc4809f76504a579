"""A module's file as if it had been linked at the addresses that its functions had in the crashed kernel.

A module is a relocatable file: all its sections begin at 0, and its debug information has addresses that are filled in
when it is loaded. Specification: gABI, "Relocation"; 64-bit ELF V2 ABI, "Relocation Types".
"""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt

from fadump.abi import elf as abi
from fadump.abi.elf import SectionHeader
from fadump.errors import FormatError, LimitError
from fadump.limits import MOST_MODULE_FILE_BYTES
from fadump.linux.vmlinux.elf import ElfFile, open_elf

_ELSEWHERE = 1 << 62
"""Where sections are put whose addresses aren't known: apart from each other, and from all that there is."""
_APART_SHIFT = 40
_ADDRESS_BYTES: Mapping[int, int] = {1: 4, 38: 8}
"""R_PPC64_ADDR32 and R_PPC64_ADDR64: symbol and addend as they are. Debug information has no others."""


def placed_module(path: Path, functions: Mapping[str, int]) -> bytes:
    """The file, its debug information relocated; ``functions`` have their virtual addresses by their names.

    :raises FormatError: it is no module, or larger than one may be.
    :raises OSError: it can't be read.
    """
    with open_elf(path) as elf:
        size_bytes = path.stat().st_size
        if size_bytes > MOST_MODULE_FILE_BYTES:
            raise LimitError("bytes in a module's file", found=size_bytes, limit=MOST_MODULE_FILE_BYTES)
        image = np.frombuffer(path.read_bytes(), np.uint8).copy()
        table = next(elf.sections(abi.SHT_SYMTAB), None)
        if table is None:
            raise FormatError("a module without symbols")
        values = _values(elf, table, functions)
        for section in elf.sections(abi.SHT_RELA):
            if section.sh_info < len(elf.headers) and _is_debug(elf.headers[section.sh_info]):
                _relocate(elf, image, section, values)
    return image.tobytes()


def _is_debug(section: SectionHeader) -> bool:
    return section.sh_type == abi.SHT_PROGBITS and not section.sh_flags & (abi.SHF_ALLOC | abi.SHF_COMPRESSED)


def _values(elf: ElfFile, table: SectionHeader, functions: Mapping[str, int]) -> npt.NDArray[np.uint64]:
    """The address of each symbol."""
    order = "<" if elf.byte_order == "little" else ">"
    layout = [("name", f"{order}u4"), ("info", "u1"), ("other", "u1"), ("section", f"{order}u2")]
    symbols = _records(elf.data(table), np.dtype([*layout, ("value", f"{order}u8"), ("size", f"{order}u8")]))
    names = elf.linked(table)
    starts = np.zeros(1 << 16, np.uint64)
    for number, header in enumerate(elf.headers[: 1 << 15]):
        if header.sh_flags & abi.SHF_ALLOC:
            starts[number] = _ELSEWHERE + (number << _APART_SHIFT)
    is_function = (symbols["info"] & 0xF) == abi.STT_FUNC
    for name, address in functions.items():
        wanted = name.encode() + b"\0"
        there = [symbol for symbol in symbols[is_function] if names.startswith(wanted, int(symbol["name"]))]
        if len(there) == 1:  # of several of one name, nothing says which it was
            starts[there[0]["section"]] = np.uint64(address - int(there[0]["value"]) & (1 << 64) - 1)
    addresses: npt.NDArray[np.uint64] = symbols["value"].astype(np.uint64) + starts[symbols["section"]]
    return addresses


def _relocate(
    elf: ElfFile, image: npt.NDArray[np.uint8], section: SectionHeader, values: npt.NDArray[np.uint64]
) -> None:
    order = "<" if elf.byte_order == "little" else ">"
    layout = np.dtype([("offset", f"{order}u8"), ("info", f"{order}u8"), ("addend", f"{order}u8")])
    entries, target = _records(elf.data(section), layout), elf.headers[section.sh_info]
    symbols = entries["info"] >> 32
    there = symbols < len(values)
    for kind, width in _ADDRESS_BYTES.items():
        fits = (entries["offset"] < target.sh_size) & (entries["offset"] + width <= target.sh_size)
        own = entries[there & fits & ((entries["info"] & 0xFFFF_FFFF) == kind)]
        results = values[own["info"] >> 32] + own["addend"].astype(np.uint64)
        places = (own["offset"].astype(np.int64) + target.sh_offset)[:, None] + np.arange(width)
        image[places] = results.astype(f"{order}u{width}").view(np.uint8).reshape(-1, width)


def _records(raw: bytes, layout: np.dtype[np.void]) -> npt.NDArray[np.void]:
    return np.frombuffer(raw, layout, len(raw) // layout.itemsize)

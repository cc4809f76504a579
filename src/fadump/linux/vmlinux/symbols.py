"""The symbols in a kernel's vmlinux, for kernels whose VMCOREINFO doesn't say where theirs are.

Specification: gABI, "Symbol Table", ELFCLASS64. Only .symtab and the build id are read. Linux's
build id is in the note NT_GNU_BUILD_ID, and in VMCOREINFO as BUILD-ID.
"""

from collections.abc import Iterator

from fadump.abi.elf import (
    GNU_NAME,
    NT_GNU_BUILD_ID,
    SHN_ABS,
    SHN_UNDEF,
    SHT_NOTE,
    SHT_SYMTAB,
    STT_FUNC,
    STT_NOTYPE,
    STT_OBJECT,
    SYMBOL,
)
from fadump.errors import FadumpError, LimitError
from fadump.limits import MOST_NAME_BYTES, MOST_NAMES_BYTES, MOST_PROGRAM_NOTES_BYTES, MOST_SYMBOLS, Budget
from fadump.linux.symbols.table import Symbol, SymbolTable
from fadump.linux.vmcoreinfo import Facts
from fadump.linux.vmlinux.elf import ElfFile, open_elf
from fadump.vmcore.notes import iter_notes
from fadump.vmcore.source import StrPath

_SYMBOL_KINDS = {STT_NOTYPE: "d", STT_OBJECT: "d", STT_FUNC: "t"}
"""Symbols of other types aren't addresses."""


class OtherKernelError(FadumpError, ValueError):
    """A vmlinux is of another kernel than the dump."""


class NoSymbolsError(FadumpError, LookupError):
    """A vmlinux has no symbols: it was stripped."""


def read_vmlinux(path: StrPath, facts: Facts) -> SymbolTable:
    """The symbols of the vmlinux at ``path``, at the addresses where the crashed kernel had them.

    :raises OtherKernelError: its build id isn't the one that the dump names.
    :raises FormatError: it is not a 64-bit ELF file.
    :raises NoSymbolsError: it has no symbols.
    :raises FadumpError: it is a directory, a pipe or the like.
    :raises OSError: it can't be read.
    """
    with open_elf(path) as elf:
        build_id = facts.text("BUILD-ID") if "BUILD-ID" in facts else None
        own = next(_build_ids(elf), None)
        if build_id is not None and own is not None and own != build_id:
            raise OtherKernelError(f"{path} is another kernel: the dump's build id is {build_id}, its own is {own}")
        symbols = list(_symbols(elf))
    if not symbols:
        raise NoSymbolsError(f"{path} has no symbols: give the vmlinux that isn't stripped")
    linked_at = next((symbol.address for symbol in symbols if symbol.name == "_stext"), None)
    moved = facts.symbol("_stext") - linked_at if linked_at is not None and "SYMBOL(_stext)" in facts else 0
    if moved:
        symbols = [Symbol(symbol.name, symbol.address + moved, symbol.kind) for symbol in symbols]
    return SymbolTable(symbols)


def build_id(path: StrPath) -> str | None:
    """The build id of a vmlinux, a module or its debug file, as VMCOREINFO writes it; None: it has none.

    :raises FormatError: it is not a 64-bit ELF file.
    :raises FadumpError: it is a directory, a pipe or the like.
    :raises OSError: it can't be read.
    """
    with open_elf(path) as elf:
        return next(_build_ids(elf), None)


def moved_by(path: StrPath, facts: Facts) -> int:
    """By how many bytes the crashed kernel was above the addresses in its vmlinux, as :func:`read_vmlinux`; 0 if that
    isn't known.

    :raises FadumpError: as :func:`read_vmlinux`.
    :raises OSError: it can't be read.
    """
    if "SYMBOL(_stext)" not in facts:
        return 0
    with open_elf(path) as elf:
        linked_at = next((symbol.address for symbol in _symbols(elf) if symbol.name == "_stext"), None)
    return 0 if linked_at is None else facts.symbol("_stext") - linked_at


def _symbols(elf: ElfFile) -> Iterator[Symbol]:
    layout = SYMBOL.in_order(elf.byte_order)
    section = next(elf.sections(SHT_SYMTAB), None)  # a file has at most one
    if section is None:
        return
    names, raw = elf.linked(section), elf.data(section)
    whole = memoryview(raw)[: len(raw) - len(raw) % layout.size_bytes]
    Budget("symbols in the vmlinux", MOST_SYMBOLS).spend(len(whole) // layout.size_bytes, offset=section.sh_offset)
    names_bytes = 0
    for name, info, _other, index, address, _size in layout.decode_all(whole):
        kind = _SYMBOL_KINDS.get(info & 0xF)
        if kind is None or index in (SHN_UNDEF, SHN_ABS) or not 0 < name < len(names):
            continue
        end = names.find(b"\0", name, name + MOST_NAME_BYTES)
        text = names[name : end if end >= 0 else name + MOST_NAME_BYTES].decode("utf-8", "backslashreplace")
        names_bytes += len(text)
        if names_bytes > MOST_NAMES_BYTES:
            raise LimitError("bytes in the names of the vmlinux's symbols", found=names_bytes, limit=MOST_NAMES_BYTES)
        yield Symbol(text, address, kind.upper() if info >> 4 else kind)


def _build_ids(elf: ElfFile) -> Iterator[str]:
    budget = Budget("bytes of notes in the vmlinux", MOST_PROGRAM_NOTES_BYTES)
    for section in elf.sections(SHT_NOTE):
        budget.spend(section.sh_size, offset=section.sh_offset)
        for note in iter_notes(elf.data(section), elf.byte_order, section.sh_offset):
            if note.name == GNU_NAME and note.type == NT_GNU_BUILD_ID:
                yield note.desc.hex()

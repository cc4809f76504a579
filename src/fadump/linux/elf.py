"""The sections of an ELF file, as far as reading a kernel's vmlinux takes them.

Specification: gABI, "ELF Header" and "Section Header", ELFCLASS64, of either byte order. A vmlinux comes from
elsewhere: every offset and size is checked against the file.
"""

import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO, NamedTuple

from fadump.errors import FormatError, naming
from fadump.vmcore.elf_header import BYTE_ORDERS, CLASS_64, HEADER_BYTES, MAGIC, SECTION_HEADER_BYTES
from fadump.vmcore.notes import STRUCT_ORDER
from fadump.vmcore.source import StrPath, open_file

SHT_SYMTAB, SHT_NOTE = 2, 7

_START = MAGIC + bytes([CLASS_64])
_SHOFF_OFFSET = 0x28
_SHENTSIZE_OFFSET = 0x3A
_SHF_COMPRESSED = 0x800
_SHT_NOBITS = 8
_MOST_BYTES = 1 << 30


class Section(NamedTuple):
    """One section header; ``name`` is an offset, the rest is as in Elf64_Shdr."""

    name: int
    type: int
    flags: int
    offset: int
    size_bytes: int
    link: int


@contextmanager
def open_elf(path: StrPath) -> Iterator["ElfFile"]:
    """An ELF file, open as long as the context; what is wrong with its format is said with its name.

    :raises FormatError: as :class:`ElfFile`.
    :raises FadumpError: it is a directory, a pipe or the like.
    :raises OSError: it can't be opened or read.
    """
    with os.fdopen(open_file(path), "rb") as file, naming(path):
        yield ElfFile(file)


class ElfFile:
    """An ELF file with sections."""

    def __init__(self, file: BinaryIO) -> None:
        """``file`` stays the caller's.

        :raises FormatError: it is no 64-bit ELF file, or is cut short.
        :raises OSError: it can't be read; so for all below.
        """
        self._file = file
        self._size_bytes = file.seek(0, os.SEEK_END)
        start = self._read(0, min(len(_START), self._size_bytes))
        if start != _START:
            raise FormatError("not a 64-bit ELF file", offset=0, expected=_START, found=start)
        header = self._read(0, HEADER_BYTES)
        order = BYTE_ORDERS.get(header[5])
        if order is None:
            raise FormatError("ELF byte order unknown", offset=5, expected=[*BYTE_ORDERS], found=header[5])
        self.byte_order = order
        (table,) = struct.unpack_from(f"{STRUCT_ORDER[order]}Q", header, _SHOFF_OFFSET)
        entry_bytes, count, self._names = struct.unpack_from(f"{STRUCT_ORDER[order]}HHH", header, _SHENTSIZE_OFFSET)
        if count and entry_bytes != SECTION_HEADER_BYTES:
            at, wanted = _SHENTSIZE_OFFSET, SECTION_HEADER_BYTES
            raise FormatError("section headers of unknown size", offset=at, expected=wanted, found=entry_bytes)
        layout = struct.Struct(f"{STRUCT_ORDER[order]}IIQ8xQQI20x")
        raw = self._read(table, count * SECTION_HEADER_BYTES)
        self._sections = [Section(*fields) for fields in layout.iter_unpack(raw)]

    def sections(self, type_: int) -> Iterator[Section]:
        """All sections of one type."""
        return (section for section in self._sections if section.type == type_)

    def linked(self, section: Section) -> bytes:
        """The bytes of the section that another one names in sh_link.

        :raises FormatError: there is none, or it isn't all there.
        """
        if section.link >= len(self._sections):
            raise FormatError("ELF section that names another which isn't there", offset=section.offset)
        return self.data(self._sections[section.link])

    def named(self, name: str) -> bytes | None:
        """The bytes of the section called ``name``; None if there is none.

        :raises FormatError: it isn't all there, or compressed.
        """
        if self._names >= len(self._sections):
            return None
        names = self.data(self._sections[self._names])
        wanted = name.encode() + b"\0"
        for section in self._sections:
            if names.startswith(wanted, section.name):
                if section.flags & _SHF_COMPRESSED:
                    raise FormatError(f"ELF section {name} is compressed: decompress it first", offset=section.offset)
                return self.data(section)
        return None

    def data(self, section: Section) -> bytes:
        """A section's bytes.

        :raises FormatError: they aren't all there.
        """
        return b"" if section.type == _SHT_NOBITS else self._read(section.offset, section.size_bytes)

    def _read(self, offset: int, length: int) -> bytes:
        if offset + length > self._size_bytes or length > _MOST_BYTES:
            there = max(0, min(self._size_bytes - offset, _MOST_BYTES))
            raise FormatError("ELF file cut short", offset=offset, expected=length, found=there)
        self._file.seek(offset)
        return self._file.read(length)

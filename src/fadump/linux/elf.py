"""The sections of an ELF file, as far as reading a kernel's vmlinux takes them.

Specification: gABI, "ELF Header" and "Section Header", ELFCLASS64, of either byte order. A vmlinux comes from
elsewhere: every offset and size is checked against the file.
"""

import os
import struct
from collections.abc import Iterator
from typing import BinaryIO, NamedTuple

from fadump.errors import FormatError
from fadump.vmcore.notes import STRUCT_ORDER, ByteOrder

SHT_SYMTAB, SHT_NOTE = 2, 7

_MAGIC = b"\x7fELF\x02"
_BYTE_ORDERS: dict[int, ByteOrder] = {1: "little", 2: "big"}
_HEADER_BYTES = 0x40
_SHOFF_OFFSET = 0x28
_SHENTSIZE_OFFSET = 0x3A
_SECTION_HEADER_BYTES = 0x40
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


class ElfFile:
    """An ELF file with sections."""

    def __init__(self, file: BinaryIO) -> None:
        """``file`` stays the caller's.

        :raises FormatError: it is no 64-bit ELF file, or is cut short.
        :raises OSError: it can't be read; so for all below.
        """
        self._file = file
        self._size_bytes = file.seek(0, os.SEEK_END)
        header = self._read(0, _HEADER_BYTES)
        order = _BYTE_ORDERS.get(header[5])
        if header[:5] != _MAGIC or order is None:
            raise FormatError("not a 64-bit ELF file", offset=0, expected=_MAGIC, found=header[:5])
        self.byte_order: ByteOrder = order
        (table,) = struct.unpack_from(f"{STRUCT_ORDER[order]}Q", header, _SHOFF_OFFSET)
        entry_bytes, count, self._names = struct.unpack_from(f"{STRUCT_ORDER[order]}HHH", header, _SHENTSIZE_OFFSET)
        if count and entry_bytes != _SECTION_HEADER_BYTES:
            at, wanted = _SHENTSIZE_OFFSET, _SECTION_HEADER_BYTES
            raise FormatError("section headers of unknown size", offset=at, expected=wanted, found=entry_bytes)
        layout = struct.Struct(f"{STRUCT_ORDER[order]}IIQ8xQQI20x")
        raw = self._read(table, count * _SECTION_HEADER_BYTES)
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

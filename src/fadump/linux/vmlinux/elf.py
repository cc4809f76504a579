"""The sections of an ELF file, as far as reading a kernel's vmlinux needs them.

Specification: gABI, "ELF Header" and "Section Header", ELFCLASS64, of either byte order. A vmlinux isn't trusted:
every offset and size is checked against the file.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO

from fadump.abi import elf
from fadump.abi.elf import SectionHeader
from fadump.errors import FormatError, naming
from fadump.limits import MOST_SECTION_BYTES
from fadump.vmcore.source import StrPath, open_file

_START = elf.ELFMAG + bytes([elf.ELFCLASS64])


@contextmanager
def open_elf(path: StrPath) -> Iterator["ElfFile"]:
    """An ELF file that is open within the context; format errors name it.

    :raises FormatError: as :class:`ElfFile`.
    :raises FadumpError: it is a directory, a pipe or the like.
    :raises OSError: it can't be opened or read.
    """
    with os.fdopen(open_file(path), "rb") as file, naming(path):
        yield ElfFile(file)


class ElfFile:
    """An ELF file with sections."""

    def __init__(self, file: BinaryIO) -> None:
        """The caller keeps ``file``.

        :raises FormatError: it is not a 64-bit ELF file, or is cut short.
        :raises OSError: it can't be read; the other methods raise it too.
        """
        self._file = file
        self._size_bytes = file.seek(0, os.SEEK_END)
        start = self._read(0, min(len(_START), self._size_bytes))
        if start != _START:
            raise FormatError("not a 64-bit ELF file", offset=0, expected=_START, found=start)
        raw = self._read(0, elf.ELF_HEADER.size_bytes)
        data = elf.ELF_HEADER.number(raw, "ei_data")
        if data not in elf.BYTE_ORDERS:
            at = elf.ELF_HEADER.offset("ei_data")
            raise FormatError("ELF byte order unknown", offset=at, expected=[*elf.BYTE_ORDERS], found=data)
        self.byte_order = order = elf.BYTE_ORDERS[data]
        header = elf.ELF_HEADER.in_order(order).decode(raw)
        layout = elf.SECTION_HEADER.in_order(order)
        if header.e_shnum and header.e_shentsize != layout.size_bytes:
            at, wanted = elf.ELF_HEADER.offset("e_shentsize"), layout.size_bytes
            raise FormatError("section headers of unknown size", offset=at, expected=wanted, found=header.e_shentsize)
        self._names = header.e_shstrndx
        self.headers = [*layout.decode_all(self._read(header.e_shoff, header.e_shnum * layout.size_bytes))]

    def sections(self, type_: int) -> Iterator[SectionHeader]:
        """All sections of one type."""
        return (section for section in self.headers if section.sh_type == type_)

    def linked(self, section: SectionHeader) -> bytes:
        """The bytes of the section that another one names in sh_link.

        :raises FormatError: there is none, or it is cut short.
        """
        if section.sh_link >= len(self.headers):
            raise FormatError("ELF section that names another which isn't there", offset=section.sh_offset)
        return self.data(self.headers[section.sh_link])

    def named(self, name: str) -> bytes | None:
        """The bytes of the section called ``name``; None if there is none.

        :raises FormatError: it is cut short or compressed.
        """
        if self._names >= len(self.headers):
            return None
        names = self.data(self.headers[self._names])
        wanted = name.encode() + b"\0"
        for section in self.headers:
            if names.startswith(wanted, section.sh_name):
                if section.sh_flags & elf.SHF_COMPRESSED:
                    raise FormatError(
                        f"ELF section {name} is compressed: decompress it first", offset=section.sh_offset
                    )
                return self.data(section)
        return None

    def data(self, section: SectionHeader) -> bytes:
        """A section's bytes.

        :raises FormatError: it is cut short.
        """
        return b"" if section.sh_type == elf.SHT_NOBITS else self._read(section.sh_offset, section.sh_size)

    def _read(self, offset: int, length: int) -> bytes:
        if offset + length > self._size_bytes or length > MOST_SECTION_BYTES:
            there = max(0, min(self._size_bytes - offset, MOST_SECTION_BYTES))
            raise FormatError("ELF file cut short", offset=offset, expected=length, found=there)
        self._file.seek(offset)
        return self._file.read(length)

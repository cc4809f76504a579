"""The headers of an ELF core: what stands in them, and making them.

Step "capture boot" of docs/architecture.md. Specification: gABI, "ELF Header" and "Program Header", ELFCLASS64;
:mod:`fadump.vmcore.elfcore` reads them.
"""

import struct
from collections.abc import Mapping
from types import MappingProxyType

from fadump.vmcore.notes import STRUCT_ORDER, ByteOrder

MAGIC = b"\x7fELF"
"""How an ELF file begins."""
EM_PPC64 = 21
CLASS_64 = 2
VERSION = 1
BYTE_ORDERS: Mapping[int, ByteOrder] = MappingProxyType({1: "little", 2: "big"})
ET_CORE = 4
PT_LOAD = 1
PT_NOTE = 4
PN_XNUM = 0xFFFF
"""As the number of program headers: it is sh_info of section header 0."""
INCOMPLETE = 0x1
"""makedumpfile's DUMP_ELF_INCOMPLETE in e_flags. On big-endian Power the same bit is the ABI of every dump."""

IDENT_BYTES = 16
HEADER_FIELDS = "HHIQQQIHHHHHH"
"""Elf64_Ehdr from e_type on: type, machine, version, entry, phoff, shoff, flags, ehsize, phentsize, phnum, ..."""
HEADER_BYTES = 0x40
PROGRAM_HEADER_FIELDS = "IIQQQQQQ"
PROGRAM_HEADER_BYTES = 0x38
_SECTION_HEADER_FIELDS = "IIQQQQIIQQ"
SECTION_HEADER_BYTES = 0x40
_READ_WRITE_EXECUTE = 7
_NOTE_ALIGNMENT = 4

MACHINES: Mapping[tuple[int, ByteOrder], str] = MappingProxyType(
    {
        (EM_PPC64, "little"): "ppc64le",
        (EM_PPC64, "big"): "ppc64",
        (22, "big"): "s390x",
        (62, "little"): "x86_64",
        (183, "little"): "aarch64",
        (243, "little"): "riscv64",
        (258, "little"): "loongarch64",
    }
)
"""What uname(1) calls the machines that e_machine and the byte order name."""


def encode_elf_header(byte_order: ByteOrder, machine: int, flags: int, program_headers: int) -> bytes:
    """The ELF header of a core whose program headers follow it.

    If there are too many to count, section header 0 follows those and has their number (PN_XNUM).
    """
    ident = MAGIC + bytes([CLASS_64, 1 if byte_order == "little" else 2, VERSION]).ljust(IDENT_BYTES - 4, b"\0")
    many = program_headers >= PN_XNUM
    sections_at = HEADER_BYTES + program_headers * PROGRAM_HEADER_BYTES if many else 0
    sections = (SECTION_HEADER_BYTES, 1, 0) if many else (0, 0, 0)
    return ident + struct.pack(
        STRUCT_ORDER[byte_order] + HEADER_FIELDS,
        *(ET_CORE, machine, VERSION, 0, HEADER_BYTES, sections_at, flags),
        *(HEADER_BYTES, PROGRAM_HEADER_BYTES, min(program_headers, PN_XNUM), *sections),
    )


def encode_section_header_0(byte_order: ByteOrder, program_headers: int) -> bytes:
    """The section header that has the number of program headers; empty if the ELF header has it."""
    if program_headers < PN_XNUM:
        return b""
    fields = (0, 0, 0, 0, 0, 0, 0, program_headers, 0, 0)
    return struct.pack(STRUCT_ORDER[byte_order] + _SECTION_HEADER_FIELDS, *fields)


def encode_note_header(byte_order: ByteOrder, offset: int, size_bytes: int) -> bytes:
    """The program header of notes that stand at ``offset`` of the file."""
    fields = (PT_NOTE, 0, offset, 0, 0, size_bytes, size_bytes, _NOTE_ALIGNMENT)
    return struct.pack(STRUCT_ORDER[byte_order] + PROGRAM_HEADER_FIELDS, *fields)


def encode_load_header(byte_order: ByteOrder, offset: int, virtual: int, physical: int, size_bytes: int) -> bytes:
    """The program header of so many bytes of memory, which stand at ``offset`` of the file."""
    fields = (PT_LOAD, _READ_WRITE_EXECUTE, offset, virtual, physical, size_bytes, size_bytes, 0)
    return struct.pack(STRUCT_ORDER[byte_order] + PROGRAM_HEADER_FIELDS, *fields)

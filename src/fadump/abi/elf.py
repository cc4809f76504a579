"""ELF: the headers of a core, of a vmlinux and of a program, and of notes.

Specification: gABI, "ELF Header", "Program Header", "Sections", "Symbol Table" and "Note Section", ELFCLASS64, of
either byte order; the names are those of include/uapi/linux/elf.h. Notes are in the form that Linux writes and reads,
with fields of 32 bits in ELF64 too. More than 65,534 program headers are counted as Linux does (PN_XNUM).
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Annotated, NamedTuple

from fadump.abi.layout import ByteOrder, Layout, raw, u8, u16, u32, u64

ELFMAG = b"\x7fELF"
"""The first bytes of an ELF file."""
ELFCLASS64 = 2
EV_CURRENT = 1
BYTE_ORDERS: Mapping[int, ByteOrder] = MappingProxyType({1: "little", 2: "big"})
"""ELFDATA2LSB and ELFDATA2MSB."""

ET_EXEC, ET_CORE = 2, 4
EM_PPC64 = 21
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
"""uname(1)'s name of each machine, by e_machine and byte order."""
PPC64_ABI: Mapping[str, int] = MappingProxyType({"ppc64": 1, "ppc64le": 2})
"""e_flags of Linux's own dumps (arch/powerpc/kernel/fadump.c, ELF_CORE_EFLAGS), by uname(1)'s name."""
DUMP_ELF_INCOMPLETE = 0x1
"""makedumpfile's, in e_flags. On big-endian Power every dump has this bit set, as its ABI."""

PT_NULL, PT_LOAD, PT_INTERP, PT_NOTE = 0, 1, 3, 4
PF_RWX = 7
PN_XNUM = 0xFFFF
"""As e_phnum: the number is sh_info of section header 0."""

SHT_PROGBITS, SHT_SYMTAB, SHT_STRTAB, SHT_RELA, SHT_NOTE, SHT_NOBITS = 1, 2, 3, 4, 7, 8
SHF_WRITE, SHF_ALLOC, SHF_EXECINSTR, SHF_COMPRESSED = 0x1, 0x2, 0x4, 0x800
SHN_UNDEF, SHN_ABS = 0, 0xFFF1
STT_NOTYPE, STT_OBJECT, STT_FUNC = 0, 1, 2
"""The type of a symbol: the low four bits of st_info. The others are 0 for a local symbol."""

CORE_NAME = "CORE"
"""The name of NT_PRSTATUS and NT_AUXV notes."""
NT_PRSTATUS, NT_AUXV = 1, 6
"""Notes of "CORE". :mod:`fadump.abi.linux.prstatus` has NT_PRSTATUS; NT_AUXV is in the core of every process."""
GNU_NAME = "GNU"
NT_GNU_BUILD_ID = 3
"""A note of "GNU"."""
NOTE_ALIGNMENT_BYTES = 4
"""The alignment of a note's name and desc."""


class ElfHeader(NamedTuple):
    """Elf64_Ehdr, with the bytes of e_ident by their names."""

    ei_mag: Annotated[bytes, raw(0x00, 4)] = ELFMAG
    ei_class: Annotated[int, u8(0x04)] = ELFCLASS64
    ei_data: Annotated[int, u8(0x05)] = 1
    ei_version: Annotated[int, u8(0x06)] = EV_CURRENT
    ei_osabi: Annotated[int, u8(0x07)] = 0
    e_type: Annotated[int, u16(0x10)] = 0
    e_machine: Annotated[int, u16(0x12)] = 0
    e_version: Annotated[int, u32(0x14)] = EV_CURRENT
    e_entry: Annotated[int, u64(0x18)] = 0
    e_phoff: Annotated[int, u64(0x20)] = 0
    e_shoff: Annotated[int, u64(0x28)] = 0
    e_flags: Annotated[int, u32(0x30)] = 0
    e_ehsize: Annotated[int, u16(0x34)] = 0
    e_phentsize: Annotated[int, u16(0x36)] = 0
    e_phnum: Annotated[int, u16(0x38)] = 0
    e_shentsize: Annotated[int, u16(0x3A)] = 0
    e_shnum: Annotated[int, u16(0x3C)] = 0
    e_shstrndx: Annotated[int, u16(0x3E)] = 0


class ProgramHeader(NamedTuple):
    """Elf64_Phdr."""

    p_type: Annotated[int, u32(0x00)] = PT_NULL
    p_flags: Annotated[int, u32(0x04)] = 0
    p_offset: Annotated[int, u64(0x08)] = 0
    p_vaddr: Annotated[int, u64(0x10)] = 0
    p_paddr: Annotated[int, u64(0x18)] = 0
    p_filesz: Annotated[int, u64(0x20)] = 0
    p_memsz: Annotated[int, u64(0x28)] = 0
    p_align: Annotated[int, u64(0x30)] = 0


class SectionHeader(NamedTuple):
    """Elf64_Shdr."""

    sh_name: Annotated[int, u32(0x00)] = 0
    sh_type: Annotated[int, u32(0x04)] = 0
    sh_flags: Annotated[int, u64(0x08)] = 0
    sh_addr: Annotated[int, u64(0x10)] = 0
    sh_offset: Annotated[int, u64(0x18)] = 0
    sh_size: Annotated[int, u64(0x20)] = 0
    sh_link: Annotated[int, u32(0x28)] = 0
    sh_info: Annotated[int, u32(0x2C)] = 0
    sh_addralign: Annotated[int, u64(0x30)] = 0
    sh_entsize: Annotated[int, u64(0x38)] = 0


class Symbol(NamedTuple):
    """Elf64_Sym."""

    st_name: Annotated[int, u32(0x00)]
    st_info: Annotated[int, u8(0x04)]
    st_other: Annotated[int, u8(0x05)]
    st_shndx: Annotated[int, u16(0x06)]
    st_value: Annotated[int, u64(0x08)]
    st_size: Annotated[int, u64(0x10)]


class NoteHeader(NamedTuple):
    """Elf64_Nhdr; name and desc follow, each padded to 4 bytes. n_namesz counts the name's closing zero."""

    n_namesz: Annotated[int, u32(0x00)]
    n_descsz: Annotated[int, u32(0x04)]
    n_type: Annotated[int, u32(0x08)]


ELF_HEADER = Layout(ElfHeader, "ELF header", "little")
PROGRAM_HEADER = Layout(ProgramHeader, "program header", "little")
SECTION_HEADER = Layout(SectionHeader, "section header", "little")
SYMBOL = Layout(Symbol, "symbol", "little")
NOTE_HEADER = Layout(NoteHeader, "note header", "little")
"""For the other byte order of any of these: ``ELF_HEADER.in_order("big")``."""


def encode_core_header(byte_order: ByteOrder, machine: int, flags: int, program_headers: int) -> bytes:
    """The ELF header of a core whose program headers follow it.

    If there are too many for e_phnum, section header 0 follows those and has their number (PN_XNUM).
    """
    many = program_headers >= PN_XNUM
    header = ElfHeader(
        ei_data=next(data for data, order in BYTE_ORDERS.items() if order == byte_order),
        e_type=ET_CORE,
        e_machine=machine,
        e_phoff=ELF_HEADER.size_bytes,
        e_shoff=ELF_HEADER.size_bytes + program_headers * PROGRAM_HEADER.size_bytes if many else 0,
        e_flags=flags,
        e_ehsize=ELF_HEADER.size_bytes,
        e_phentsize=PROGRAM_HEADER.size_bytes,
        e_phnum=min(program_headers, PN_XNUM),
        e_shentsize=SECTION_HEADER.size_bytes if many else 0,
        e_shnum=1 if many else 0,
    )
    return ELF_HEADER.in_order(byte_order).encode(header)


def encode_section_header_0(byte_order: ByteOrder, program_headers: int) -> bytes:
    """The section header with the number of program headers; empty if the ELF header has it."""
    if program_headers < PN_XNUM:
        return b""
    return SECTION_HEADER.in_order(byte_order).encode(SectionHeader(sh_info=program_headers))


def padded_note_bytes(size_bytes: int) -> int:
    """The padded size of a note's name or desc."""
    return size_bytes + -size_bytes % NOTE_ALIGNMENT_BYTES

"""Builds ELF cores for tests, header by header. Their fields are abi's, which tests/abi checks against bytes written by
hand; what stands in them, and where in the file, is said here once more."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from fadump.abi import elf
from fadump.abi.elf import ELF_HEADER, NOTE_HEADER, PROGRAM_HEADER, SECTION_HEADER
from fadump.abi.layout import ByteOrder
from fadump.abi.linux.prstatus import PRSTATUS, ElfPrstatus
from fadump.abi.linux.pt_regs import REGISTER_NAMES

PPC64, S390 = 21, 22


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
    count = len(notes) + len(loads)
    section_headers_at = ELF_HEADER.size_bytes + count * PROGRAM_HEADER.size_bytes
    data_at = section_headers_at + (SECTION_HEADER.size_bytes if extended_numbering else 0)
    headers, blocks = [], []
    for data in notes:
        headers.append(elf.ProgramHeader(elf.PT_NOTE, p_offset=data_at, p_filesz=len(data), p_align=4))
        blocks.append(data)
        data_at += len(data)
    for load in loads:
        padding = bytes(1 - data_at % 2)
        offset = data_at + len(padding)
        headers.append(_load_header(load, offset))
        blocks.append(padding + load.data)
        data_at = offset + len(load.data)
    header = elf.ElfHeader(
        ei_data={"little": 1, "big": 2}[byte_order],
        e_type=elf.ET_CORE,
        e_machine=machine,
        e_phoff=ELF_HEADER.size_bytes,
        e_ehsize=ELF_HEADER.size_bytes,
        e_phentsize=PROGRAM_HEADER.size_bytes,
        e_phnum=count,
    )
    section_headers = b""
    if extended_numbering:
        section = elf.SectionHeader(sh_size=1, sh_info=count)
        section_headers = SECTION_HEADER.in_order(byte_order).encode(section)
        header = header._replace(
            e_phnum=elf.PN_XNUM, e_shoff=section_headers_at, e_shentsize=SECTION_HEADER.size_bytes, e_shnum=1
        )
    program_headers = map(PROGRAM_HEADER.in_order(byte_order).encode, headers)
    return b"".join([ELF_HEADER.in_order(byte_order).encode(header), *program_headers, section_headers, *blocks])


def _load_header(load: Load, offset: int) -> elf.ProgramHeader:
    return elf.ProgramHeader(
        p_type=elf.PT_LOAD,
        p_flags=elf.PF_RWX,
        p_offset=offset,
        p_vaddr=(load.physical | 0xC000_0000_0000_0000) if load.virtual is None else load.virtual,
        p_paddr=load.physical,
        p_filesz=len(load.data),
        p_memsz=len(load.data) if load.memory_bytes is None else load.memory_bytes,
    )


@dataclass(frozen=True)
class Section:
    """A section; ``name_offset`` is where its name is in the section of names."""

    type: int
    data: bytes
    link: int = 0
    name_offset: int = 0


def build_sections(sections: Sequence[Section], *, names_section: int, byte_order: ByteOrder = "little") -> bytes:
    """A ppc64 program of these sections and nothing else; the first should be the empty one."""
    headers, at = [], ELF_HEADER.size_bytes
    for section in sections:
        fields = elf.SectionHeader(
            sh_name=section.name_offset,
            sh_type=section.type,
            sh_offset=at,
            sh_size=len(section.data),
            sh_link=section.link,
        )
        headers.append(SECTION_HEADER.in_order(byte_order).encode(fields))
        at += len(section.data)
    header = elf.ElfHeader(
        ei_data={"little": 1, "big": 2}[byte_order],
        e_type=2,
        e_machine=PPC64,
        e_shoff=at,
        e_ehsize=ELF_HEADER.size_bytes,
        e_shentsize=SECTION_HEADER.size_bytes,
        e_shnum=len(sections),
        e_shstrndx=names_section,
    )
    data = [section.data for section in sections]
    return b"".join([ELF_HEADER.in_order(byte_order).encode(header), *data, *headers])


def note(name: str, type_: int, desc: bytes, byte_order: ByteOrder = "little") -> bytes:
    """A note, padded."""
    raw_name = name.encode() + b"\0"
    header = NOTE_HEADER.in_order(byte_order).encode(elf.NoteHeader(len(raw_name), len(desc), type_))
    return header + raw_name + bytes(-len(raw_name) % 4) + desc + bytes(-len(desc) % 4)


def prstatus(registers: Mapping[str, int], *, pid: int = 0, signal: int = 0, byte_order: ByteOrder = "little") -> bytes:
    """A ppc64 NT_PRSTATUS with these members of pt_regs, the rest 0."""
    words = tuple(registers.get(name, 0) for name in REGISTER_NAMES)
    desc = PRSTATUS.in_order(byte_order).encode(ElfPrstatus(signal, pid, 0, words))
    return note(elf.CORE_NAME, elf.NT_PRSTATUS, desc, byte_order)


def write_sparse(path: Path, data: bytes, block_bytes: int = 4096) -> None:
    """Write a file that has a hole wherever a whole block is zeros."""
    with path.open("wb") as file:
        for at in range(0, len(data), block_bytes):
            block = data[at : at + block_bytes]
            if block.count(0) != len(block):
                os.pwrite(file.fileno(), block, at)
        file.truncate(len(data))

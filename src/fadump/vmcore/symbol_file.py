"""An ELF file with OPAL's symbols, for a debugger beside OPAL's core.

After the last step of "follow one crash" in docs/architecture.md. Specification: gABI, "Sections" and "Symbol Table".
Code and data are sections without bytes (SHT_NOBITS), so that a debugger takes their bytes from the core.
"""

from collections.abc import Iterator, Sequence
from itertools import pairwise

from fadump.abi import elf
from fadump.abi.elf import ELF_HEADER, PPC64_ABI, SECTION_HEADER, SYMBOL, ElfHeader, SectionHeader
from fadump.abi.layout import ByteOrder
from fadump.abi.powernv.symbol_map import OpalSymbol

_BIG: ByteOrder = "big"
_SECTION_NAMES = b"\0.text\0.data\0.symtab\0.strtab\0.shstrtab\0.debug_frame\0"
_TEXT, _DATA, _STRTAB, _SHSTRTAB = 1, 2, 4, 5
_ALIGNMENT_BYTES = 8


def encode_symbol_file(symbols: Sequence[OpalSymbol], base: int, frame_info: bytes) -> bytes:
    """The file for an OPAL at ``base`` with these symbols, which are in the order of their addresses.

    ``frame_info`` is how a debugger follows its stacks (:mod:`.frame_info`).

    :raises ValueError: there are none.
    """
    if not symbols:
        raise ValueError("there are no symbols")
    end = symbols[-1].offset
    code_end = max((after for symbol, after in _with_ends(symbols) if symbol.is_code), default=0)
    names, table = _encode_symbols(symbols, base, code_end)
    body = b""
    places = []
    for block in (table, names, _SECTION_NAMES, frame_info):
        places.append((ELF_HEADER.size_bytes + len(body), len(block)))
        body += block.ljust(-(-len(block) // _ALIGNMENT_BYTES) * _ALIGNMENT_BYTES, b"\0")
    nobits, alloc = elf.SHT_NOBITS, elf.SHF_ALLOC
    first_global = len(table) // SYMBOL.size_bytes  # there is none
    sections = [
        SectionHeader(),
        _section(".text", nobits, (0, code_end), sh_addr=base, sh_flags=alloc | elf.SHF_EXECINSTR),
        _section(".data", nobits, (0, end - code_end), sh_addr=base + code_end, sh_flags=alloc | elf.SHF_WRITE),
        _section(
            ".symtab", elf.SHT_SYMTAB, places[0], sh_link=_STRTAB, sh_info=first_global, sh_entsize=SYMBOL.size_bytes
        ),
        _section(".strtab", elf.SHT_STRTAB, places[1]),
        _section(".shstrtab", elf.SHT_STRTAB, places[2]),
        _section(".debug_frame", elf.SHT_PROGBITS, places[3]),
    ]
    header = ElfHeader(
        ei_data=2,
        e_type=elf.ET_EXEC,
        e_machine=elf.EM_PPC64,
        e_shoff=ELF_HEADER.size_bytes + len(body),
        e_flags=PPC64_ABI["ppc64"],
        e_ehsize=ELF_HEADER.size_bytes,
        e_shentsize=SECTION_HEADER.size_bytes,
        e_shnum=len(sections),
        e_shstrndx=_SHSTRTAB,
    )
    encode_section = SECTION_HEADER.in_order(_BIG).encode
    return ELF_HEADER.in_order(_BIG).encode(header) + body + b"".join(map(encode_section, sections))


def _with_ends(symbols: Sequence[OpalSymbol]) -> Iterator[tuple[OpalSymbol, int]]:
    """Each symbol, and where the next one begins."""
    for symbol, following in pairwise([*symbols, symbols[-1]]):
        yield symbol, following.offset


def _encode_symbols(symbols: Sequence[OpalSymbol], base: int, code_end: int) -> tuple[bytes, bytes]:
    """The names, and the table that refers to them."""
    names, table = bytearray(b"\0"), bytearray(SYMBOL.size_bytes)
    encode = SYMBOL.in_order(_BIG).encode
    for symbol, end in _with_ends(symbols):
        table += encode(
            elf.Symbol(
                st_name=len(names),
                st_info=elf.STT_FUNC if symbol.is_code else elf.STT_OBJECT,
                st_other=0,
                st_shndx=_TEXT if symbol.offset < code_end else _DATA,
                st_value=base + symbol.offset,
                st_size=end - symbol.offset,
            )
        )
        names += symbol.name.encode() + b"\0"
    return bytes(names), bytes(table)


def _section(name: str, type_: int, place: tuple[int, int], **fields: int) -> SectionHeader:
    offset, size_bytes = place
    return SectionHeader(
        sh_name=_SECTION_NAMES.index(b"%s\0" % name.encode()), sh_type=type_, sh_offset=offset, sh_size=size_bytes
    )._replace(sh_addralign=1, **fields)

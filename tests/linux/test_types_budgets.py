"""The smallest input with the largest claim, for each table and list of what describes a kernel's types."""

import io
import struct

import pytest

from fadump.errors import FadumpError
from fadump.linux.types.btf import Btf
from fadump.linux.vmlinux import dwarf_types
from fadump.linux.vmlinux.dwarf import read_offsets
from fadump.linux.vmlinux.dwarf_types import DwarfTypes
from fadump.linux.vmlinux.elf import ElfFile
from tests.bounded import MIB, bounded
from tests.linux.btf_builder import ENUM, FWD, STRUCT, TYPEDEF, BtfBuilder
from tests.vmcore.core_builder import Section, build_sections

NAME_STRP, NAME_STRING, TYPE_REF4, DECLARATION, NO_MORE = b"\x03\x0e", b"\x03\x08", b"\x49\x13", b"\x3c\x19", b"\0\0"
STRUCTURE, VARIABLE, MEMBER, TYPEDEF_TAG, CONST_TAG = b"\x13", b"\x34", b"\x0d", b"\x16", b"\x26"
HEAD_BYTES = 11


def unit(entries, abbreviations=0):
    body = struct.pack("<HIB", 4, abbreviations, 8) + entries
    return struct.pack("<I", len(body)) + body


def elf_file(units, abbreviations, strings=b"\0"):
    blocks = {"": b"", ".shstrtab": b"", ".debug_info": units, ".debug_abbrev": abbreviations, ".debug_str": strings}
    names = b"".join(name.encode() + b"\0" for name in blocks)
    blocks[".shstrtab"] = names
    sections = [
        Section(int(name != ""), block, name_offset=names.index(name.encode() + b"\0"))
        for name, block in blocks.items()
    ]
    return build_sections(sections, names_section=1)


def sentence(function, *arguments):
    try:
        found = function(*arguments)
    except FadumpError as error:
        return str(error)
    return found


def find(data, name="node"):
    return sentence(lambda: DwarfTypes(ElfFile(io.BytesIO(data))).find(name))


def find_variable(data, name="node"):
    return sentence(lambda: DwarfTypes(ElfFile(io.BytesIO(data))).variable(name))


def walk(data):
    return sentence(lambda: len(read_offsets(ElfFile(io.BytesIO(data)), frozenset({"task_struct"}))))


def leb128(number):
    return bytes([number & 0x7F | 0x80, number >> 7])


# DWARF

NODE = b"\1" + STRUCTURE + b"\0" + NAME_STRP + NO_MORE
NODE_STRINGS = b"\0node\0"
A_NODE = b"\1" + struct.pack("<I", 1)


def test_constants_of_an_abbreviation_are_no_entry_s():
    """3000 entries of one byte, whose abbreviation has 3000 attributes that take no bytes."""
    constants = b"".join(leb128(0x100 + number) + b"\x21\x05" for number in range(3000))
    abbreviations = NODE + b"\2" + STRUCTURE + b"\0" + constants + NO_MORE + b"\0"
    data = elf_file(unit(b"\2" * 3000 + A_NODE), abbreviations, NODE_STRINGS)
    assert isinstance(bounded(find, data, most_bytes=32 * MIB), int)


LONG = b"\0node\0" + b"n" * (8 << 20) + b"\0"


@pytest.mark.parametrize("read", [find, walk])
def test_names_of_the_same_string_are_counted(read):
    """20,000 entries of five bytes, all of which have one name, of which 16 KiB are read."""
    data = elf_file(unit((b"\1" + struct.pack("<I", 6)) * 20_000 + A_NODE), NODE + b"\0", LONG)
    found = bounded(read, data, most_steps=3_000_000)
    assert "bytes in the names of the vmlinux's debug information, more than the 134,217,728" in found


def test_a_string_ends_with_its_unit():
    """300 units, the name of whose entry has no end but that of the section."""
    abbreviations = NODE + b"\2" + STRUCTURE + b"\0" + NAME_STRING + NO_MORE + b"\0"
    units = unit(A_NODE + b"\2" + b"n" * 100)
    data = elf_file(units + unit(b"\1" + b"n" * MIB), abbreviations, NODE_STRINGS)
    assert bounded(find, data).startswith("DWARF string without an end")


def test_places_of_a_name_are_not_tried_with_each_abbreviation():
    """5000 places that could be a name's, and 2000 abbreviations that could be the entry's."""
    abbreviations = b"".join(leb128(0x80 + number) + STRUCTURE + b"\0" + NAME_STRP + NO_MORE for number in range(2000))
    data = elf_file(unit(bytes(1) + struct.pack("<I", 1) * 5000), abbreviations + b"\0", NODE_STRINGS)
    assert bounded(find, data) is None


def test_places_of_all_names_are_counted(monkeypatch):
    monkeypatch.setattr(dwarf_types, "MOST_NAME_PLACES", 50_000)
    data = elf_file(unit(bytes(1) + struct.pack("<I", 1) * 15_000), NODE + b"\0", NODE_STRINGS)

    def find_all():
        types = DwarfTypes(ElfFile(io.BytesIO(data)))
        return [sentence(types.find, "node"), sentence(types.find, "node"), sentence(types.variable, "node")]

    found = bounded(find_all)
    assert found[:2] == [None, None]
    assert found[2].startswith("50,001 places where names of types may be, more than the 50,000")


def test_what_is_searched_for_names_is_counted(monkeypatch):
    """Each variable has a type that is only declared, under another name, which is looked for in everything."""
    monkeypatch.setattr(dwarf_types, "MOST_SEARCHED_BYTES", 4 * MIB)
    names = [b"type%d" % number for number in range(500)]
    strings = b"\0node\0" + b"\0".join(names) + b"\0"
    abbreviations = b"\1" + VARIABLE + b"\0" + NAME_STRP + TYPE_REF4 + NO_MORE
    abbreviations += b"\2" + STRUCTURE + b"\0" + NAME_STRP + DECLARATION + NO_MORE + b"\0"
    declared = b"".join(b"\2" + struct.pack("<I", strings.index(name + b"\0")) for name in names)
    variables = b"".join(b"\1" + struct.pack("<II", 1, HEAD_BYTES + 5 * number) for number in range(len(names)))
    found = bounded(find_variable, elf_file(unit(declared + variables), abbreviations, strings))
    assert "bytes that are searched for names of types, more than the 4,194,304" in found


@pytest.mark.parametrize(("read", "entries"), [(find, A_NODE), (walk, b"")])
@pytest.mark.parametrize("attribute", [b"\x3f\x19", b"\x38\x21\x05"], ids=["flags", "constants"])
def test_attributes_of_tables_that_share_bytes_are_counted(read, entries, attribute):
    """60 units, each with a table of its own, which begins within that of the first one and ends where that ends."""
    starts = [6 * number for number in range(60)]
    abbreviations = bytearray(attribute * 2000 + bytes(8))
    for start in starts:
        abbreviations[start : start + 6] = b"\1" + STRUCTURE + b"\0" + attribute.ljust(3, b"\x3f")
    units = b"".join(unit(entries, start) for start in starts)
    found = bounded(read, elf_file(units, bytes(abbreviations), NODE_STRINGS), most_steps=2_000_000)
    assert "bytes of the vmlinux's abbreviations, in tables that overlap, more than the" in found


def test_more_units_than_any_kernel_has_are_refused(monkeypatch):
    monkeypatch.setattr(dwarf_types, "MOST_DEBUG_UNITS", 1000)
    data = elf_file(unit(b"") * 1001, NODE + b"\0", NODE_STRINGS)
    assert find(data).startswith("1,001 units of the vmlinux's debug information, more than the 1,000")


def test_entries_are_counted(monkeypatch):
    monkeypatch.setattr(dwarf_types, "MOST_DEBUG_ENTRIES", 10_000)
    abbreviations = NODE + b"\2" + STRUCTURE + b"\0" + NO_MORE + b"\0"
    data = elf_file(unit(b"\2" * 20_000 + A_NODE), abbreviations, NODE_STRINGS)
    assert bounded(find, data).startswith("10,001 entries of the vmlinux's debug information, more than the 10,000")


def test_types_of_variables_of_one_name_are_followed_once():
    """2000 variables, each of a type that 40 qualifiers lead to, and 1000 of them share their types."""
    abbreviations = b"\1" + VARIABLE + b"\0" + NAME_STRP + TYPE_REF4 + NO_MORE
    abbreviations += b"\2" + CONST_TAG + b"\0" + TYPE_REF4 + NO_MORE
    abbreviations += b"\3" + STRUCTURE + b"\0" + NO_MORE + b"\0"
    chain = b"\3" + b"".join(b"\2" + struct.pack("<I", HEAD_BYTES + max(0, 5 * number - 4)) for number in range(40))
    last = HEAD_BYTES + 1 + 5 * 39
    variables = (b"\1" + struct.pack("<II", 1, last)) * 2000
    data = elf_file(unit(chain + variables), abbreviations, NODE_STRINGS)
    assert isinstance(bounded(find_variable, data, most_steps=600_000), int)


# BTF

LONG_NAME = "n" * 20_000
MANY = 0xFFFF


def members_of(data, name):
    types = Btf(data)
    ref = types.find(name)
    return sentence(lambda: len(types.members(ref) or types.enumerators(ref)))


@pytest.mark.parametrize(("kind", "words"), [(STRUCT, 3), (ENUM, 2)])
def test_names_of_members_that_share_bytes_are_counted(kind, words):
    """65,535 members, each of whose names is the same 16 KiB."""
    btf = BtfBuilder()
    btf.add(kind, "node", 8, btf.pack(btf.string(LONG_NAME), *[0] * (words - 1)) * MANY, MANY)
    found = bounded(members_of, btf.data(), "node", most_bytes=64 * MIB)
    assert "bytes in the names of a type's members, more than the 1,048,576" in found


def find_member(data):
    types = Btf(data)
    return sentence(lambda: types.member(types.named("node"), "missing").offset)


def test_members_without_a_name_are_counted_whatever_they_are():
    """5000 members, each of a type that is a name for a structure that is only declared, and so on."""
    btf = BtfBuilder()
    for number in range(30):
        alias = btf.alias(TYPEDEF, f"name{number}", btf.add(FWD, f"name{number + 1}"))
    btf.structure("node", 8, [("", alias - 58, 0)] * 5000)
    assert bounded(find_member, btf.data()) == "structure node has no member missing"


def test_structures_without_a_name_are_limited():
    btf = BtfBuilder()
    inner = [btf.structure("", 8, []) for _ in range(1000)]
    btf.structure("node", 8, [("", ref, 0) for ref in inner])
    assert bounded(find_member, btf.data()) == "structures within each other without an end"


def open_btf(data):
    return Btf(data).end


def test_types_take_little_more_memory_than_they_have_bytes():
    """150,000 types of 12 bytes, in 1.8 MB."""
    btf = BtfBuilder()
    btf.types = [btf.pack(0, 2 << 24, 0xFFFF_FF00 + number) for number in range(150)] * 1000
    assert bounded(open_btf, btf.data(), most_bytes=20 * MIB, most_steps=1_500_000) == 150_001

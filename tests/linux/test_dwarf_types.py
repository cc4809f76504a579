import contextlib
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fadump.errors import FadumpError
from fadump.linux.types.contract import Kind, UnknownTypeError
from fadump.linux.vmlinux.dwarf import NoDebugInformationError
from fadump.linux.vmlinux.dwarf_types import DwarfTypes
from fadump.linux.vmlinux.elf import ElfFile
from tests.linux import types_builder as dw
from tests.linux.types_builder import Unit, types_file
from tests.vmcore.core_builder import Section, build_sections


def opened(data):
    return DwarfTypes(ElfFile(io.BytesIO(data)))


def units(version, byte_order):
    """A unit that only declares struct node, and one that defines it, with a variable of it and one of an array."""
    first = Unit()
    declared = first.add(dw.STRUCT, {dw.NAME: "node", dw.DECLARATION: 1})
    first.add(dw.VARIABLE, {dw.NAME: "first_node", dw.TYPE: declared, dw.DECLARATION: 1})
    second = Unit()
    u32 = second.add(dw.BASE, {dw.SIZE: 4, dw.ENCODING: 7, dw.NAME: "unsigned int"})
    char = second.add(dw.BASE, {dw.SIZE: 1, dw.ENCODING: 6, dw.NAME: "char"})
    alias = second.add(dw.TYPEDEF, {dw.NAME: "u32_t", dw.TYPE: second.add(dw.CONST, {dw.TYPE: u32})})
    node = len(second.entries) + 3
    pointer = second.add(dw.POINTER, {dw.SIZE: 8, dw.TYPE: node})
    ranges = [(dw.SUBRANGE, {dw.UPPER: 3}), (dw.SUBRANGE, {dw.COUNT: 8})]
    names = second.add(dw.ARRAY, {dw.TYPE: char}, ranges)
    nameless = second.add(
        dw.UNION,
        {dw.SIZE: 32},
        [
            (dw.MEMBER, {dw.NAME: "name", dw.TYPE: names, dw.LOCATION: 0}),
            (dw.MEMBER, {dw.NAME: "raw", dw.TYPE: u32, dw.LOCATION: 0}),
        ],
    )
    if version < 5:
        from_top = {"little": 32 - 3, "big": 0}[byte_order]
        flags = {dw.SIZE: 4, dw.BIT_SIZE: 3, dw.BIT_OFFSET: from_top, dw.LOCATION: 4}
    else:
        flags = {dw.BIT_SIZE: 3, dw.DATA_BIT_OFFSET: 32}
    assert node == second.add(
        dw.STRUCT,
        {dw.NAME: "node", dw.SIZE: 48},
        [
            (dw.MEMBER, {dw.NAME: "id", dw.TYPE: u32, dw.LOCATION: 0}),
            (dw.MEMBER, {dw.NAME: "flags", dw.TYPE: alias, **flags}),
            (dw.MEMBER, {dw.NAME: "next", dw.TYPE: pointer, dw.LOCATION: 8}),
            (dw.MEMBER, {dw.TYPE: nameless, dw.LOCATION: 16}),
        ],
    )
    unsized = second.add(dw.ARRAY, {dw.TYPE: node}, [(dw.SUBRANGE, {})])
    sized = second.add(dw.ARRAY, {dw.TYPE: node}, [(dw.SUBRANGE, {dw.UPPER: 1})])
    nodes = second.add(dw.VARIABLE, {dw.NAME: "nodes", dw.TYPE: unsized, dw.DECLARATION: 1})
    second.add(dw.VARIABLE, {dw.SPECIFICATION: nodes, dw.TYPE: sized})
    colours = [(dw.ENUMERATOR, {dw.NAME: "RED", dw.VALUE: 0}), (dw.ENUMERATOR, {dw.NAME: "GREEN", dw.VALUE: 0x12345})]
    second.add(dw.ENUM, {dw.NAME: "colour", dw.SIZE: 4}, colours)
    return [first, second]


@pytest.mark.parametrize("tail", ["", "prefix_"])
@pytest.mark.parametrize("version", [4, 5])
@pytest.mark.parametrize("byte_order", ["little", "big"])
def test_members_and_variables(byte_order, version, tail):
    types = opened(types_file(units(version, byte_order), version, byte_order, tail=tail))
    node = types.named("struct node")
    assert (node.kind, node.name, node.size_bytes) == (Kind.STRUCT, "node", 48)
    found = {name: types.member(node, name) for name in ("id", "flags", "next", "name", "raw")}
    assert {name: (member.bit_offset, member.bits) for name, member in found.items()} == {
        "id": (0, 0),
        "flags": (32, 3),
        "next": (64, 0),
        "name": (128, 0),
        "raw": (128, 0),
    }
    assert types.resolve(found["flags"].ref).name == "unsigned int"
    name = types.resolve(found["name"].ref)
    assert (name.length, types.size_of(name), types.size_of(types.resolve(name.target))) == (4, 32, 8)
    assert types.resolve(types.resolve(found["next"].ref).target) == node
    variable = types.variable("first_node")
    assert variable is not None and types.resolve(variable) == node
    variable = types.variable("nodes")
    assert variable is not None and types.size_of(types.resolve(variable)) == 2 * 48
    assert types.named("colour").kind is Kind.ENUM and types.named("char").is_signed
    assert types.enumerators(types.named("colour").ref) == [("RED", 0), ("GREEN", 0x12345)]
    assert types.enumerators(types.named("char").ref) == ()


def test_what_there_is_not():
    types = opened(types_file(units(4, "little")))
    assert types.variable("node") is None and types.find("first_node") is None and types.find("") is None
    with pytest.raises(UnknownTypeError, match="no type nodes in the vmlinux's debug information"):
        types.named("nodes")
    with pytest.raises(NoDebugInformationError):
        opened(build_sections([Section(0, b"")], names_section=0, byte_order="little"))


@given(st.binary(min_size=1, max_size=6), st.integers(0, 900))
def test_no_bytes_break_it(junk, at):
    data = bytearray(types_file(units(4, "little")))
    data[at : at + len(junk)] = junk
    with contextlib.suppress(FadumpError):
        types = opened(bytes(data))
        for name in ("node", "colour", "u32_t"):
            ref = types.find(name)
            if ref is not None:
                types.size_of(types.resolve(ref))
                for member in types.members(ref):
                    types.size_of(types.resolve(member.ref))
        types.variable("nodes")


def test_a_short_name_is_found_though_many_longer_ones_look_like_it():
    """A member "yrq" reads as a structure "rq" where "y" is the number of a structure's abbreviation, as here."""
    looking_like_it = Unit()
    looking_like_it.add(dw.STRUCT, {dw.NAME: "a", dw.SIZE: 8}, [(dw.MEMBER, {dw.NAME: "yrq", dw.LOCATION: 0})])
    defining_it = Unit()
    defining_it.add(dw.STRUCT, {dw.NAME: "rq", dw.SIZE: 8, dw.ALIGNMENT: 4}, [(dw.MEMBER, {dw.NAME: "cpu"})])
    data = types_file([*[looking_like_it] * 20, defining_it], first_code=ord("x"))
    assert opened(data).named("struct rq").size_bytes == 8

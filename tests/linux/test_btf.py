import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fadump.errors import FadumpError, FormatError
from fadump.linux.symbols.table import Symbol, SymbolTable
from fadump.linux.types.btf import Btf, read_btf
from fadump.linux.types.contract import Kind, Member, UnknownTypeError
from tests.linux.btf_builder import CONST, FWD, STRUCT, TYPEDEF, UNION, BtfBuilder
from tests.linux.kernel_builder import FakeKernel


def sample(byte_order="little"):
    """struct node { u32 id; const u32_t flags: 3, more: 5; struct node *next; union { char name[4][8]; u32 raw; } };"""
    btf = BtfBuilder(byte_order)
    u32 = btf.integer("unsigned int", 4)
    char = btf.integer("char", 1, signed=True)
    constant = btf.alias(CONST, "", btf.alias(TYPEDEF, "u32_t", u32))
    declared = btf.add(FWD, "node")
    pointer = btf.pointer(declared)
    names = btf.array(btf.array(char, 8), 4)
    nameless = btf.structure("", 32, [("name", names, 0), ("raw", u32, 0)], kind=UNION)
    members = [("id", u32, 0, 0), ("flags", constant, 32, 3), ("more", constant, 35, 5), ("next", pointer, 64, 0)]
    btf.structure("node", 48, [*members, ("", nameless, 128, 0)], flag=1)
    btf.enum("colour", {"RED": -1, "GREEN": 5})
    btf.enum("wide", {"HUGE": 1 << 40}, wide=True, signed=False)
    btf.variable("first_node", declared)
    return btf


@pytest.mark.parametrize("byte_order", ["little", "big"])
def test_members_by_name_wherever_they_are(byte_order):
    types = Btf(sample(byte_order).data())
    node = types.named("struct node")
    assert (node.kind, node.name, node.size_bytes) == (Kind.STRUCT, "node", 48)
    found = {name: types.member(node, name) for name in ("id", "flags", "more", "next", "name", "raw")}
    assert {name: (member.bit_offset, member.bits) for name, member in found.items()} == {
        "id": (0, 0),
        "flags": (32, 3),
        "more": (35, 5),
        "next": (64, 0),
        "name": (128, 0),
        "raw": (128, 0),
    }
    assert types.resolve(found["flags"].ref).name == "unsigned int"
    assert types.size_of(types.resolve(found["name"].ref)) == 32
    pointer = types.resolve(found["next"].ref)
    assert pointer.kind is Kind.POINTER and pointer.size_bytes == 8


def test_a_declared_structure_is_the_defined_one():
    types = Btf(sample().data())
    pointer = types.resolve(types.member(types.named("node"), "next").ref)
    assert types.resolve(pointer.target) == types.named("node")
    variable = types.variable("first_node")
    assert variable is not None and types.resolve(variable) == types.named("node")


def test_enums_and_their_values():
    types = Btf(sample().data())
    assert list(types.enumerators(types.named("enum colour").ref)) == [("RED", -1), ("GREEN", 5)]
    assert list(types.enumerators(types.named("wide").ref)) == [("HUGE", 1 << 40)]
    assert types.named("wide").size_bytes == 8 and types.named("colour").kind is Kind.ENUM


def test_bit_fields_of_older_kernels_are_numbers_with_fewer_bits():
    btf = BtfBuilder()
    narrow = btf.integer("unsigned int", 4, bits=3, offset=2)
    btf.structure("old", 4, [("low", narrow, 0)])
    types = Btf(btf.data())
    assert types.members(types.named("old").ref) == [Member("low", narrow, 2, 3)]


def test_a_typo_is_answered_with_what_was_meant():
    types = Btf(sample().data())
    with pytest.raises(UnknownTypeError, match="structure node has no member nxet: did you mean next"):
        types.member(types.named("node"), "nxet")
    with pytest.raises(UnknownTypeError, match="no type nodes in its BTF"):
        types.named("nodes")


def test_a_modules_types_go_on_where_the_kernels_end():
    kernel = sample()
    base = Btf(kernel.data())
    module = BtfBuilder(first=1 + len(kernel.types), first_string=len(kernel.strings))
    module.structure("device", 56, [("node", base.named("node").ref, 8)])
    types = Btf(module.data(), base)
    member = types.member(types.named("device"), "node")
    assert types.resolve(member.ref) == base.named("node") and member.offset == 8
    assert types.member(types.resolve(member.ref), "next").offset == 8
    assert types.find("node") == base.find("node") and types.find("unsigned int") == 1


def test_it_is_read_from_the_kernels_memory():
    kernel = FakeKernel()
    data = sample().data()
    start = kernel.place(data)
    symbols = SymbolTable([Symbol("__start_BTF", start, "R"), Symbol("__stop_BTF", start + len(data), "R")])
    assert read_btf(kernel.read(), symbols).named("node").size_bytes == 48
    endless = SymbolTable([Symbol("__start_BTF", start, "R"), Symbol("__stop_BTF", start + (1 << 40), "R")])
    with pytest.raises(FormatError, match="bytes of BTF, more than"):
        read_btf(kernel.read(), endless)


def test_what_leads_in_a_circle_ends():
    btf = BtfBuilder()
    btf.alias(TYPEDEF, "self", 1)
    btf.structure("outer", 8, [("", 2, 0)])
    btf.array(3, 8)
    types = Btf(btf.data())
    with pytest.raises(FormatError, match="name for a name without an end"):
        types.named("self")
    with pytest.raises(UnknownTypeError, match="outer has no member x"):
        types.member(types.named("outer"), "x")
    with pytest.raises(FormatError, match="array of arrays without an end"):
        types.size_of(types.resolve(3))


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda data: b"\0\0" + data[2:], "no BTF"),
        (lambda data: data[:20], "no BTF"),
        (lambda data: data[:2] + b"\2" + data[3:], "another version"),
        (lambda data: data[:-1] + b"x", "strings of BTF have no end"),
        (lambda data: data[:12] + struct.pack("<I", 1 << 30) + data[16:], "types of BTF are cut short"),
        (lambda data: data[:12] + struct.pack("<I", 20) + data[16:], "BTF type cut short"),
        (lambda data: data[:31] + b"\x1f" + data[32:], "unknown kind 31"),
    ],
)
def test_damage_is_one_sentence(change, why):
    with pytest.raises(FormatError, match=why):
        Btf(change(sample().data()))


@given(st.binary(max_size=8), st.integers(0, 400))
def test_no_bytes_break_it(junk, at):
    data = bytearray(sample().data())
    data[at : at + len(junk)] = junk
    try:
        types = Btf(bytes(data))
        for ref in range(1, types.end):
            types.size_of(types.resolve(ref))
            for member in types.members(ref):
                types.resolve(member.ref)
            types.enumerators(ref)
        types.member(types.named("node"), "nothing")
    except FadumpError:
        pass


def test_many_members_cost_no_more_than_their_bytes():
    btf = BtfBuilder()
    number = btf.integer("int", 4)
    btf.add(STRUCT, "claims", 8, b"", count=0xFFFF)
    with pytest.raises(FormatError, match="cut short"):
        Btf(btf.data())
    assert number == 1


def test_structures_deep_within_each_other_are_not_followed_for_ever():
    btf = BtfBuilder()
    inner = btf.structure("", 8, [])
    for _ in range(2000):
        inner = btf.structure("", 8, [("", inner, 0), ("", inner, 0)])
    btf.structure("outer", 8, [("", inner, 0)])
    types = Btf(btf.data())
    with pytest.raises(FormatError, match="within each other without an end"):
        types.member(types.named("outer"), "x")

"""The types of a real kernel, by its BTF and by its debug information, against pahole's reading of it."""

import re
import subprocess
from collections import Counter

import pytest

from fadump.linux.types.btf import Btf
from fadump.linux.types.contract import Kind
from fadump.linux.vmlinux.dwarf_types import DwarfTypes
from fadump.linux.vmlinux.elf import open_elf

_MEMBER = re.compile(r"(\w+)(?:\[\d*\])*(?::\d+)?; +/\* +(\d+)(?:: *(\d+))? +\d+ \*/")
_POINTER_TO_FUNCTION = re.compile(r"\(\*(\w+)\)\(.*\); +/\* +(\d+) +8 \*/")
STRUCTS = ["task_struct", "sk_buff", "key", "page", "mm_struct", "uts_namespace", "rb_root", "printk_info"]


@pytest.fixture(scope="module")
def both(kernel):
    with open_elf(kernel.vmlinux) as elf:
        btf = elf.named(".BTF")
        assert btf is not None
        return Btf(btf), DwarfTypes(elf)


def pahole(kernel, *options):
    return subprocess.run(
        ["pahole", "-F", "btf", *options, kernel.vmlinux], capture_output=True, text=True, check=True
    ).stdout


def test_every_structure_has_the_size_that_pahole_says(kernel, both):
    said = [line.split("\t")[:2] for line in pahole(kernel, "--sizes").splitlines()]
    times = Counter(name for name, _size in said)
    btf, _dwarf = both
    wrong = [(name, size) for name, size in said if times[name] == 1 and btf.named(name).size_bytes != int(size)]
    assert len(said) > 3000 and not wrong


@pytest.mark.parametrize("name", STRUCTS)
def test_every_member_is_where_pahole_has_it(kernel, both, name):
    text = pahole(kernel, "-C", name)
    places = {member: (int(at), int(bit or 0)) for member, at, bit in _MEMBER.findall(text)}
    places |= {member: (int(at), 0) for member, at in _POINTER_TO_FUNCTION.findall(text)}
    for types in both:
        type_ = types.named(name)
        named = {member.name for member in types.members(type_.ref) if member.name}
        assert len(named - places.keys()) <= len(named) // 20  # a few have attributes behind their names
        for member in named & places.keys():
            at, bit = places[member]
            assert types.member(type_, member).bit_offset == 8 * at + bit, (types.source, member)


def test_the_two_agree_on_members_in_nested_structures(both):
    btf, dwarf = both
    for name in STRUCTS:
        one, other = btf.named(name), dwarf.named(name)
        assert [(member.name, member.bit_offset, member.bits) for member in btf.members(one.ref)] == [
            (member.name, member.bit_offset, member.bits) for member in dwarf.members(other.ref)
        ]


@pytest.mark.parametrize("name", ["zone_stat_item", "node_stat_item", "module_state"])
def test_the_two_agree_on_the_values_of_enums(kernel, both, name):
    said = dict(re.findall(r"(\w+) += (\d+),", pahole(kernel, "-C", name)))
    for types in both:
        assert {member: str(value) for member, value in types.enumerators(types.named(name).ref)} == said


def test_a_variable_has_its_type(both):
    _btf, dwarf = both
    kinds = {
        "init_task": Kind.STRUCT,
        "saved_command_line": Kind.POINTER,
        "chrdevs": Kind.ARRAY,
        "nr_irqs": Kind.NUMBER,
    }
    for name, kind in kinds.items():
        ref = dwarf.variable(name)
        assert ref is not None and dwarf.resolve(ref).kind is kind

"""Device trees against dtc, in both directions, and against whatever a broken machine may leave."""

import struct
import subprocess

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fadump.errors import FadumpError, FormatError, LimitError
from fadump.limits import MOST_TREE_BYTES
from fadump.memory import devicetree
from fadump.memory.devicetree import (
    MAX_DEPTH,
    MAX_NAME_BYTES,
    DeviceTree,
    MissingPropertyError,
    Node,
    encode_cells,
    encode_strings,
    header_total_size,
    join_cells,
)
from fadump.memory.ranges import Range

SOURCE = """
/dts-v1/;
/memreserve/ 0x10000000 0x4000;
/memreserve/ 0xfffffffffffff000 0x1000;
/ {
    model = "IBM pSeries", "second";
    #address-cells = <2>;
    empty;
    memory@0 { reg = <0x0 0x0 0x1 0x80000000>; };
    memory@180000000 { reg = <0x1 0x80000000 0x0 0x1000>; };
    rtas {
        ibm,os-term = <0x2021>;
        bytes = [01 02 03];
        cpus { PowerPC,POWER9@0 { ibm,ppc-interrupt-server#s = <0 1>; }; };
    };
};
"""
TREE = DeviceTree(
    root=Node(
        "",
        {"model": b"IBM pSeries\0second\0", "#address-cells": b"\0\0\0\2", "empty": b""},
        [
            Node("memory@0", {"reg": encode_cells(0, 0, 1, 0x8000_0000)}),
            Node("memory@180000000", {"reg": encode_cells(1, 0x8000_0000, 0, 0x1000)}),
            Node(
                "rtas",
                {"ibm,os-term": encode_cells(0x2021), "bytes": b"\1\2\3"},
                [Node("cpus", {}, [Node("PowerPC,POWER9@0", {"ibm,ppc-interrupt-server#s": encode_cells(0, 1)})])],
            ),
        ],
    ),
    reservations=[Range.sized(0x1000_0000, 0x4000), Range((1 << 64) - 0x1000, 1 << 64)],
    boot_cpu=3,
)


def dtc(source, *options):
    return subprocess.run(["dtc", "-q", *options], input=source, stdout=subprocess.PIPE, check=True).stdout


node_names = st.from_regex(r"[a-z][a-zA-Z0-9,._+-]{0,12}(@[0-9a-f]{1,8})?", fullmatch=True)
property_names = st.from_regex(r"[a-z#][a-zA-Z0-9,._+?#-]{0,33}", fullmatch=True).filter(
    lambda name: name not in {"name", "phandle", "linux,phandle"}  # dtc wants to know what these mean
)
properties = st.dictionaries(property_names, st.binary(max_size=20), max_size=4)


def nodes(name, children):
    return st.builds(Node, name, properties, st.lists(children, max_size=3, unique_by=lambda node: node.name))


leaves = st.builds(Node, node_names, properties)
ends = st.tuples(st.integers(0, 1 << 64), st.integers(0, 1 << 64)).filter(lambda pair: pair[0] != pair[1])
trees = st.builds(
    DeviceTree,
    root=nodes(st.just(""), st.recursive(leaves, lambda below: nodes(node_names, below), max_leaves=8)),
    reservations=st.lists(ends.map(lambda pair: Range(min(pair), max(pair))), max_size=3).filter(
        lambda ranges: all(range_.size_bytes < 1 << 64 for range_ in ranges)
    ),
    boot_cpu=st.integers(0, 2**32 - 1),
)


@given(trees)
def test_a_tree_that_was_encoded_is_parsed_as_it_was(tree):
    blob = tree.encode()
    assert DeviceTree.parse(blob) == tree
    assert DeviceTree.parse(memoryview(blob + b"what follows in memory")) == tree
    assert header_total_size(blob[:8]) == len(blob)


@settings(max_examples=25, deadline=None)
@given(trees)
def test_dtc_reads_what_was_encoded_and_writes_it_back_the_same(tree):
    assert DeviceTree.parse(dtc(tree.encode(), "-I", "dtb", "-O", "dtb")) == tree


@pytest.mark.parametrize("version", ["16", "17"])
def test_what_dtc_compiles_is_parsed(version):
    blob = dtc(SOURCE.encode(), "-I", "dts", "-O", "dtb", "-b", "3", "-V", version)
    assert DeviceTree.parse(blob) == TREE


def test_dtc_decompiles_what_was_encoded():
    ours = dtc(TREE.encode(), "-I", "dtb", "-O", "dts")
    assert ours == dtc(dtc(SOURCE.encode(), "-I", "dts", "-O", "dtb"), "-I", "dtb", "-O", "dts")


@given(trees, st.data())
def test_a_tree_cut_anywhere_is_refused(tree, data):
    blob = tree.encode()
    with pytest.raises(FormatError) as refused:
        DeviceTree.parse(blob[: data.draw(st.integers(0, len(blob) - 1))])
    assert 0 <= refused.value.offset <= len(blob)


@given(trees, st.data())
def test_a_tree_with_flipped_bits_is_a_tree_or_refused(tree, data):
    blob = bytearray(tree.encode())
    for bit in data.draw(st.lists(st.integers(0, 8 * len(blob) - 1), min_size=1, max_size=4)):
        blob[bit // 8] ^= 1 << bit % 8
    try:
        parsed = DeviceTree.parse(bytes(blob))
    except FormatError:
        return
    assert DeviceTree.parse(parsed.encode()) == parsed


@given(st.binary(max_size=200))
def test_any_bytes_after_a_header_are_a_tree_or_refused(body):
    header = struct.pack(">10I", 0xD00DFEED, 40 + len(body), 56, 40, 40, 17, 16, 0, 16, max(0, len(body) - 16))
    try:
        parsed = DeviceTree.parse(header + body)
    except FormatError:
        return
    assert DeviceTree.parse(parsed.encode()) == parsed


def blob_of(*structure, strings=b"", reservations=bytes(16), version=17, compatible=16):
    body = b"".join(struct.pack(">I", part) if isinstance(part, int) else part for part in structure)
    at = 40 + len(reservations)
    sizes = (len(strings), len(body))
    header = (0xD00DFEED, at + sum(sizes), at, at + len(body), 40, version, compatible, 0, *sizes)
    return struct.pack(">10I", *header) + reservations + body + strings


BEGIN, END_NODE, PROPERTY, NOP, END = 1, 2, 3, 4, 9
ROOT_NAME = bytes(4)


def test_nops_are_passed_over_wherever_a_token_may_stand():
    value = (PROPERTY, 1, 0, b"x\0\0\0")
    blob = blob_of(
        NOP, NOP, BEGIN, ROOT_NAME, NOP, *value, NOP, BEGIN, b"a\0\0\0", NOP, END_NODE, NOP, END_NODE, NOP, END,
        strings=b"p\0",
    )  # fmt: skip
    assert DeviceTree.parse(blob) == DeviceTree(Node("", {"p": b"x"}, [Node("a")]))


@pytest.mark.parametrize(
    ("structure", "reason"),
    [
        ((), "token cut short"),
        ((END,), "no place"),
        ((END_NODE,), "no place"),
        ((PROPERTY, 0, 0), "no place"),
        ((BEGIN, ROOT_NAME, END), "no place"),
        ((BEGIN, ROOT_NAME, END_NODE), "token cut short"),
        ((BEGIN, ROOT_NAME, END_NODE, BEGIN, ROOT_NAME, END_NODE, END), "no place"),
        ((BEGIN, ROOT_NAME, END_NODE, END_NODE, END), "no place"),
        ((BEGIN, ROOT_NAME, 5, END_NODE, END), "no place"),
        ((BEGIN, b"name"), "name without an end"),
        ((BEGIN, b"\xe9\0\0\0", END_NODE, END), "not ASCII"),
        ((BEGIN, ROOT_NAME, PROPERTY, 0), "property cut short"),
        ((BEGIN, ROOT_NAME, PROPERTY, 1 << 31, 0, END_NODE, END), "property cut short"),
        ((BEGIN, ROOT_NAME, PROPERTY, 0, 3, END_NODE, END), "name without an end"),
        ((BEGIN, ROOT_NAME, PROPERTY, 0, 1 << 31, END_NODE, END), "name without an end"),
        ((BEGIN, ROOT_NAME, PROPERTY, 0, 1, END_NODE, END), "empty or repeated"),
        ((BEGIN, ROOT_NAME, PROPERTY, 0, 0, PROPERTY, 0, 0, END_NODE, END), "empty or repeated"),
        ((BEGIN, ROOT_NAME, BEGIN, b"a\0\0\0", END_NODE, PROPERTY, 0, 0, END_NODE, END), "no place"),
    ],
)
def test_a_malformed_structure_is_refused_with_its_reason(structure, reason):
    with pytest.raises(FormatError, match=reason):
        DeviceTree.parse(blob_of(*structure, strings=b"p\0?"))


@pytest.mark.parametrize(
    ("structure", "cell"),
    [
        ((BEGIN, ROOT_NAME, PROPERTY, 0, 1, END_NODE, END), 4),
        ((BEGIN, ROOT_NAME, PROPERTY, 0, 0, PROPERTY, 0, 0, END_NODE, END), 7),
    ],
)
def test_a_name_that_is_empty_or_repeated_is_refused_where_the_property_names_it(structure, cell):
    blob = blob_of(*structure, strings=b"p\0?")
    structure_offset = int.from_bytes(blob[8:12], "big")
    with pytest.raises(FormatError) as raised:
        DeviceTree.parse(blob)
    assert raised.value.offset == structure_offset + 4 * cell


def test_nodes_are_nested_as_deep_as_the_limit_and_no_deeper():
    def nested(depth):
        return blob_of(*(BEGIN, ROOT_NAME) * depth, *(END_NODE,) * depth, END)

    deepest = DeviceTree.parse(nested(MAX_DEPTH))
    assert len(list(deepest.root.walk())) == MAX_DEPTH
    assert DeviceTree.parse(deepest.encode()) == deepest
    for depth in (MAX_DEPTH + 1, 100_000):
        with pytest.raises(FormatError, match="nested too deep"):
            DeviceTree.parse(nested(depth))
    with pytest.raises(ValueError, match="nested deeper"):
        DeviceTree(Node("", {}, [deepest.root])).encode()


@pytest.mark.parametrize(
    ("version", "compatible", "readable"),
    [(17, 16, True), (16, 16, True), (18, 17, True), (18, 18, False), (15, 3, False)],
)
def test_a_tree_is_read_if_its_version_is_compatible(version, compatible, readable):
    blob = blob_of(BEGIN, ROOT_NAME, END_NODE, END, version=version, compatible=compatible)
    if readable:
        assert DeviceTree.parse(blob) == DeviceTree()
    else:
        with pytest.raises(FormatError, match="another version"):
            DeviceTree.parse(blob)


@pytest.mark.parametrize(
    ("field", "value", "reason"),
    [
        (0, 0xD00DFEEE, "without its magic"),
        (1, 35, "smaller than its header"),
        (1, MOST_TREE_BYTES + 1, "67,108,865 bytes of a device tree, more than the 67,108,864"),
        (1, 1000, "device tree cut short"),
        (2, 58, "structure block misaligned"),
        (2, 1 << 31, "structure block misaligned or outside"),
        (3, 1 << 31, "strings block misaligned or outside"),
        (4, 44, "reservations block misaligned"),
        (4, 1 << 31, "reservations block misaligned or outside"),
        (8, 1 << 31, "strings block misaligned or outside"),
        (9, 1 << 31, "structure block misaligned or outside"),
    ],
)
def test_a_header_that_points_astray_is_refused_with_its_reason(field, value, reason):
    blob = bytearray(blob_of(BEGIN, ROOT_NAME, END_NODE, END))
    struct.pack_into(">I", blob, 4 * field, value)
    with pytest.raises(FormatError, match=reason):
        DeviceTree.parse(bytes(blob))


def test_what_lies_behind_the_total_size_is_no_part_of_the_tree():
    blob = bytearray(blob_of(BEGIN, ROOT_NAME, PROPERTY, 0, 0, END_NODE, END, strings=b"p\0"))
    struct.pack_into(">I", blob, 4, len(blob) - 2)
    with pytest.raises(FormatError, match="strings block misaligned or outside"):
        DeviceTree.parse(bytes(blob))


def test_reservations_without_an_end_or_beyond_64_bits_are_refused():
    root = (BEGIN, ROOT_NAME, END_NODE, END)
    with pytest.raises(FormatError, match="beyond 64 bits"):
        DeviceTree.parse(blob_of(*root, reservations=struct.pack(">QQQQ", 1 << 63, 1 << 63 | 1, 0, 0)))
    endless = bytearray(blob_of(*root, strings=b"\1" * 40))
    struct.pack_into(">I", endless, 0x10, len(endless) - 40)
    with pytest.raises(FormatError, match="reservation cut short"):
        DeviceTree.parse(bytes(endless))


def test_a_size_is_told_from_eight_bytes_and_from_no_fewer():
    assert header_total_size(TREE.encode()[:8]) == len(TREE.encode())
    with pytest.raises(FormatError, match="header cut short"):
        header_total_size(TREE.encode()[:7])


def test_the_names_of_properties_stand_once_in_the_strings():
    tree = DeviceTree(Node("", {"reg": b""}, [Node(f"a@{index}", {"reg": b""}) for index in range(5)]))
    assert tree.encode().count(b"reg\0") == 1


@pytest.mark.parametrize(
    "tree",
    [
        DeviceTree(Node("n\0n")),
        DeviceTree(Node("é")),
        DeviceTree(Node("n" * (MAX_NAME_BYTES + 1))),
        DeviceTree(Node("", {"": b""})),
        DeviceTree(Node("", {"p\0": b""})),
        DeviceTree(boot_cpu=1 << 32),
        DeviceTree(boot_cpu=-1),
        DeviceTree(reservations=[Range(5, 5)]),
        DeviceTree(reservations=[Range(1 << 63, (1 << 64) + 1)]),
        DeviceTree(reservations=[Range(0, 1 << 64)]),
        DeviceTree(Node("", {"p": bytes(MOST_TREE_BYTES)})),
    ],
    ids=[
        "zero in node name",
        "node name not ASCII",
        "node name too long",
        "no property name",
        "zero in property name",
        "boot CPU too large",
        "boot CPU negative",
        "empty reservation",
        "reservation beyond 64 bits",
        "reservation of 64 bits",
        "too large",
    ],
)
def test_what_the_format_cannot_hold_is_not_encoded(tree):
    with pytest.raises(ValueError, match=r"can't be|without a name|not an u32|too large"):
        tree.encode()


def test_the_longest_name_is_kept():
    tree = DeviceTree(Node("", {"p" * MAX_NAME_BYTES: b""}, [Node("n" * MAX_NAME_BYTES)]))
    assert DeviceTree.parse(tree.encode()) == tree


def test_nodes_are_found_by_path_with_or_without_their_unit_address():
    assert TREE.find("/") is TREE.root
    assert TREE.find("/rtas") is TREE.root.children[2]
    assert TREE.find("/rtas/cpus/PowerPC,POWER9@0") is TREE.find("/rtas/cpus/PowerPC,POWER9")
    assert TREE.find("/memory@0") is TREE.root.children[0]
    assert TREE.find("/memory@180000000") is TREE.root.children[1]
    assert TREE.find("/memory") is None  # two of them
    assert TREE.find("/chosen") is None
    assert TREE.find("/chosen/deeper") is None


def test_an_exact_name_goes_before_one_without_its_unit_address():
    exact = Node("cpus")
    assert Node("", {}, [Node("cpus@0"), exact]).child("cpus") is exact


def test_a_walk_meets_every_node_before_its_children_and_in_order():
    assert [node.name for node in TREE.root.walk()] == [
        "", "memory@0", "memory@180000000", "rtas", "cpus", "PowerPC,POWER9@0",
    ]  # fmt: skip


def test_properties_are_read_as_cells_and_strings():
    assert TREE.root.children[0].cells("reg") == (0, 0, 1, 0x8000_0000)
    assert TREE.root.cells("empty") == ()
    assert TREE.root.strings("model") == ("IBM pSeries", "second")
    node = Node("n", {"text": encode_strings("ibm,os-term")})
    assert node.string("text") == "ibm,os-term"
    assert encode_strings("a", "", "b") == b"a\0\0b\0"


def test_a_missing_property_is_named_with_its_node():
    for read in (TREE.root.value, TREE.root.cells, TREE.root.string, TREE.root.strings):
        with pytest.raises(MissingPropertyError) as missing:
            read("reg")
        assert str(missing.value) == "device tree node / has no property reg"
        assert isinstance(missing.value, KeyError)


@pytest.mark.parametrize(
    ("read", "value", "reason"),
    [
        (Node.cells, b"\0\0\0\1\0", "not a list of cells"),
        (Node.string, b"a\0b\0", "not one string"),
        (Node.string, b"", "no end of string"),
        (Node.strings, b"abc", "no end of string"),
        (Node.strings, b"\xff\0", "not text"),
    ],
)
def test_a_property_of_another_kind_is_refused(read, value, reason):
    with pytest.raises(FormatError, match=f"property p of n .*{reason}"):
        read(Node("n", {"p": value}), "p")


@pytest.mark.parametrize("value", [-1, 1 << 32])
def test_a_cell_holds_32_bits(value):
    with pytest.raises(ValueError, match="32-bit"):
        encode_cells(value)


def test_a_number_has_as_many_bytes_as_its_property():
    node = Node("n", {"half": b"\x01\x02", "long": b"\0\0\0\x01\0\0\0\x02", "none": b""})
    assert [node.number(name) for name in ("half", "long", "none")] == [0x102, 0x1_0000_0002, 0]
    assert join_cells(node.cells("long")) == 0x1_0000_0002
    with pytest.raises(MissingPropertyError, match="no property other"):
        node.number("other")


def test_cpus_are_what_says_that_it_is_one():
    cpus = [Node("PowerPC,POWER9@0", {"device_type": b"cpu\0"}), Node("cpu@8", {"device_type": b"cpu"})]
    tree = DeviceTree(Node("", {}, [Node("cpus", {}, [*cpus, Node("l2-cache", {"device_type": b"cache\0"})])]))
    assert tree.cpus() == cpus
    assert DeviceTree().cpus() == []
    assert (cpus[0].device_type, tree.root.device_type) == ("cpu", "")


def test_a_node_that_is_needed_and_not_there_is_named_with_the_reason():
    with pytest.raises(FadumpError, match="no /rtas: it has the calls"):
        DeviceTree().node("/rtas", "it has the calls")
    assert DeviceTree().node("/", "it is always there") == Node("")


@pytest.mark.parametrize(
    ("ends", "found"),
    [
        ({"start": b"\0\0\x10\0", "end": b"\0\0\0\0\0\0\x20\0"}, Range(0x1000, 0x2000)),
        ({"start": b"\0\0\x10\0", "end": b"\0\0\x10\0"}, None),
        ({"end": b"\0\0\x10\0"}, None),
        ({}, None),
    ],
)
def test_an_initrd_has_both_ends(ends, found):
    chosen = Node("chosen", {f"linux,initrd-{end}": value for end, value in ends.items()})
    assert DeviceTree(Node("", {}, [chosen])).initrd() == found
    assert DeviceTree().initrd() is None


def test_more_nodes_and_properties_than_any_tree_has_are_refused(monkeypatch):
    """16 bytes of a tree are a node of several hundred."""
    tree = DeviceTree(Node("", {"p": b""}, [Node("n", {"q": b""}) for _ in range(4)]))
    monkeypatch.setattr(devicetree, "MOST_TREE_ITEMS", 10)
    assert DeviceTree.parse(tree.encode()) == tree
    tree.root.children.append(Node("n"))
    with pytest.raises(
        LimitError, match="11 nodes, properties and reservations of a device tree, more than the 10 that are read"
    ):
        DeviceTree.parse(tree.encode())

"""The smallest device tree with the largest claim, as a blob and as a directory."""

import struct

import pytest

from fadump.errors import FadumpError, LimitError
from fadump.kernel.plan import read_memory
from fadump.kernel.plan.plan import make_plan
from fadump.kernel.plan.read_memory import read_tree
from fadump.kernel.plan.system import cpu_names, system_of
from fadump.kernel.traits import GIB, LINUX_6_12, MIB
from fadump.memory import devicetree
from fadump.memory.devicetree import DeviceTree, Node
from tests.bounded import bounded
from tests.kernel.trees import guest_tree, memory_node, pairs


def blob(structure, reservations=b"", strings=b"\0"):
    offsets = [40]
    for block in (reservations + bytes(16), structure, strings):
        offsets.append(offsets[-1] + len(block))
    header = (0xD00DFEED, offsets[3], offsets[1], offsets[2], offsets[0], 17, 16, 0, len(strings), len(structure))
    return struct.pack(">10I", *header) + reservations + bytes(16) + structure + strings


BEGIN, END_NODE, PROP, END = (struct.pack(">I", token) for token in (1, 2, 3, 9))
ROOT = BEGIN + bytes(4)


def sentence(function, *arguments):
    try:
        return function(*arguments)
    except FadumpError as error:
        return str(error)


def parse(data):
    return sentence(lambda: len(DeviceTree.parse(data).reservations))


def test_reservations_are_counted(monkeypatch):
    """Each takes 16 bytes of the blob, and a hundred here."""
    monkeypatch.setattr(devicetree, "MOST_TREE_ITEMS", 1000)
    data = blob(ROOT + END_NODE + END, struct.pack(">QQ", 1 << 40, 1) * 1001)
    assert parse(data).startswith("1,001 nodes, properties and reservations of a device tree, more than the 1,000")
    assert parse(blob(ROOT + END_NODE + END, struct.pack(">QQ", 1 << 40, 1) * 999)) == 999


def test_names_of_properties_that_share_bytes_take_what_items_may():
    """20,000 nodes with a property each, whose name is part of one string."""
    strings = b"n" * 254 + b"\0"
    node = BEGIN + b"a\0\0\0" + PROP
    body = b"".join(node + struct.pack(">II", 0, number % 254) + END_NODE for number in range(20_000))
    data = blob(ROOT + body + END_NODE + END, strings=strings)
    assert bounded(parse, data, most_bytes=24 * MIB, most_steps=3_000_000) == 0


# What a kernel finds in a tree


def blocks(name, cells):
    node = Node("ibm,dynamic-reconfiguration-memory", {"ibm,lmb-size": struct.pack(">Q", 256 * MIB), name: cells})
    tree = guest_tree(memory_node(0, 4 * GIB))
    tree.root.children.append(node)
    return tree


def find(tree):
    return sentence(lambda: len(system_of(tree).system.memory.regions))


@pytest.mark.parametrize("name", ["ibm,dynamic-memory", "ibm,dynamic-memory-v2"])
def test_blocks_take_no_memory_before_they_are_counted(name):
    """A property of 4 MiB, of which each 24 bytes are a block that isn't assigned."""
    count = (4 << 20) // 24
    cells = struct.pack(">I", count) + bytes.fromhex("00000101") * 6 * count
    assert bounded(find, blocks(name, cells), most_bytes=16 * MIB, most_steps=3_000_000) == 1


def test_processors_are_counted(monkeypatch):
    monkeypatch.setattr("fadump.kernel.plan.system.MOST_CPUS", 1000)
    cpus = [Node(f"cpu@{n}", {"ibm,ppc-interrupt-server#s": bytes(400)}) for n in range(11)]
    tree = guest_tree()
    tree.root.children.append(Node("cpus", {}, cpus))
    found = sentence(cpu_names, tree)
    assert found == "1,100 processors in a device tree, more than the 1,000 that are read"


def test_a_list_of_numbers_has_an_end():
    node = Node("a", {"b": bytes(8 * MIB)})
    with pytest.raises(LimitError, match="2,097,152 cells in property b of a, more than the 1,048,576"):
        node.cells("b")


def test_what_is_reserved_is_counted(monkeypatch):
    monkeypatch.setattr("fadump.kernel.plan.system.MOST_PIECES", 1000)
    tree = guest_tree(memory_node(0, 4 * GIB))
    tree.root.properties["reserved-ranges"] = pairs(*[(number << 20, 4096) for number in range(1001)])
    assert find(tree).startswith("1,001 pieces of reserved memory in a device tree, more than the 1,000")


def plan(tree):
    found = system_of(tree)
    return make_plan(found.system, LINUX_6_12, "fadump=on").system.memory.ram_bytes


def pieces(count):
    """So many pieces of memory with a gap after each, the same of what is reserved, and as many CPUs."""
    tree = guest_tree(memory_node(0, 4 * GIB), *[memory_node(4 * GIB + 2 * n * MIB, MIB) for n in range(count)])
    tree.root.properties["reserved-ranges"] = pairs(*[(2 * GIB + n * 2 * MIB, MIB) for n in range(count)])
    return tree


def test_a_plan_takes_steps_as_memory_has_pieces():
    assert bounded(plan, pieces(2000), most_steps=1_000_000) == 4 * GIB + 2000 * MIB


# A directory such as /proc/device-tree


@pytest.fixture
def directory(tmp_path):
    (tmp_path / "#address-cells").write_bytes(b"\0\0\0\2")
    return tmp_path


def read(path):
    return sentence(lambda: len(list(read_tree(path).root.walk())))


def test_files_of_a_directory_are_counted_together(directory):
    """Ten files of 64 MiB each, of which nothing is on the disk."""
    for number in range(10):
        with (directory / f"file{number}").open("wb") as file:
            file.truncate(64 * MIB)
    found = bounded(read, directory, most_bytes=200 * MIB)
    assert found.endswith("bytes of a device tree, more than the 67,108,864 that are read")


def test_entries_of_a_directory_are_counted(directory, monkeypatch):
    monkeypatch.setattr(read_memory, "MOST_TREE_ITEMS", 20)
    for number in range(20):
        (directory / f"node{number}").mkdir()
    with pytest.raises(LimitError, match="21 nodes and properties of a device tree, more than the 20"):
        read_tree(directory)

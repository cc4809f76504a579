import pytest
from hypothesis import given
from hypothesis import strategies as st

from fadump.abi.platform import Platform
from fadump.errors import FadumpError, FormatError
from fadump.kernel.plan import system as system_module
from fadump.kernel.plan.memory_map import free_ranges
from fadump.kernel.plan.system import system_of
from fadump.kernel.traits import GIB, LINUX_6_12, MIB, Mmu
from fadump.memory.devicetree import DeviceTree, Node, encode_cells, encode_strings
from fadump.memory.ranges import Range, RangeSet
from tests.kernel.systems import reserved
from tests.kernel.trees import (
    ASSIGNED,
    HOT_REMOVABLE,
    RESERVED,
    dynamic_v1,
    dynamic_v2,
    guest_tree,
    memory_node,
    opal_tree,
    pairs,
)

BLOCK = 256 * MIB


def regions(*memory):
    return system_of(guest_tree(*memory)).system.memory.regions


def test_a_guests_tree():
    found = system_of(guest_tree(hpte_bytes=0x1000))
    system = found.system
    assert found.cmdline == "fadump=on"
    assert (system.platform, system.mmu, system.supported) == (Platform.PSERIES, Mmu.RADIX, True)
    assert (system.cpu_state_bytes, system.hpte_bytes) == (0x2980, 0x1000)
    assert system.memory.regions == (Range(0, 2 * GIB),)
    assert system.memory.firmware == RangeSet([Range(0x2FFF0000, 0x30000000)])
    assert system.memory.reserved_later == RangeSet([Range(0x7F200000, 0x7F300000), Range(0x7FF00000, 0x80000000)])


def test_the_firmwares_range_moves_the_area():
    found = system_of(guest_tree())
    assert reserved(found.system, LINUX_6_12, "fadump=on crashkernel=512M").area.start == 0x30000000


def test_hash_guests_have_not_negotiated_radix():
    assert system_of(guest_tree(radix=False)).system.mmu is Mmu.HASH
    tree = guest_tree()
    del tree.find("/chosen").properties["ibm,architecture-vec-5"]
    assert system_of(tree).system.mmu is Mmu.HASH


def test_sizes_of_sections_that_are_cut_short_are_refused():
    tree = guest_tree()
    tree.find("/rtas").properties["ibm,configure-kernel-dump-sizes"] = b"\0"
    with pytest.raises(FormatError, match="/rtas/ibm,configure-kernel-dump-sizes has 1 bytes, which is no whole"):
        system_of(tree)


def test_blocks_of_no_known_size_are_refused():
    node = Node("ibm,dynamic-reconfiguration-memory", {"ibm,dynamic-memory": b"\xff" * 4})
    with pytest.raises(FormatError, match="memory has ibm,dynamic-memory but no ibm,lmb-size"):
        system_of(guest_tree(memory_node(0, GIB), node))


def test_an_initrd_that_ends_before_it_starts_is_none():
    tree = guest_tree()
    tree.find("/chosen").properties["linux,initrd-end"] = bytes(8)
    assert list(system_of(tree).system.memory.reserved_later) == [Range(0x7F200000, 0x7F300000)]


def test_several_nodes_of_memory():
    low, high = memory_node(0, GIB), memory_node(4 * GIB, GIB)
    assert regions(high, low) == (Range(0, GIB), Range(4 * GIB, 5 * GIB))
    both = memory_node(0, GIB)
    both.properties["reg"] = pairs((0, GIB), (4 * GIB, GIB), (8 * GIB, 0))
    assert regions(both) == (Range(0, GIB), Range(4 * GIB, 5 * GIB))
    both.properties["reg"] += encode_cells(9, 0, 1)  # three quarters of a pair
    assert regions(both) == (Range(0, GIB), Range(4 * GIB, 5 * GIB))


def test_usable_memory_overrides():
    node = memory_node(0, 2 * GIB)
    node.properties["linux,usable-memory"] = pairs((0, GIB))
    assert regions(node) == (Range(0, GIB),)


def test_nodes_that_are_no_memory_are_not_looked_at():
    other = Node("memory-controller@0", {"reg": pairs((0, 8 * GIB))})
    assert regions(memory_node(0, GIB), other) == (Range(0, GIB),)


def test_blocks_one_by_one():
    dynamic = dynamic_v1(
        BLOCK, (GIB, ASSIGNED), (GIB + BLOCK, ASSIGNED), (GIB + 2 * BLOCK, 0), (GIB + 3 * BLOCK, ASSIGNED | RESERVED)
    )
    assert regions(memory_node(0, GIB), dynamic) == (Range(0, GIB + 2 * BLOCK),)


def test_blocks_in_runs():
    dynamic = dynamic_v2(BLOCK, (4, GIB, ASSIGNED), (4, 8 * GIB, ASSIGNED | HOT_REMOVABLE), (8, 16 * GIB, 0))
    assert regions(memory_node(0, GIB), dynamic) == (Range(0, 2 * GIB), Range(8 * GIB, 9 * GIB))


def test_blocks_that_can_be_unplugged_are_apart():
    dynamic = dynamic_v2(BLOCK, (4, GIB, ASSIGNED | HOT_REMOVABLE))
    assert regions(memory_node(0, GIB), dynamic) == (Range(0, GIB), Range(GIB, 2 * GIB))


def test_all_memory_may_be_in_blocks():
    assert regions(dynamic_v2(BLOCK, (8, 0, ASSIGNED))) == (Range(0, 2 * GIB),)


def test_cells_of_32_bits():
    tree = guest_tree()
    tree.root.properties |= {"#address-cells": encode_cells(1), "#size-cells": encode_cells(1)}
    tree.find("/memory").properties["reg"] = encode_cells(0, GIB)
    assert system_of(tree).system.memory.regions == (Range(0, GIB),)


def test_without_counts_cells_are_single():
    tree = guest_tree()
    del tree.root.properties["#address-cells"], tree.root.properties["#size-cells"]
    tree.find("/memory").properties["reg"] = encode_cells(0, GIB)
    assert system_of(tree).system.memory.regions == (Range(0, GIB),)


def test_a_section_that_the_firmware_does_not_offer_has_no_bytes():
    tree = guest_tree()
    sizes = tree.find("/rtas").properties["ibm,configure-kernel-dump-sizes"]
    cpu_state_only = [sizes[at : at + 12] for at in range(0, len(sizes), 12) if sizes[at : at + 4] == b"\0\0\0\1"]
    tree.find("/rtas").properties["ibm,configure-kernel-dump-sizes"] = b"".join(cpu_state_only)
    found = system_of(tree).system
    assert found.cpu_state_bytes == int.from_bytes(cpu_state_only[0][4:], "big")
    assert found.hpte_bytes == 0
    del tree.find("/rtas").properties["ibm,configure-kernel-dump-sizes"]
    assert (system_of(tree).system.cpu_state_bytes, system_of(tree).system.hpte_bytes) == (0, 0)


def test_without_the_call_there_is_no_fadump():
    tree = guest_tree()
    del tree.find("/rtas").properties["ibm,configure-kernel-dump"]
    assert not system_of(tree).system.supported
    tree.root.children = [node for node in tree.root.children if node.name != "rtas"]
    assert not system_of(tree).system.supported


def test_a_powernv_tree():
    system = system_of(opal_tree()).system
    assert (system.platform, system.mmu, system.supported) == (Platform.POWERNV, Mmu.RADIX, True)
    assert system.memory.reserved_later == RangeSet([Range.sized(0x31C00000, 0x100000)])
    assert reserved(system, LINUX_6_12, "fadump=on").area.start == 0x32000000
    assert not system_of(opal_tree(dump=False)).system.supported
    assert system_of(opal_tree(radix=False)).system.mmu is Mmu.HASH


@pytest.mark.parametrize(
    ("name", "value", "supported"),
    [
        ("compatible", encode_strings("another", "ibm,opal-dump"), True),
        ("compatible", encode_strings("ibm,opal-dump-v2"), False),
        ("fw-load-area", pairs((0x20000000, 0x8000000), (0x28000000, 0x8000000)), True),
        ("fw-load-area", pairs((0x20000000, 0x8000000), (0x28000000, 0x8000001)), False),
    ],
)
def test_what_linux_wants_of_opal(name, value, supported):
    tree = opal_tree()
    tree.find("/ibm,opal/dump").properties[name] = value
    assert system_of(tree).system.supported is supported


@pytest.mark.parametrize(
    ("name", "value", "counts"),
    [("status", encode_strings("okay"), True), ("status", encode_strings("disabled"), False), ("reg", None, False)],
)
def test_memory_that_is_not_available_does_not_count(name, value, counts):
    second = memory_node(GIB, GIB)
    second.properties = {key: old for key, old in (second.properties | {name: value}).items() if old is not None}
    assert regions(memory_node(0, GIB), second) == (Range(0, 2 * GIB if counts else GIB),)


@pytest.mark.parametrize(
    ("node", "message"),
    [
        (Node("memory@0", {"device_type": encode_strings("memory"), "reg": b"abc"}), "not a list of cells"),
        (dynamic_v2(BLOCK, (1 << 30, GIB, ASSIGNED)), "blocks in a run of ibm,dynamic-memory-v2, more than"),
        (memory_node(GIB, GIB), "no memory at address 0"),
        (memory_node(0, 0), "no memory at address 0"),
    ],
)
def test_a_tree_without_sense_is_refused(node, message):
    with pytest.raises(FormatError, match=message):
        system_of(guest_tree(node))


def test_numa_nodes_are_known_by_their_associativity():
    """Each number of the path is a level; ibm,associativity-reference-points has the one that makes a NUMA node."""
    near, far = memory_node(0, GIB), memory_node(GIB, GIB)
    near.properties["ibm,associativity"] = encode_cells(2, 7, 0)
    far.properties["ibm,associativity"] = encode_cells(2, 7, 1)
    dimms = dynamic_v2(BLOCK, (4, 4 * GIB, ASSIGNED), (4, 5 * GIB, ASSIGNED))
    dimms.properties["ibm,associativity-lookup-arrays"] = encode_cells(1, 2, 7, 3)
    tree = guest_tree(near, far, dimms)
    assert system_of(tree).system.memory.node_borders == ()  # nothing says which level counts
    tree.find("/rtas").properties["ibm,associativity-reference-points"] = encode_cells(2)
    assert system_of(tree).system.memory.node_borders == (GIB, 4 * GIB)


def test_a_list_of_blocks_that_is_cut_short():
    node = dynamic_v2(BLOCK, (4, GIB, ASSIGNED))
    node.properties["ibm,dynamic-memory-v2"] = node.properties["ibm,dynamic-memory-v2"][:-4]
    with pytest.raises(FormatError, match="cut short"):
        system_of(guest_tree(memory_node(0, GIB), node))


def test_a_tree_with_an_impossible_count_of_cells():
    tree = guest_tree()
    tree.root.properties["#address-cells"] = encode_cells(0x7FFFFFFF)
    with pytest.raises(FormatError, match="#address-cells"):
        system_of(tree)


NAMES = ["reg", "device_type", "linux,usable-memory", "#address-cells", "#size-cells", "reserved-ranges", "bootargs"]
NAMES += ["ibm,lmb-size", "ibm,dynamic-memory", "ibm,dynamic-memory-v2", "ibm,configure-kernel-dump-sizes"]
NAMES += ["ibm,associativity", "ibm,associativity-reference-points", "ibm,associativity-lookup-arrays"]
NAMES += ["ibm,architecture-vec-5", "linux,initrd-start", "linux,initrd-end"]
NODES = ["memory@0", "chosen", "rtas", "ibm,opal", "ibm,dynamic-reconfiguration-memory", "reserved-memory"]
values = st.binary(max_size=40) | st.sampled_from([b"memory\0", pairs((0, GIB)), b"\0\0\0\x01" * 8])
nodes = st.builds(Node, st.sampled_from(NODES), st.dictionaries(st.sampled_from(NAMES), values, max_size=5))


@given(st.lists(nodes, max_size=4), st.dictionaries(st.sampled_from(NAMES), values, max_size=3))
def test_any_tree_is_a_system_or_refused(children, properties):
    tree = DeviceTree(Node("", properties, [memory_node(0, GIB), *children]))
    try:
        found = system_of(tree)
    except FadumpError:
        return
    memory = found.system.memory
    assert RangeSet(free_ranges(memory.regions, memory.firmware)) == RangeSet(memory.regions) - memory.firmware


def test_pieces_of_memory_are_counted_together(monkeypatch):
    monkeypatch.setattr(system_module, "MOST_PIECES", 5)
    some = [memory_node(0, GIB), memory_node(2 * GIB, GIB)]
    blocks = [(number * 2 * GIB, ASSIGNED) for number in range(4, 7)]
    assert len(regions(*some, dynamic_v1(BLOCK, *blocks))) == 5
    with pytest.raises(FormatError, match="6 pieces of memory in a device tree, more than the 5 that are read"):
        regions(*some, dynamic_v1(BLOCK, *blocks, (20 * GIB, ASSIGNED)))

"""What a device tree says is not free."""

from fadump.memory.devicetree import DeviceTree, Node
from fadump.memory.ranges import Range, RangeSet
from fadump.memory.reserved import pairs, reserve, reserved


def test_ranges_are_added_to_those_that_are_there():
    tree = DeviceTree(Node(""), [], 0)
    reserve(tree, Range(0x10000, 0x30000))
    reserve(tree, Range(1 << 40, (1 << 40) + 0x1000))
    assert tree.root.cells("reserved-ranges") == (0, 0x10000, 0, 0x20000, 1 << 8, 0, 0, 0x1000)


def test_a_range_is_not_named_twice():
    tree = DeviceTree(Node(""), [], 0)
    for piece in (Range(0x10000, 0x30000), Range(0x40000, 0x50000), Range(0x10000, 0x30000)):
        reserve(tree, piece)
    assert tree.root.cells("reserved-ranges") == (0, 0x10000, 0, 0x20000, 0, 0x40000, 0, 0x10000)


def test_all_three_ways_to_reserve_count():
    node = Node("reserved-memory", {}, [Node("a", {"reg": bytes(7) + b"\x10" + bytes(6) + b"\x10\0"}), Node("b")])
    tree = DeviceTree(Node("", {}, [node]), [Range(0x100, 0x200)], 0)
    reserve(tree, Range(0x4000, 0x5000))
    assert reserved(tree) == RangeSet([Range(0x100, 0x200), Range(0x4000, 0x5000), Range(0x10, 0x1010)])


def test_half_a_pair_is_left_out():
    assert pairs(Node("", {"reg": bytes(15) + b"\x08" + bytes(15)}), "reg") == [Range(0, 8)]
    assert pairs(Node(""), "reg") == []


def test_a_range_ends_where_addresses_do():
    assert pairs(Node("", {"reg": bytes([255]) * 16}), "reg") == [Range(2**64 - 1, 2**64)]

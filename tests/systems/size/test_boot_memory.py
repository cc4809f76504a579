"""What a kernel is told of its boot memory, in the device tree of whoever boots it."""

import pytest

from fadump.firmware.contract import Trigger, TriggerKind
from fadump.firmware.pseries import PseriesFirmware
from fadump.memory.devicetree import DeviceTree, Node
from fadump.memory.ranges import Range, RangeSet
from fadump.systems.size.boot_memory import FirmwareWithBootMemory, TriedBootMemory

MIB = 1 << 20


class Describes:
    """A firmware as far as device trees go, which has preserved this boot memory or has no dump."""

    def __init__(self, boot_memory=None):
        self.preserved = None if boot_memory is None else Dump(boot_memory)

    def describe(self, tree):
        tree.root.properties["described"] = b"yes"


class Dump:
    def __init__(self, boot_memory):
        self.boot_memory = boot_memory


def handed(cmdline, tried, boot_memory=None):
    """The root and /chosen of a tree, as a kernel finds it."""
    chosen = Node("chosen", {} if cmdline is None else {"bootargs": cmdline.encode() + b"\0"})
    tree = DeviceTree(Node("", children=[chosen]))
    FirmwareWithBootMemory(Describes(boot_memory), tried).describe(tree)
    assert tree.root.properties["described"] == b"yes"
    return tree.root, chosen


@pytest.mark.parametrize(("before", "after"), [
    ("fadump=on crashkernel=1G root=/dev/vda2", "fadump=on root=/dev/vda2 crashkernel=384M"),
    ("quiet", "quiet crashkernel=384M"),
    ("crashkernel=2G-4G:320M,4G-:512M crashkernel=1G,high x=1", "x=1 crashkernel=384M"),
])  # fmt: skip
def test_the_command_line_has_this_crashkernel_and_no_other(before, after):
    _root, chosen = handed(before, TriedBootMemory(384 * MIB))
    assert chosen.properties["bootargs"] == after.encode() + b"\0"


@pytest.mark.parametrize("cmdline", [None, ""])
def test_a_tree_without_a_command_line_stays_as_it_is(cmdline):
    _root, chosen = handed(cmdline, TriedBootMemory(384 * MIB))
    assert chosen.properties.get("bootargs", b"\0") == b"\0"


def test_the_capture_kernel_finds_the_upper_end_of_its_boot_memory_reserved():
    tried = TriedBootMemory(320 * MIB, held_back_bytes=200 * MIB)
    assert tried.size_bytes == 120 * MIB
    root, _chosen = handed("x", tried, RangeSet([Range(0, 320 * MIB)]))
    assert root.properties["reserved-ranges"] == bytes.fromhex("0000000007800000 000000000c800000")


def test_what_is_held_back_reaches_over_a_hole():
    boot_memory = RangeSet([Range(0, 256 * MIB), Range(512 * MIB, 576 * MIB)])
    root, _chosen = handed("x", TriedBootMemory(320 * MIB, 80 * MIB), boot_memory)
    assert root.properties["reserved-ranges"] == bytes.fromhex(
        "0000000020000000 0000000004000000 000000000f000000 0000000001000000"
    )


def test_a_first_kernel_has_all_of_its_memory():
    root, _chosen = handed("x", TriedBootMemory(320 * MIB, 200 * MIB))
    assert "reserved-ranges" not in root.properties


def test_everything_else_is_the_firmware_s_own():
    own = PseriesFirmware()
    told = FirmwareWithBootMemory(own, TriedBootMemory(320 * MIB))
    assert (told.state, told.tokens, told.preserved) == (own.state, own.tokens, None)
    told.on_reset()
    with pytest.raises(Exception, match="registered"):
        told.preserve(Trigger(TriggerKind.PLATFORM, "", None), None, [])

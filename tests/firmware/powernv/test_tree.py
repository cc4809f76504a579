import copy
import struct

import pytest

from fadump.abi.powernv import cpu_data
from fadump.errors import FadumpError
from fadump.firmware.contract import State
from fadump.firmware.powernv import PowernvFirmware
from fadump.firmware.powernv.tree import find_platform
from fadump.memory.devicetree import DeviceTree, Node, encode_cells, encode_strings
from fadump.memory.ranges import Range
from tests.firmware.powernv.guest import (
    AREAS,
    CPU_DATA,
    DIMM,
    LOWER,
    OPAL,
    OPAL_COPY,
    PIRS,
    described_firmware,
    device_tree,
    dump_node,
    firmware_in,
    free,
    pair,
)
from tests.firmware.pseries.guest import guest_memory

MIB = 1 << 20
GIB = 1 << 30


def described(tree: DeviceTree, firmware: PowernvFirmware | None = None) -> Node:
    (firmware or PowernvFirmware()).describe(tree)
    node = tree.find("/ibm,opal/dump")
    assert node is not None
    return node


def test_the_first_kernel_is_offered_mpipl():
    node = described(device_tree())
    assert node.string("compatible") == "ibm,opal-dump"
    assert node.cells("fw-load-area") == (0, 0x2000_0000, 0, 0x0800_0000, 0, 0x2800_0000, 0, 0x0800_0000)
    assert "mpipl-boot" not in node.properties


def test_linux_takes_the_load_areas():
    """It refuses MPIPL if one of them ends above OPAL_FADUMP_MIN_BOOT_MEM."""
    areas = struct.unpack(">QQQQ", described(device_tree()).properties["fw-load-area"])
    assert max(areas[0] + areas[1], areas[2] + areas[3]) <= 0x3000_0000


def test_the_firmwares_areas_are_reserved_and_nothing_else_changes():
    tree = device_tree()
    described(tree)
    assert tree.root.properties.pop("reserved-ranges") == pair(AREAS)
    opal = tree.find("/ibm,opal")
    opal.children = [child for child in opal.children if child.name != "dump"]
    assert tree == device_tree()


def test_ranges_that_are_reserved_already_stay():
    tree = device_tree()
    tree.root.properties["reserved-ranges"] = pair(Range(0x1000, 0x2000))
    described(tree)
    assert tree.root.properties["reserved-ranges"] == pair(Range(0x1000, 0x2000)) + pair(AREAS)


def test_the_areas_are_whole_pages_one_behind_the_other():
    platform = find_platform(device_tree())
    assert (platform.metadata.start, platform.cpu_data.start, platform.opal_copy.start) == (
        AREAS.start,
        CPU_DATA,
        OPAL_COPY,
    )
    assert platform.areas == AREAS
    assert platform.metadata.end == platform.cpu_data.start
    assert platform.cpu_data.end == platform.opal_copy.start
    for area in (platform.metadata, platform.cpu_data, platform.opal_copy):
        assert area.start % 0x1_0000 == area.end % 0x1_0000 == 0
    assert platform.opal_copy.size_bytes >= OPAL.size_bytes
    assert platform.pirs == PIRS


def test_every_thread_of_the_tree_has_room():
    tree = device_tree()
    tree.find("/cpus/PowerPC,POWER9@0").properties["ibm,ppc-interrupt-server#s"] = encode_cells(*range(8, 208))
    platform = find_platform(tree)
    assert len(platform.pirs) == 202
    assert platform.cpu_data.size_bytes >= 202 * cpu_data.THREAD_BYTES
    assert platform.cpu_data.size_bytes > 0x1_0000


@pytest.mark.parametrize(
    ("reserve", "end"),
    [
        (lambda tree: tree.reservations.append(Range(0x7F_0000, 0x80_0000)), 0x7F_0000),
        (lambda tree: tree.root.properties.update({"reserved-ranges": pair(Range(0x7F_FFFF, 0x80_0000))}), 0x7F_0000),
        (
            lambda tree: tree.root.children.append(
                Node("reserved-memory", {}, [Node("ibm,homer", {"reg": pair(Range(0x7C_0000, 0x7E_0000))})])
            ),
            0x7C_0000,
        ),
        (
            lambda tree: tree.root.children.append(
                Node(
                    "chosen",
                    {
                        "linux,initrd-start": struct.pack(">Q", 0x70_0000),
                        "linux,initrd-end": struct.pack(">Q", 0x80_0000),
                    },
                )
            ),
            0x70_0000,
        ),
    ],
    ids=["memreserve", "reserved-ranges", "reserved-memory", "initrd"],
)
def test_the_areas_avoid_what_is_reserved(reserve, end):
    tree = device_tree()
    reserve(tree)
    assert find_platform(tree).areas == Range(end - AREAS.size_bytes, end)


def test_the_areas_lie_as_high_as_there_is_room():
    tree = device_tree()
    tree.reservations.append(Range(0x60_0000, 0x61_0000))
    assert find_platform(tree).areas == AREAS


def test_the_areas_lie_in_the_ram_that_opal_is_in_behind_it():
    opal = Range(DIMM.start, DIMM.start + 0x2_8000)
    assert find_platform(device_tree(opal)).areas == Range.sized(DIMM.end - AREAS.size_bytes, AREAS.size_bytes)


def test_memory_nodes_that_adjoin_are_one_piece():
    tree = device_tree(ram=[Range(0, 0x40_0000), Range(0x40_0000, 0x80_0000), DIMM])
    assert find_platform(tree).areas == AREAS


def test_without_its_properties_opal_is_skiboot_where_it_usually_is():
    tree = device_tree(ram=[Range(0, 4 * GIB)])
    opal = tree.find("/ibm,opal").properties
    del opal["opal-base-address"], opal["opal-runtime-size"]
    platform = find_platform(tree)
    stacks = 6 * 0x8000  # up to the highest PIR, which is 5
    assert platform.opal == Range.sized(0x3000_0000, 0x01C1_0000 + stacks)
    assert platform.areas.end == 4 * GIB


def test_the_areas_stay_where_they_were():
    firmware = described_firmware()
    later = device_tree()
    later.reservations.append(AREAS)
    described(later, firmware)
    assert later.root.properties["reserved-ranges"] == pair(AREAS)


def test_an_active_dump_is_presented_at_every_handover_until_it_is_freed():
    with guest_memory() as memory:
        firmware = firmware_in(State.ACTIVE, memory)
        for _boot in range(2):
            assert dump_node(firmware).properties["mpipl-boot"] == b""
            firmware.on_reset()
        free(firmware, memory)
        assert "mpipl-boot" not in dump_node(firmware).properties


def test_the_areas_are_reserved_in_the_capture_boot_too():
    with guest_memory() as memory:
        firmware = firmware_in(State.ACTIVE, memory)
    tree = device_tree()
    described(tree, firmware)
    assert tree.root.properties["reserved-ranges"] == pair(AREAS)


def test_mpipl_of_the_machines_own_is_replaced():
    """QEMU from 11.1 on has the node itself."""
    tree = device_tree()
    properties = {"compatible": encode_strings("ibm,opal-dump"), "mpipl-boot": bytes(8), "phandle": encode_cells(7)}
    tree.find("/ibm,opal").children.append(Node("dump", properties))
    node = described(tree)
    assert "mpipl-boot" not in node.properties
    assert node.cells("phandle") == (7,)
    assert [child.name for child in tree.find("/ibm,opal").children] == ["dump"]


def without_node(name):
    def change(tree):
        tree.root.children = [child for child in tree.root.children if child.name != name]

    return change


def without_cpus(tree):
    tree.find("/cpus").children = []


def full(tree):
    tree.reservations.append(Range(OPAL.end, LOWER.end))


def nearly_full(tree):
    tree.reservations.append(Range(OPAL.end + AREAS.size_bytes, LOWER.end))


def without_servers(tree):
    for cpu in tree.find("/cpus").children:
        cpu.properties.pop("ibm,ppc-interrupt-server#s", None)


def with_opal_size(value):
    def change(tree):
        tree.find("/ibm,opal").properties["opal-runtime-size"] = value

    return change


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (without_node("ibm,opal"), "has no /ibm,opal"),
        (without_node("cpus"), "no CPU"),
        (without_cpus, "no CPU"),
        (without_servers, "ibm,ppc-interrupt-server#s"),
        (without_node("memory@0"), "in no memory node"),
        (with_opal_size(struct.pack(">Q", 16 * MIB)), "in no memory node"),
        (full, "are free above OPAL's memory"),
        (nearly_full, "are free above OPAL's memory"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_tree_that_lacks_something_is_refused_in_a_sentence_and_unchanged(change, sentence):
    tree = device_tree()
    change(tree)
    before = copy.deepcopy(tree)
    firmware = PowernvFirmware()
    with pytest.raises(FadumpError, match=sentence) as error:
        firmware.describe(tree)
    assert "\n" not in str(error.value)
    assert tree == before


def test_a_later_tree_without_opal_is_refused():
    tree = device_tree()
    without_node("ibm,opal")(tree)
    before = copy.deepcopy(tree)
    with pytest.raises(FadumpError, match="has no /ibm,opal"):
        described_firmware().describe(tree)
    assert tree == before


def test_half_a_pair_is_no_range():
    tree = device_tree()
    tree.root.properties["reserved-ranges"] = pair(Range(0x7F_0000, 0x80_0000)) + b"half"
    assert find_platform(tree).areas.end == 0x7F_0000

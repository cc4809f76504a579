"""A kernel's device tree may say anything: its boot loader can have made it. It is taken or refused in words."""

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fadump.errors import FadumpError, MachineError
from fadump.firmware.powernv import PowernvFirmware
from fadump.firmware.pseries import PseriesFirmware
from fadump.machine.qemu.handover import TreePlace, read_tree, write_tree
from fadump.machine.qemu.phases import Boot
from fadump.machine.qemu.powernv import PowernvBoard
from fadump.machine.qemu.pseries import PseriesBoard, place_entry_page
from fadump.memory.devicetree import Node, encode_cells
from fadump.memory.guest import GuestMemory, Segment
from fadump.memory.ranges import Range, RangeSet
from tests.machine.qemu import test_handover, test_powernv

RAM_BYTES = 1 << 32
RAM = RangeSet([Range(0, RAM_BYTES)])
TREE_ADDRESS = 0x60_0000
ROOM_BYTES = 0x4000
numbers = st.sampled_from([0, 1, 0xFFF, 0x1000, 0x2FFF_0FF8, 1 << 31, 0xFFFF_F000, (1 << 32) - 1, (1 << 64) - 1])
values = st.one_of(
    st.binary(max_size=24),
    numbers.map(lambda number: number.to_bytes(8)),
    numbers.map(lambda number: (number & 0xFFFF_FFFF).to_bytes(4)),
    st.lists(numbers, max_size=4).map(lambda several: b"".join(number.to_bytes(8) for number in several)),
)


def pseries_tree():
    tree = test_handover.tree()
    tree.root.properties |= {"#address-cells": encode_cells(2), "#size-cells": encode_cells(2)}
    tree.root.children.append(Node("memory@0", {"reg": encode_cells(0, 0, 0, 1 << 31)}))
    tree.find("/rtas").properties["ibm,os-term"] = encode_cells(0x201F)
    return tree


def powernv_tree():
    tree = test_powernv.tree()
    tree.root.properties |= {"#address-cells": encode_cells(2), "#size-cells": encode_cells(2)}
    memory = {"device_type": b"memory\0", "reg": encode_cells(0, 0, 1, 0)}
    tree.root.children.append(Node("memory@0", memory))
    return tree


@pytest.fixture(scope="module")
def memory():
    fd = os.memfd_create("ram")
    os.ftruncate(fd, 1 << 32)
    with GuestMemory([Segment(Range(0, 1 << 32), fd, 0)]) as memory:
        os.close(fd)
        yield memory


@pytest.fixture(scope="module")
def kernel(tmp_path_factory):
    path = tmp_path_factory.mktemp("kernel") / "vmlinux"
    path.write_bytes(test_powernv.elf())
    return path


def damaged(draw, tree):
    """The tree with up to three properties or nodes changed or gone."""
    for _change in range(draw(st.integers(1, 3))):
        node = draw(st.sampled_from([node for node in tree.root.walk() if node.properties or node.children]))
        if node.children and draw(st.integers(0, 4)) == 0:
            node.children.pop(draw(st.integers(0, len(node.children) - 1)))
        elif node.properties:
            name = draw(st.sampled_from(sorted(node.properties)))
            node.properties[name] = draw(values)
            if draw(st.integers(0, 4)) == 0:
                del node.properties[name]
    return tree


def hand_over(memory, board, firmware, tree):
    """As a machine and its session do; what it writes lies in RAM."""
    memory.write(TREE_ADDRESS, tree.encode().ljust(ROOM_BYTES, b"\0"))
    found, _place = read_tree(memory, TREE_ADDRESS)
    place = TreePlace(TREE_ADDRESS, ROOM_BYTES)
    board.cpu_ids(found, [0, 1, 8, 9])
    firmware.describe(found)
    prepared = board.prepare(found, place, memory.ram, firmware.tokens, reserve=True)
    write_tree(memory, found, prepared.tree_place)
    code = Range.sized(prepared.page.address, len(prepared.page.code))
    assert any(piece.contains(code) for piece in memory.ram)


addresses = st.integers(0, 2**64 - 1) | st.integers(RAM_BYTES - 0x1000, RAM_BYTES + 0x10) | st.just(TREE_ADDRESS)
sizes = st.sampled_from([0, 0x27, 0x28, 0x1000, 16 << 20, (16 << 20) + 1, 1 << 31, (1 << 32) - 1])


@given(addresses, sizes | st.none(), st.binary(max_size=64))
def test_a_tree_that_is_said_to_lie_anywhere_is_read_and_written_in_ram_or_refused(memory, address, size, content):
    blob = bytearray(pseries_tree().encode())
    if size is not None:
        blob[4:8] = size.to_bytes(4)  # totalsize
    if address < RAM_BYTES:
        memory.write(address, bytes(blob[: RAM_BYTES - address]))
    try:
        tree, place = read_tree(memory, address)
        assert any(piece.contains(place.range) for piece in memory.ram)
        tree.root.properties["more"] = content
        after = memory.read(place.range.end, min(8, RAM_BYTES - place.range.end))
        write_tree(memory, tree, place)
        assert read_tree(memory, address)[0].root.properties["more"] == content
        assert memory.read(place.range.end, len(after)) == after
    except FadumpError as error:
        assert str(error)


@given(st.data())
def test_on_pseries(memory, data):
    try:
        hand_over(memory, PseriesBoard(), PseriesFirmware(), damaged(data.draw, pseries_tree()))
    except FadumpError as error:
        assert str(error)


@given(st.data())
def test_on_powernv(memory, kernel, data):
    try:
        hand_over(memory, PowernvBoard(kernel), PowernvFirmware(), damaged(data.draw, powernv_tree()))
    except FadumpError as error:
        assert str(error)


def test_what_is_not_damaged_is_taken(memory, kernel):
    hand_over(memory, PseriesBoard(), PseriesFirmware(), pseries_tree())
    hand_over(memory, PowernvBoard(kernel), PowernvFirmware(), powernv_tree())


def test_an_opal_whose_entry_has_no_address_is_refused(kernel):
    tree = powernv_tree()
    tree.find("/ibm,opal").properties["opal-entry-address"] = bytes([1]) + bytes(8)
    with pytest.raises(MachineError, match="OPAL can't have its entry at 0x10000000000000000"):
        PowernvBoard(kernel).prepare(tree, TreePlace(TREE_ADDRESS, ROOM_BYTES), RAM, {1}, reserve=True)


def test_a_call_by_a_cpu_that_the_tree_left_out_is_refused():
    boot = Boot(1, {"p01.01": 8}, ())
    assert boot.cpu_id("p01.01") == 8
    with pytest.raises(MachineError, match=r"CPU p01\.02 calls the firmware, and is not in the kernel's device tree"):
        boot.cpu_id("p01.02")


@pytest.mark.parametrize(
    ("name", "value", "why"),
    [
        ("linux,rtas-base", b"", "/rtas has no number in linux,rtas-base"),
        ("linux,rtas-entry", encode_cells(0x1000_0000), "no branch reaches"),
        ("linux,rtas-base", encode_cells(0xFFFF_F000), "RTAS at 0xfffff000 is not in memory"),
        ("rtas-size", encode_cells(0xFFFF_F000), "RTAS at 0x2fff0000 is not in memory"),
    ],
)
def test_an_rtas_that_can_not_be_is_refused(name, value, why):
    tree = pseries_tree()
    tree.find("/rtas").properties[name] = value
    with pytest.raises(MachineError, match=why):
        place_entry_page(tree, {1}, RangeSet([Range(0, 1 << 31)]))

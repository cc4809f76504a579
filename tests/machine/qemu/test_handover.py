"""What the machine adds to a kernel's device tree, on trees shaped like those of SLOF and prom_init."""

import os
import struct

import pytest

from fadump.errors import FormatError, MachineError
from fadump.machine.qemu.handover import TreePlace, read_tree, write_tree
from fadump.machine.qemu.pseries import PseriesBoard, loaded_images, place_entry_page
from fadump.memory.devicetree import DeviceTree, Node, encode_cells
from fadump.memory.guest import GuestMemory, Segment
from fadump.memory.ranges import Range, RangeSet

BASE = 0x2FFF_0000
RAM = RangeSet([Range(0, 0x4000_0000)])


def tree(rtas_size=0x83C, entry=BASE):
    rtas = {
        "linux,rtas-base": encode_cells(BASE),
        "linux,rtas-entry": encode_cells(entry),
        "rtas-size": encode_cells(rtas_size),
    }
    chosen = {
        "linux,initrd-start": struct.pack(">Q", 0x100_0000),
        "linux,initrd-end": struct.pack(">Q", 0x110_0001),
        "qemu,boot-kernel": struct.pack(">QQ", 0x40_0000, 0xB6_0000),
    }
    cpus = [
        Node(
            f"PowerPC,POWER9@{server}", {"device_type": b"cpu\0", "ibm,ppc-interrupt-server#s": encode_cells(*threads)}
        )
        for server, threads in ((0, (0, 1)), (8, (8, 9)))
    ]
    return DeviceTree(
        Node("", {}, [Node("rtas", rtas), Node("chosen", chosen), Node("cpus", {}, [*cpus, Node("l2-cache")])]), [], 0
    )


@pytest.fixture
def memory():
    fd = os.memfd_create("ram")
    os.ftruncate(fd, 0x100000)
    with GuestMemory([Segment(Range(0, 0x100000), fd, 0)]) as memory:
        os.close(fd)
        yield memory


def test_the_entry_page_follows_rtas_in_its_last_page_and_linux_is_led_there():
    edited = tree()
    page, pages = place_entry_page(edited, {0x202D}, RAM)
    rtas = edited.find("/rtas")
    assert BASE + 0x83C <= page.address < BASE + 0x1000
    assert rtas.cells("linux,rtas-entry") == (page.address,)
    assert rtas.cells("linux,rtas-base") == (BASE,)
    assert rtas.cells("rtas-size") == (page.address + len(page.code) - BASE,)
    assert pages == Range(BASE, BASE + 0x10000)


def test_whole_pages_are_reserved_whatever_their_size():
    # A kernel with 4K pages has RTAS in the last 4 KiB below 768 MiB; one with 64K pages would free a part page.
    edited = tree()
    edited.find("/rtas").properties["linux,rtas-base"] = encode_cells(BASE + 0xF000)
    edited.find("/rtas").properties["linux,rtas-entry"] = encode_cells(BASE + 0xF000)
    assert place_entry_page(edited, {1}, RAM)[1] == Range(BASE, BASE + 0x10000)


def test_a_full_last_page_is_an_error_not_an_overlap():
    with pytest.raises(MachineError, match="no room for the entry page between RTAS's end 0x2fff0ff8 and 0x2fff1000"):
        place_entry_page(tree(rtas_size=0xFF8), {0x202D}, RAM)


def test_a_tree_without_rtas_is_an_error():
    with pytest.raises(MachineError, match="no instantiated RTAS"):
        place_entry_page(DeviceTree(Node(""), [], 0), {1}, RAM)


def test_kernel_and_initrd_are_live():
    images = RangeSet([Range(0x40_0000, 0xF6_0000), Range(0x100_0000, 0x110_0001)])
    assert loaded_images(tree()) == images
    place = TreePlace(0x200_0000, 0x1_0000)
    prepared = PseriesBoard().prepare(tree(), place, RAM, {1}, reserve=True)
    assert prepared.images == images
    assert prepared.live == images | RangeSet([place.range, Range(BASE, BASE + 0x1_0000)])


def test_linux_numbers_threads_in_the_order_of_the_tree():
    assert PseriesBoard().cpu_ids(tree(), [8, 8, 0, 0, 16]) == [2, 3, 0, 1, None]


def test_a_tree_is_written_back_into_its_own_room(memory):
    blob = tree().encode()
    padded = blob[:4] + struct.pack(">I", 0x4000) + blob[8:]
    memory.write(0x8000, padded.ljust(0x4000, b"\0"))
    edited, place = read_tree(memory, 0x8000)
    assert place.range == Range(0x8000, 0xC000)
    edited.root.properties["added"] = b"1"
    write_tree(memory, edited, place)
    assert read_tree(memory, 0x8000)[0].root.properties["added"] == b"1"


def test_a_tree_that_outgrew_its_room_is_not_written(memory):
    blob = tree().encode()
    memory.write(0x8000, blob)
    edited, place = read_tree(memory, 0x8000)
    edited.root.properties["added"] = bytes(64)
    with pytest.raises(MachineError, match="the device tree needs"):
        write_tree(memory, edited, place)
    assert memory.read(0x8000, len(blob)) == blob


def test_what_is_no_tree_is_refused(memory):
    with pytest.raises(FormatError):
        read_tree(memory, 0x8000)
    memory.write(0x8000, struct.pack(">II", 0xD00DFEED, 0xFFFF_FFFF))
    with pytest.raises((FormatError, MachineError)):
        read_tree(memory, 0x8000)

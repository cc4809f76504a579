"""What a powernv machine adds to a kernel's device tree, on trees shaped like skiboot's."""

import os
import struct

import pytest

from fadump.errors import MachineError, SetupError
from fadump.machine.contract import FirmwareMemory
from fadump.machine.qemu.handover import TreePlace
from fadump.machine.qemu.powernv import MOST_KERNEL_BYTES, PowernvBoard
from fadump.memory.devicetree import DeviceTree, Node, encode_cells
from fadump.memory.guest import GuestMemory, Segment
from fadump.memory.ranges import Range, RangeSet
from fadump.memory.reserved import reserve

RAM = RangeSet([Range(0, 1 << 32)])
CODE = Range(0x3000_0000, 0x3060_0000)
ALLOCATED = Range(0x31C5_0000, 0x32C2_0000)
FOUND = TreePlace(0x3060_8000, 0x1_2345)
TOKENS = {116, 173}


def elf(entry=0xC000_0000_0000_0010, order="<", kind=1):
    """A file whose one segment is 0x100 bytes from 0x1000 on, at 0xc000000000000000."""
    ident = b"\x7fELF\x02" + (b"\1" if order == "<" else b"\2") + bytes(10)
    header = struct.pack(f"{order}HHIQQQIHHHHHH", 2, 21, 1, entry, 0x40, 0, 0, 0x40, 0x38, 1, 0, 0, 0)
    segment = struct.pack(f"{order}IIQQQQQQ", kind, 5, 0x1000, 0xC000_0000_0000_0000, 0, 0x100, 0x100, 0x1000)
    return (ident + header + segment).ljust(0x1100, b"\0")


@pytest.fixture
def kernel(tmp_path):
    path = tmp_path / "vmlinux"
    path.write_bytes(elf())
    return path


def tree():
    opal = {
        "opal-base-address": struct.pack(">Q", CODE.start),
        "opal-entry-address": struct.pack(">Q", 0x3000_3760),
        "opal-runtime-size": struct.pack(">Q", 0x1C5_0000),
    }
    reserved = [
        Node(f"ibm,{name}@{piece.start:x}", {"reg": struct.pack(">QQ", piece.start, piece.size_bytes)})
        for name, piece in (("firmware-code", CODE), ("firmware-allocs-memory", ALLOCATED))
    ]
    chosen = {f"linux,initrd-{end}": struct.pack(">Q", 0x2800_0000 + n) for end, n in (("start", 0), ("end", 77))}
    cpus = [
        Node(f"cpu@{pir:x}", {"device_type": b"cpu\0", "ibm,ppc-interrupt-server#s": encode_cells(pir, pir + 1)})
        for pir in (8, 4)
    ]
    nodes = [
        Node("chosen", chosen), Node("cpus", {}, cpus), Node("ibm,opal", opal), Node("reserved-memory", {}, reserved),
    ]  # fmt: skip
    return DeviceTree(Node("", {}, nodes), [], 0)


SYMBOLS = b"""0000000000000000 T __head
00000000000000f8 T attn_trigger
00000000000800d8 T .p9_sbe_terminate
000000000017c9f8 D p9_sbe_terminate
"""
LISTED = CODE.start + 0x1D_5AD0


@pytest.fixture
def memory():
    """Guest memory with skiboot's list of symbols."""
    fd = os.memfd_create("ram")
    os.ftruncate(fd, 1 << 30)
    with GuestMemory([Segment(Range(0, 1 << 30), fd, 0)]) as memory:
        memory.write(LISTED, SYMBOLS)
        yield memory
    os.close(fd)


def prepare(board, edited, *, reserve=True):
    return board.prepare(edited, FOUND, RAM, TOKENS, reserve=reserve)


@pytest.mark.parametrize("order", "<>")
def test_the_kernels_entry_is_where_its_file_has_it(tmp_path, order):
    path = tmp_path / "vmlinux"
    path.write_bytes(elf(order=order))
    assert PowernvBoard(path).kernel_entry.address == 0x2000_1010


@pytest.mark.parametrize(
    "content", [b"", b"\x7fELF", bytes(0x100), elf(entry=0x100), elf(kind=2), elf()[:0x60]], ids=range(6)
)
def test_a_kernel_that_is_none_is_refused(tmp_path, content):
    path = tmp_path / "vmlinux"
    path.write_bytes(content)
    with pytest.raises(SetupError, match="powernv needs a vmlinux"):
        PowernvBoard(path)


def test_a_kernel_that_qemu_would_not_load_is_refused_with_what_to_do(tmp_path):
    path = tmp_path / "vmlinux"
    path.write_bytes(elf())
    os.truncate(path, MOST_KERNEL_BYTES)
    PowernvBoard(path)
    os.truncate(path, MOST_KERNEL_BYTES + 1)
    with pytest.raises(SetupError, match=r"has 128\.0 MiB, and .*strip"):
        PowernvBoard(path)


def test_the_entry_page_and_the_tree_lie_behind_skiboots_memory_and_are_reserved(kernel):
    edited = tree()
    prepared = prepare(PowernvBoard(kernel), edited)
    start = prepared.page.address
    assert start >= ALLOCATED.end and start % 0x10000 == 0
    assert prepared.tree_place.range.end == 0x3300_0000  # what follows is aligned for CMA
    assert edited.find("/ibm,opal").value("opal-entry-address") == struct.pack(">Q", start)
    assert prepared.tree_place.address == start + 0x10000
    assert prepared.tree_place.room_bytes >= FOUND.room_bytes + 0x10000
    (reserved,) = struct.iter_unpack(">QQ", edited.root.value("reserved-ranges"))
    assert reserved == (start, prepared.tree_place.range.end - start)


def test_on_every_boot_they_lie_at_the_same_place(kernel):
    board = PowernvBoard(kernel)
    first = prepare(board, tree())
    later = tree()
    reserve(later, first.tree_place.range)  # a firmware that has found the place free meanwhile
    assert prepare(board, later).page == first.page


def test_what_is_live_and_what_no_dump_can_show(kernel):
    edited = tree()
    ours = Range(0xF000_0000, 0xF100_0000)
    reserve(edited, ours)
    prepared = prepare(PowernvBoard(kernel), edited)
    own = Range(prepared.page.address, prepared.tree_place.range.end)
    assert prepared.live == RangeSet(
        [CODE, ALLOCATED, FOUND.range, own, Range(0x2000_0000, 0x2000_1100), Range(0x2800_0000, 0x2800_004D)]
    )
    assert prepared.images == RangeSet([Range(0x2000_0000, 0x2000_1100), Range(0x2800_0000, 0x2800_004D)])
    assert prepared.firmware_memory == [
        FirmwareMemory(CODE, "ibm,firmware-code@30000000"),
        FirmwareMemory(ALLOCATED, "ibm,firmware-allocs-memory@31c50000"),
        FirmwareMemory(own, "reserved-ranges"),
        FirmwareMemory(ours, "reserved-ranges"),
    ]


def test_without_reserving_nothing_is_named(kernel):
    edited = tree()
    prepare(PowernvBoard(kernel), edited, reserve=False)
    assert "reserved-ranges" not in edited.root.properties


def test_cpus_are_named_by_their_pir_in_ascending_order(kernel):
    board = PowernvBoard(kernel)
    assert board.cpu_ids(tree(), [None] * 4) == [4, 5, 8, 9]
    with pytest.raises(MachineError, match="skiboot has found 4 CPUs, QEMU has 3"):
        board.cpu_ids(tree(), [None] * 3)


def test_no_room_behind_skiboot_is_told(kernel):
    with pytest.raises(MachineError, match="no memory above skiboot's end 0x31c50000"):
        PowernvBoard(kernel).prepare(tree(), FOUND, RangeSet([Range(0, 0x32C2_0000)]), TOKENS, reserve=True)


def test_a_machine_without_opal_is_told(kernel):
    with pytest.raises(MachineError, match="has no OPAL"):
        prepare(PowernvBoard(kernel), DeviceTree(Node("", {}, []), [], 0))


def own_end(kernel, memory, *listed):
    edited = tree()
    edited.node("/ibm,opal", "").children.append(
        Node("firmware", {"symbol-map": struct.pack(f">{len(listed)}Q", *listed)})
    )
    return PowernvBoard(kernel).own_end(edited, memory)


def test_skiboot_ends_where_its_symbols_say(kernel, memory):
    end = own_end(kernel, memory, LISTED, len(SYMBOLS))
    assert (end.address, end.switch, end.failure) == (CODE.start + 0x800D8, CODE.start + 0xF8, b"\xde\xad\xbe\xef")


@pytest.mark.parametrize(
    "listed", [(), (LISTED,), (LISTED, 40), (1 << 30, 100), (LISTED, 1 << 63), ((1 << 64) - 1, 1 << 40), (0, 1 << 29)]
)
def test_of_a_skiboot_that_lists_no_symbols_no_end_is_known(kernel, memory, listed):
    assert own_end(kernel, memory, *listed) is None
    assert PowernvBoard(kernel).own_end(tree(), memory) is None

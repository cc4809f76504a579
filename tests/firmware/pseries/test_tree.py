import copy
import struct

import pytest

from fadump.abi.pseries.register_save_area import area_bytes
from fadump.errors import FadumpError
from fadump.firmware.contract import State
from fadump.firmware.pseries import PseriesFirmware
from fadump.memory.devicetree import DeviceTree, encode_cells
from tests.firmware.pseries.guest import (
    BOOT_COPY,
    CONFIGURE_TOKEN,
    CPU_STATE_BYTES,
    OS_TERM_TOKEN,
    OTHER_TOKEN,
    REGISTERS_PER_CPU,
    crash,
    described_firmware,
    device_tree,
    firmware_in,
    guest_memory,
)


def described(tree: DeviceTree, firmware: PseriesFirmware | None = None):
    (firmware or PseriesFirmware(REGISTERS_PER_CPU)).describe(tree)
    rtas = tree.find("/rtas")
    assert rtas is not None
    return rtas


def cpu_state_bytes(rtas):
    type_, size_bytes, *_hpte = struct.unpack(">IQIQ", rtas.properties["ibm,configure-kernel-dump-sizes"])
    assert type_ == 1
    return size_bytes


def test_the_first_kernel_is_offered_the_call():
    rtas = described(device_tree())
    assert rtas.cells("ibm,configure-kernel-dump") == (CONFIGURE_TOKEN,)
    sizes = struct.pack(">IQIQ", 1, CPU_STATE_BYTES, 2, 0)
    assert rtas.properties["ibm,configure-kernel-dump-sizes"] == sizes
    assert rtas.properties["ibm,configure-kernel-dump-version"] == b"\0\1\0\1"
    assert "ibm,kernel-dump" not in rtas.properties


def test_nothing_else_changes_in_the_tree():
    tree = device_tree()
    described(tree)
    rtas = tree.find("/rtas")
    for name in [name for name in rtas.properties if "kernel-dump" in name]:
        del rtas.properties[name]
    assert tree == device_tree()


def test_the_token_is_above_every_other_and_no_address_counts():
    tree = device_tree()
    tree.find("/rtas").properties["display-character"] = encode_cells(0x3000)
    tree.find("/rtas").properties["slof,rtas-base"] = encode_cells(0x2FFF_0000)  # as in a tree that prom_init has made
    assert described(tree).cells("ibm,configure-kernel-dump") == (0x3001,)


def test_a_firmware_of_its_own_is_replaced():
    """QEMU from 10.2 on has the call itself."""
    tree = device_tree()
    tree.find("/rtas").properties["ibm,configure-kernel-dump"] = encode_cells(CONFIGURE_TOKEN)
    firmware = PseriesFirmware()
    assert described(tree, firmware).cells("ibm,configure-kernel-dump") == (CONFIGURE_TOKEN,)
    assert firmware.tokens == {CONFIGURE_TOKEN, OS_TERM_TOKEN}


@pytest.mark.parametrize(
    ("threads_per_core", "max_cores", "cpus"),
    [(1, 2, 2), (2, 4, 8), (8, 1, 8), (4, None, 4), (2, 0, 2)],
    ids=["cores", "SMT2", "SMT8", "nothing to plug", "more there than allowed"],
)
def test_cpus_are_counted_as_threads_that_can_ever_be_plugged(threads_per_core, max_cores, cpus):
    rtas = described(device_tree(threads_per_core, max_cores))
    assert cpu_state_bytes(rtas) == area_bytes(cpus, REGISTERS_PER_CPU)


def test_tokens_and_sizes_are_the_same_on_every_boot():
    firmware = described_firmware()
    hotplugged = device_tree(max_cores=64)
    hotplugged.find("/rtas").properties["ibm,new-call"] = encode_cells(0x9000)
    rtas = described(hotplugged, firmware)
    assert cpu_state_bytes(rtas) == CPU_STATE_BYTES
    assert rtas.cells("ibm,configure-kernel-dump") == (CONFIGURE_TOKEN,)
    assert firmware.tokens == {CONFIGURE_TOKEN, OS_TERM_TOKEN}


def test_an_active_dump_is_presented_at_every_handover():
    with guest_memory() as memory:
        firmware = firmware_in(State.REGISTERED, memory)
        dump = crash(firmware, memory)
    for _boot in range(2):
        assert described(device_tree(), firmware).properties["ibm,kernel-dump"] == dump.structure
        firmware.on_reset()


def test_the_page_that_linux_would_free_with_its_next_header_is_reserved_while_a_dump_is_active():
    tree = device_tree()
    tree.root.properties["reserved-ranges"] = encode_cells(0, 0x1000, 0, 0x1000)
    with guest_memory() as memory:
        firmware = firmware_in(State.REGISTERED, memory)
        described(tree, firmware)
        assert tree.root.cells("reserved-ranges") == (0, 0x1000, 0, 0x1000)
        crash(firmware, memory)
    described(tree, firmware)
    page = (BOOT_COPY.destination + BOOT_COPY.requested_bytes) // 0x10000 * 0x10000
    assert tree.root.cells("reserved-ranges") == (0, 0x1000, 0, 0x1000, 0, page, 0, 0x10000)


def test_a_strict_firmware_reserves_nothing_that_lopar_does_not_ask_for():
    tree = device_tree()
    with guest_memory() as memory:
        firmware = firmware_in(State.REGISTERED, memory, strict=True)
        crash(firmware, memory)
    described(tree, firmware)
    assert "reserved-ranges" not in tree.root.properties
    assert "ibm,kernel-dump" in tree.find("/rtas").properties


def test_a_stale_dump_is_taken_out():
    tree = device_tree()
    tree.find("/rtas").properties["ibm,kernel-dump"] = b"of another firmware"
    assert "ibm,kernel-dump" not in described(tree).properties


def without(node, name):
    def change(tree):
        del tree.find(node).properties[name]

    return change


def with_value(node, name, value):
    def change(tree):
        tree.find(node).properties[name] = value

    return change


def without_node(name):
    def change(tree):
        tree.root.children = [child for child in tree.root.children if child.name != name]

    return change


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (without_node("rtas"), "has no /rtas"),
        (without("/rtas", "ibm,os-term"), "has no ibm,os-term"),
        (with_value("/rtas", "ibm,os-term", b""), "ibm,os-term of rtas has 0 cells"),
        (with_value("/rtas", "ibm,os-term", b"abc"), "ibm,os-term"),
        (with_value("/rtas", "ibm,last", encode_cells(0xFFFF_FFFE)), "no RTAS token is left"),
        (with_value("/rtas", "ibm,lrdr-capacity", b"abc"), "ibm,lrdr-capacity"),
        (without_node("memory@0"), "has no /memory@0"),
        (without("/memory@0", "reg"), "has no property reg"),
        (with_value("/memory@0", "reg", encode_cells(0, 0)), "reg of memory@0 has 2 cells"),
        (without("/", "#size-cells"), "#size-cells"),
        (without_node("cpus"), "has no /cpus"),
        (without("/cpus/PowerPC,POWER9@0", "device_type"), "no CPU"),
        (without("/cpus/PowerPC,POWER9@0", "ibm,ppc-interrupt-server#s"), "ibm,ppc-interrupt-server#s"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_tree_that_lacks_something_is_refused_in_a_sentence_and_unchanged(change, sentence):
    tree = device_tree()
    change(tree)
    before = copy.deepcopy(tree)
    firmware = PseriesFirmware()
    with pytest.raises(FadumpError, match=sentence) as error:
        firmware.describe(tree)
    assert "\n" not in str(error.value)
    assert tree == before
    assert firmware.tokens == frozenset()


def test_the_tokens_are_those_of_the_tree():
    assert described_firmware().tokens == {OS_TERM_TOKEN, CONFIGURE_TOKEN}
    assert OTHER_TOKEN not in described_firmware().tokens

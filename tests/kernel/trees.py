"""Device trees for the model's tests, as PowerVM, QEMU and skiboot make them."""

import struct

from fadump.memory.devicetree import DeviceTree, Node, encode_cells, encode_strings
from fadump.memory.ranges import Range

ASSIGNED, RESERVED, HOT_REMOVABLE = 0x08, 0x80, 0x100


def write_directory(directory, node):
    """A node as Linux shows it in /proc/device-tree."""
    directory.mkdir()
    for name, value in node.properties.items():
        (directory / name).write_bytes(value)
    for child in node.children:
        write_directory(directory / child.name, child)


def memory_node(start, size_bytes):
    return Node(f"memory@{start:x}", {"device_type": encode_strings("memory"), "reg": pairs((start, size_bytes))})


def pairs(*ranges):
    return b"".join(struct.pack(">QQ", *pair) for pair in ranges)


def dynamic_v1(block_bytes, *blocks):
    """Blocks (start, flags)."""
    cells = [len(blocks)]
    for start, flags in blocks:
        cells += [start >> 32, start & 0xFFFFFFFF, 0x80000000, 0, 0, flags]
    return _dynamic("ibm,dynamic-memory", block_bytes, cells)


def dynamic_v2(block_bytes, *runs):
    """Runs (count, start, flags)."""
    cells = [len(runs)]
    for count, start, flags in runs:
        cells += [count, start >> 32, start & 0xFFFFFFFF, 0x80000000, 0, flags]
    return _dynamic("ibm,dynamic-memory-v2", block_bytes, cells)


def _dynamic(name, block_bytes, cells):
    values = {"ibm,lmb-size": struct.pack(">Q", block_bytes), name: encode_cells(*cells)}
    return Node("ibm,dynamic-reconfiguration-memory", values)


def guest_tree(*memory, cpu_state_bytes=0x2980, hpte_bytes=0, radix=True, cmdline="fadump=on"):
    """A guest whose firmware offers FADump, with RTAS in reserved-ranges and an initrd."""
    vector = bytearray(26)
    vector[24] = 0x40 if radix else 0
    chosen = {
        "bootargs": encode_strings(cmdline),
        "ibm,architecture-vec-5": bytes(vector),
        "linux,initrd-start": struct.pack(">Q", 0x7FF00000),
        "linux,initrd-end": struct.pack(">Q", 0x80000000),
    }
    rtas = {
        "ibm,configure-kernel-dump": encode_cells(0x2030),
        "ibm,configure-kernel-dump-sizes": struct.pack(">IQIQ", 1, cpu_state_bytes, 2, hpte_bytes),
    }
    root = {
        "#address-cells": encode_cells(2),
        "#size-cells": encode_cells(2),
        "reserved-ranges": pairs((0x2FFF0000, 0x10000), (0x1000, 0)),
    }
    children = [Node("chosen", chosen), Node("rtas", rtas), *(memory or [memory_node(0, 2 << 30)])]
    return DeviceTree(Node("", root, children), [Range(0x7F200000, 0x7F300000)])


def opal_tree(*, dump=True, radix=True):
    """A powernv machine with 4 GiB."""
    root = {"#address-cells": encode_cells(2), "#size-cells": encode_cells(2)}
    root["reserved-ranges"] = pairs((0x30000000, 0x2000000))
    opal = Node("ibm,opal", {}, [Node("dump", {"compatible": encode_strings("ibm,opal-dump")})] if dump else [])
    cpu = Node("PowerPC,POWER9@0", {"ibm,mmu-pid-bits": encode_cells(20)} if radix else {})
    reserved = Node("reserved-memory", {"#address-cells": encode_cells(2), "#size-cells": encode_cells(2)})
    reserved.children.append(Node("ibm,hbrt@31c00000", {"reg": pairs((0x31C00000, 0x100000))}))
    children = [opal, Node("cpus", {}, [cpu]), reserved, memory_node(0, 4 << 30)]
    return DeviceTree(Node("", root, children))

"""The device trees that the embedded machine hands over, as boot firmware leaves them on QEMU.

Step "handover" of docs/architecture.md. Specification: LoPAR, "RTAS" and "CPU" properties; skiboot, doc/device-tree.
All memory is in ``memory`` nodes: QEMU lists DIMMs in ``/ibm,dynamic-reconfiguration-memory`` instead.
"""

import struct
from collections.abc import Sequence

from fadump.abi.platform import Platform
from fadump.abi.powernv import hdat
from fadump.abi.pseries import rtas
from fadump.abi.pseries.vector_5 import PROPERTY, RADIX, RADIX_BYTE
from fadump.machine.contract import FirmwareMemory
from fadump.machine.embedded.config import EmbeddedConfig
from fadump.memory.devicetree import DeviceTree, Node, encode_cells, encode_strings
from fadump.memory.ranges import Range
from fadump.memory.reserved import encode_pairs

RTAS = Range(0x2FFF_0000, 0x3000_0000)
"""Where prom_init puts RTAS if the real mode area has 768 MiB; it is named in reserved-ranges."""
TREE_ADDRESS = 0x0380_0000
"""In boot memory, which a capture kernel may use, whatever its size."""
TREE_BYTES = 0x10_0000

_OS_TERM_TOKEN = 0x201F
_OTHER_TOKENS = {"event-scan": 0x2001, "system-reboot": 0x2007, "power-off": 0x2004, "set-indicator": 0x202C}
_LEVELS = 1
"""How many numbers an associativity has; the NUMA node is the last, as on QEMU's machines."""
_VECTOR_BYTES = 26


def build_tree(config: EmbeddedConfig) -> DeviceTree:
    """A tree without anything of FADump's."""
    root = Node(
        "",
        {
            "#address-cells": encode_cells(2),
            "#size-cells": encode_cells(2),
            "model": encode_strings("fadump embedded machine"),
            "reserved-ranges": encode_pairs(area.range for area in firmware_memory(config)),
        },
    )
    chosen = {"bootargs": encode_strings(config.cmdline)}
    root.children = [Node("chosen", chosen), _cpus(config), *_memory(config)]
    if config.platform is Platform.PSERIES:
        vector = bytearray(_VECTOR_BYTES)
        vector[RADIX_BYTE] = RADIX if config.radix else 0
        chosen[PROPERTY] = bytes(vector)
        root.children.append(Node("rtas", _rtas(config)))
    else:
        root.children.append(Node("ibm,opal", _opal(config)))
        reserved = Node("reserved-memory", {"#address-cells": encode_cells(2), "#size-cells": encode_cells(2)})
        for area in firmware_memory(config):
            name = f"{area.name}@{area.range.start:x}"
            reserved.children.append(Node(name, {"reg": encode_pairs([area.range])}))
        root.children.append(reserved)
    return DeviceTree(root, [Range.sized(TREE_ADDRESS, TREE_BYTES)], config.cpu_ids[0])


def firmware_memory(config: EmbeddedConfig) -> Sequence[FirmwareMemory]:
    """What the machine's firmware uses while a kernel runs."""
    if config.platform is Platform.PSERIES:
        return (FirmwareMemory(RTAS, "rtas"),)
    opal, allocated = hdat.skiboot_memory(max(config.cpu_ids))
    return (FirmwareMemory(opal, "ibm,firmware-code"), FirmwareMemory(allocated, "ibm,firmware-allocs-memory"))


def _cpus(config: EmbeddedConfig) -> Node:
    nodes = []
    ids = config.cpu_ids
    for core in range(0, len(ids), config.smt):
        threads = ids[core : core + config.smt]
        properties = {
            "device_type": encode_strings("cpu"),
            "reg": encode_cells(threads[0]),
            "ibm,ppc-interrupt-server#s": encode_cells(*threads),
        }
        if config.platform is Platform.POWERNV and config.radix:
            properties["ibm,mmu-pid-bits"] = encode_cells(20)
        nodes.append(Node(f"PowerPC,POWER9@{threads[0]:x}", properties))
    return Node("cpus", {"#address-cells": encode_cells(1), "#size-cells": encode_cells(0)}, nodes)


def _memory(config: EmbeddedConfig) -> list[Node]:
    nodes = []
    for number, piece in enumerate(config.memory):
        properties = {
            "device_type": encode_strings("memory"),
            "reg": encode_pairs([piece]),
            "ibm,associativity": encode_cells(_LEVELS, number if number < config.nodes else 0),
        }
        nodes.append(Node(f"memory@{piece.start:x}", properties))
    return nodes


def _rtas(config: EmbeddedConfig) -> dict[str, bytes]:
    end = max(piece.end for piece in config.memory)
    cores = (config.max_cpus or config.cpus) // config.smt
    return {
        rtas.OS_TERM: encode_cells(_OS_TERM_TOKEN),
        rtas.EXTENDED_OS_TERM: b"",
        **{name: encode_cells(token) for name, token in _OTHER_TOKENS.items()},
        "ibm,associativity-reference-points": encode_cells(_LEVELS),
        "ibm,lrdr-capacity": encode_cells(end >> 32, end & 0xFFFF_FFFF, 0, 0x1000_0000, cores),
        "rtas-size": encode_cells(RTAS.size_bytes),
        "linux,rtas-base": encode_cells(RTAS.start),
        "linux,rtas-entry": encode_cells(RTAS.start),
    }


def _opal(config: EmbeddedConfig) -> dict[str, bytes]:
    opal, _allocated = hdat.skiboot_memory(max(config.cpu_ids))
    return {
        "compatible": encode_strings("ibm,opal-v3"),
        "opal-base-address": struct.pack(">Q", opal.start),
        "opal-boot-address": struct.pack(">Q", opal.start + 0x10),
        "opal-entry-address": struct.pack(">Q", opal.start + 0x3760),
        "opal-runtime-size": struct.pack(">Q", opal.size_bytes),
    }

"""How ``fadump show`` prints the structures that it knows besides dumps."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import IntFlag

from fadump.abi.linux.crash_info import CrashInfo
from fadump.abi.powernv.kernel_metadata import KernelMetadata
from fadump.abi.powernv.mpipl import MpiplMetadata, MpiplRegion
from fadump.abi.pseries.dump_structure import DumpSection, DumpStructure, SectionType
from fadump.abi.pseries.hash_table import ENTRIES_PER_GROUP, ENTRY, SEGMENT_BITS, HashTableEntry
from fadump.memory.devicetree import DeviceTree, Node
from fadump.printable import counted, printable
from fadump.vmcore.structures import HashPageTable, RegisterSaveArea, Structure

_PER_LINE = 4
_CELL_BYTES = 4
_LONG_VALUE_BYTES = 64


@dataclass(frozen=True, slots=True)
class Shown:
    """A structure for people, and as one JSON object."""

    text: str
    json: Mapping[str, object]


def shown(structure: Structure) -> Shown:
    """How to show it."""
    match structure:
        case DumpStructure():
            found = _dump_structure(structure)
        case RegisterSaveArea():
            found = _register_save_area(structure)
        case HashPageTable():
            found = _hash_page_table(structure)
        case CrashInfo():
            found = _crash_info(structure)
        case MpiplMetadata():
            found = _mpipl_metadata(structure)
        case KernelMetadata():
            found = _kernel_metadata(structure)
        case DeviceTree():
            found = _device_tree(structure)
    return found


def _dump_structure(structure: DumpStructure) -> Shown:
    lines = [f"Dump memory structure, version {structure.version}, status {_flags_text(structure.status)}"]
    lines += [f"  {_section_text(section)}" for section in structure.sections]
    sections = [
        {
            "type": section.type,
            "request_flags": section.request_flags,
            "error_flags": int(section.error_flags),
            "source": section.source,
            "requested_bytes": section.requested_bytes,
            "copied_bytes": section.copied_bytes,
            "destination": section.destination,
        }
        for section in structure.sections
    ]
    status = int(structure.status)
    return Shown("\n".join(lines), {"kind": "dump memory structure", "status": status, "sections": sections})


def _section_text(section: DumpSection) -> str:
    known = {section_type.value: section_type.name.lower().replace("_", " ") for section_type in SectionType}
    name = known.get(section.type, f"type {section.type:#x}")
    copied = f"{section.copied_bytes:#x} of {section.requested_bytes:#x} bytes"
    errors = f", error flags {_flags_text(section.error_flags)}" if section.error_flags else ""
    return f"{name}: {copied} from {section.source:#x} to {section.destination:#x}{errors}"


def _flags_text(flags: IntFlag) -> str:
    """The number, then what is known of its bits."""
    names = [flag.name.lower().replace("_", " ") for flag in type(flags) if flag in flags and flag.name]
    return f"{int(flags):#x} ({', '.join(names)})" if names else f"{int(flags):#x}"


def _register_save_area(area: RegisterSaveArea) -> Shown:
    lines = [f"Register save area, {counted(len(area.cpus), 'CPU')}"]
    for cpu in area.cpus:
        lines += ["", f"CPU {cpu.cpu_id}", *_register_lines(cpu.values)]
    found = [{"number": cpu.cpu_id, "registers": dict(cpu.values)} for cpu in area.cpus]
    return Shown("\n".join(lines), {"kind": "register save area", "cpus": found})


def _hash_page_table(table: HashPageTable) -> Shown:
    """The valid entries; the others say nothing."""
    numbered = [(number, entry) for number, entry in enumerate(table.entries) if entry.is_valid]
    lines = [f"Hash page table, {len(numbered):,} of {len(table.entries):,} entries valid"]
    lines += [
        f"  {number // ENTRIES_PER_GROUP}.{number % ENTRIES_PER_GROUP}: {_entry_text(e)}" for number, e in numbered
    ]
    entries = [
        {
            "index": number,
            "avpn": entry.avpn,
            "segment_bits": SEGMENT_BITS[entry.segment_size],
            "flags": int(entry.flags),
            "real_page": entry.real_page,
            "protection": entry.protection,
            "access": int(entry.access),
        }
        for number, entry in numbered
    ]
    found = {"kind": "hash page table", "bytes": len(table.entries) * ENTRY.size_bytes, "entries": entries}
    return Shown("\n".join(lines), found)


def _entry_text(entry: HashTableEntry) -> str:
    segment = f"segment of 2^{SEGMENT_BITS[entry.segment_size]}"
    real = f"real page {entry.real_page:#x}, protection {entry.protection}, {_flags_text(entry.access)}"
    return f"AVPN {entry.avpn:#x}, {segment}, {_flags_text(entry.flags)}; {real}"


def _crash_info(header: CrashInfo) -> Shown:
    crashing = (
        "no CPU: the kernel had no part in its end" if header.crashing_cpu is None else f"CPU {header.crashing_cpu}"
    )
    lines = [f"Crash-info header, crashed on {crashing}", *_register_lines(header.registers)]
    found = {"kind": "crash-info header", "crashing_cpu": header.crashing_cpu, "registers": dict(header.registers)}
    return Shown("\n".join(lines), found)


def _register_lines(values: Mapping[str, int]) -> Iterator[str]:
    shown = [f"{name:>9} {value:016x}" for name, value in values.items()]
    for at in range(0, len(shown), _PER_LINE):
        yield " ".join(shown[at : at + _PER_LINE])


def _device_tree(tree: DeviceTree) -> Shown:
    lines = ["Flattened device tree"]
    lines += [f"  reserved {range_}" for range_ in tree.reservations]
    lines += _node_lines(tree.root, 0)
    return Shown("\n".join(lines), {"kind": "device tree", "root": _node_json(tree.root)})


def _node_lines(node: Node, depth: int) -> Iterator[str]:
    open_nodes = [(node, depth)]
    while open_nodes:
        node, depth = open_nodes.pop()
        yield f"{'  ' * depth}{printable(node.name) or '/'}"
        for name, value in node.properties.items():
            yield f"{'  ' * (depth + 1)}{printable(name)}{_value(value)}"
        open_nodes += [(child, depth + 1) for child in reversed(node.children)]


def _node_json(root: Node) -> dict[str, object]:
    """Properties as hexadecimal text: what they are is known to whoever reads them."""
    return {path: {name: value.hex() for name, value in node.properties.items()} for path, node in _paths(root)}


def _paths(root: Node) -> Iterator[tuple[str, Node]]:
    open_nodes = [("", root)]
    while open_nodes:
        parent, node = open_nodes.pop()
        path = f"{parent}/{node.name}" if node is not root else ""
        yield path or "/", node
        open_nodes += [(path, child) for child in reversed(node.children)]


def _value(value: bytes) -> str:
    """A property's value as it most likely is meant: strings, cells or bytes."""
    if not value:
        return ""
    texts = value[:-1].split(b"\0")
    if value[-1] == 0 and all(text.isascii() and text.decode("ascii").isprintable() and text for text in texts):
        return " = " + ", ".join(f'"{text.decode("ascii")}"' for text in texts)
    if len(value) > _LONG_VALUE_BYTES:
        return f" = {len(value)} bytes"
    if len(value) % _CELL_BYTES:
        return f" = [{value.hex(' ')}]"
    return f" = <{value.hex(' ', _CELL_BYTES)}>"


def _mpipl_metadata(metadata: MpiplMetadata) -> Shown:
    lines = [f"MPIPL metadata, version {metadata.version}, crashing PIR {metadata.crashing_pir:#x}"]
    lines += [f"CPU data version {metadata.cpu_data_version}, {metadata.cpu_data_bytes:#x} bytes a thread"]
    found = {
        "kind": "MPIPL metadata",
        "crashing_pir": metadata.crashing_pir,
        "cpu_data_version": metadata.cpu_data_version,
        "cpu_data_bytes": metadata.cpu_data_bytes,
        "regions": [_region_json(region) for region in metadata.regions],
    }
    return Shown("\n".join([*lines, *map(_region_text, metadata.regions)]), found)


def _kernel_metadata(metadata: KernelMetadata) -> Shown:
    registered = f"{metadata.registered_regions} of {len(metadata.regions)} regions registered"
    lines = [f"Kernel metadata, version {metadata.version}, {registered}"]
    lines += [f"crash-info header at {metadata.crash_info:#x}"]
    found = {
        "kind": "kernel metadata",
        "registered_regions": metadata.registered_regions,
        "crash_info": metadata.crash_info,
        "regions": [_region_json(region) for region in metadata.regions],
    }
    return Shown("\n".join([*lines, *map(_region_text, metadata.regions)]), found)


def _region_text(region: MpiplRegion) -> str:
    return f"  {region.size_bytes:#x} bytes from {region.source:#x} to {region.destination:#x}"


def _region_json(region: MpiplRegion) -> dict[str, int]:
    return {"source": region.source, "destination": region.destination, "size_bytes": region.size_bytes}

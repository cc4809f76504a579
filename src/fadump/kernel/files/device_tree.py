"""The device tree as files: /sys/firmware/devicetree/base, which /proc/device-tree points to.

Step "handover" of docs/architecture.md, for user space. Linux drivers/of/kobj.c and fs/proc/proc_devtree.c;
drivers/of/fdt.c, populate_properties(), adds a property ``name``, without the unit address, to a node that has none.
"""

from collections.abc import Iterator, Mapping

from fadump.kernel.files.sysfs import Entry, FileSystem, KernelFile, KernelLink
from fadump.memory.devicetree import DeviceTree, Node

BASE = "/sys/firmware/devicetree/base"
_LINK = "/proc/device-tree"


def device_tree_files(tree: DeviceTree) -> Mapping[str, Entry]:
    """The files by absolute path."""
    return {**dict(_node_files(tree.root, BASE)), _LINK: KernelLink(BASE)}


def _node_files(node: Node, path: str) -> Iterator[tuple[str, Entry]]:
    name = node.name.partition("@")[0].encode() + b"\0"
    for key, value in {"name": name, **node.properties}.items():
        yield f"{path}/{_safe(key)}", _property(key, value)
    for child in node.children:
        yield from _node_files(child, f"{path}/{_safe(child.name)}")


def _property(name: str, value: bytes) -> KernelFile:
    secret = name.startswith("security-")
    return KernelFile(
        FileSystem.SYSFS,
        0o400 if secret else 0o444,
        0 if secret else len(value),
        read_at=lambda offset, length: value[offset : offset + length],
    )


def _safe(name: str) -> str:
    return name.replace("/", "!")

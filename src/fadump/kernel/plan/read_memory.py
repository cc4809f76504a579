"""Reading a plan's memory description: the only module here that reads files.

A file is a flattened device tree if it begins with its magic, otherwise text (:mod:`.map_text`); a directory is a tree
like Linux's /proc/device-tree: a file for each property, a directory for each node.
"""

import re
from contextlib import suppress
from pathlib import Path

from fadump.errors import FormatError, naming
from fadump.kernel.plan.map_text import parse_map
from fadump.kernel.plan.memory_map import MemoryMap
from fadump.kernel.plan.system import FoundSystem, system_of
from fadump.limits import MOST_TREE_BYTES, MOST_TREE_ITEMS, Budget
from fadump.memory.devicetree import MAGIC, MAX_DEPTH, DeviceTree, Node

_IN_EVERY_ROOT = "#address-cells"
"""A directory without this property is refused: reading all of / to refuse it would take long."""

_IN_SYS = ("sys", "firmware", "devicetree", "base")
_BANNER = re.compile(r"Linux version (\S+)")
_MOST_BANNER_BYTES = 4096


def read_memory(path: Path) -> FoundSystem | MemoryMap:
    """What a file or a directory describes: a whole system if it is a device tree.

    :raises OSError: it can't be read.
    :raises FormatError: it is none of the three.
    """
    if path.is_dir():
        with naming(path):
            return system_of(read_tree(path))
    with path.open("rb") as file:
        content = file.read(MOST_TREE_BYTES + 1)
    if content.startswith(MAGIC.to_bytes(4, "big")):
        with naming(path):
            return system_of(DeviceTree.parse(content))
    try:
        text = content.decode()
    except UnicodeDecodeError as error:
        raise FormatError(f"{path} is neither a device tree nor a text", offset=error.start) from error
    with naming(path):
        return parse_map(text)


def release_beside(tree: Path) -> str | None:
    """The release of the kernel that shows this directory of a tree, by ``/proc/version``; None if there is none.

    The two lie in one directory, or the tree is in its /sys; both may have been copied.
    """
    beside = [tree.parent / "version"] if tree.name == "device-tree" else []
    if tree.parts[-len(_IN_SYS) :] == _IN_SYS:
        beside.append(tree.parents[len(_IN_SYS) - 1] / "proc/version")
    for path in beside:
        with suppress(OSError), path.open("rb") as file:
            banner = file.read(_MOST_BANNER_BYTES).decode(errors="replace")
            if found := _BANNER.match(banner):
                return found[1]
    return None


def read_tree(directory: Path) -> DeviceTree:
    """The device tree that a directory shows.

    :raises OSError: it can't be read.
    :raises FormatError: it is none.
    """
    if not (directory / _IN_EVERY_ROOT).is_file():
        raise FormatError(f"{directory} is not a device tree: it has no file {_IN_EVERY_ROOT}")
    return DeviceTree(_Directory().node(directory, "", 0))


class _Directory:
    """A tree's files, all of which are counted together."""

    def __init__(self) -> None:
        self._items = Budget("nodes and properties of a device tree", MOST_TREE_ITEMS)
        self._bytes = Budget("bytes of a device tree", MOST_TREE_BYTES)

    def node(self, directory: Path, name: str, depth: int) -> Node:
        if depth > MAX_DEPTH:
            raise FormatError(f"its directories are nested too deep for a device tree: more than {MAX_DEPTH}")
        node = Node(name)
        for entry in sorted(directory.iterdir()):
            if entry.is_symlink():
                continue
            self._items.spend()
            if entry.is_dir():
                node.children.append(self.node(entry, entry.name, depth + 1))
            elif entry.is_file():
                try:
                    node.properties[entry.name] = self._content(entry)
                except PermissionError:  # only root can read some; none of them is about memory
                    continue
            else:
                raise FormatError(f"{entry} is neither a directory nor a file: no part of a device tree")
        return node

    def _content(self, path: Path) -> bytes:
        with path.open("rb") as file:
            content = file.read(MOST_TREE_BYTES + 1)
        self._bytes.spend(len(content))
        return content

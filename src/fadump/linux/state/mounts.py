"""The file systems that were mounted, as the first process saw them.

Linux: struct mount in fs/mount.h, struct dentry in include/linux/dcache.h. Mounts are a tree from the root of init's
mount namespace on; where one is mounted is told by names up to the root of the mount that it is on.
"""

from dataclasses import dataclass

from fadump.errors import LimitError
from fadump.limits import MOST_DENTRIES, MOST_MOUNTS, MOST_PATH_DEPTH, Budget
from fadump.linux.memory import UNREADABLE_ADDRESS, KernelMemory
from fadump.linux.symbols.table import SymbolTable
from fadump.linux.types.contract import Types
from fadump.linux.types.lists import list_nodes
from fadump.linux.types.structure import Structure, string_at
from fadump.printable import first_of

_READ_ONLY = 0x40
"""MNT_READONLY."""
_READ_ONLY_SUPER = 1
"""SB_RDONLY."""


@dataclass(frozen=True, slots=True)
class Mount:
    """A mount: what is mounted (a device, or a name), where, and the file system's type."""

    source: str
    path: str
    type: str
    is_read_only: bool


@dataclass(frozen=True, slots=True)
class Mounts:
    """All mounts, each behind the one that it is on; and a sentence for each part of them that can't be read."""

    mounts: tuple[Mount, ...]
    left_out: tuple[str, ...] = ()


def read_mounts(memory: KernelMemory, symbols: SymbolTable, types: Types) -> Mounts:
    """All mounts.

    :raises UnknownSymbolError: the kernel lists no init_task.
    :raises UnknownTypeError: its types lack a member that is needed.
    :raises FadumpError: the dump doesn't have what leads to the first one.
    """
    reader = _Reader(memory, types)
    root = reader.root(symbols.address("init_task"))
    return Mounts(*reader.all(root))


class _Reader:
    def __init__(self, memory: KernelMemory, types: Types) -> None:
        self._memory = memory
        self._task = Structure(types, "task_struct", {"nsproxy": "nsproxy"})
        self._proxy = Structure(types, "nsproxy", {"mounts": "mnt_ns"})
        self._namespace = Structure(types, "mnt_namespace", {"root": "root"})
        members = {"point": "mnt_mountpoint", "root": "mnt.mnt_root", "super": "mnt.mnt_sb", "flags": "mnt.mnt_flags"}
        members |= {"source": "mnt_devname", "children": "mnt_mounts", "link": "mnt_child"}
        self._mount = Structure(types, "mount", members)
        self._super = Structure(types, "super_block", {"type": "s_type", "flags": "s_flags"})
        self._type = Structure(types, "file_system_type", {"name": "name"})
        self._dentry = Structure(types, "dentry", {"parent": "d_parent", "name": "d_name.name"})
        self._mounts = Budget("mounts", MOST_MOUNTS)
        self._dentries = Budget("names of the paths of mounts", MOST_DENTRIES)

    def root(self, task: int) -> int:
        """The mount at the root of what a task saw."""
        proxy = self._task.read(self._memory, task).count("nsproxy")
        namespace = self._proxy.read(self._memory, proxy).count("mounts")
        return self._namespace.read(self._memory, namespace).count("root")

    def all(self, root: int) -> tuple[tuple[Mount, ...], tuple[str, ...]]:
        """The mounts from ``root`` on."""
        found: list[Mount] = []
        left_out: list[str] = []
        seen: set[int] = set()
        left = [(root, "", 0)]  # a mount, the path and the root of the one that it is on
        while left:
            at, parent_path, parent_root = left.pop()
            if at in seen:
                continue
            seen.add(at)
            try:
                values = self._mount.read(self._memory, at)
                path = self._path(values.count("point"), parent_path, parent_root)
                found.append(self._read(at, path))
                children = list_nodes(self._memory, at + self._mount.offset("children"), self._mounts)
            except (*UNREADABLE_ADDRESS, LimitError) as error:
                left_out.append(f"the mount at {at:#x} can't be read: {error}")
                continue
            if children.broken is not None:
                left_out.append(f"some mounts on {path} can't be read: {children.broken}")
            link, own_root = self._mount.offset("link"), values.count("root")
            left += [(node - link, path, own_root) for node in reversed(children.nodes)]
        return tuple(found), tuple(first_of(left_out))

    def _read(self, at: int, path: str) -> Mount:
        values = self._mount.read(self._memory, at)
        block = self._super.read(self._memory, values.count("super"))
        kind = self._type.read(self._memory, block.count("type"))
        return Mount(
            source=string_at(self._memory, values.number("source")) or "none",
            path=path,
            type=string_at(self._memory, kind.number("name")) or "unknown",
            is_read_only=bool(values.count("flags") & _READ_ONLY or block.count("flags") & _READ_ONLY_SUPER),
        )

    def _path(self, dentry: int, parent_path: str, parent_root: int) -> str:
        """Where a mount is: the names from its mount point up to the root of the mount that it is on."""
        names: list[str] = []
        while parent_root and dentry != parent_root:
            self._dentries.spend()
            values = self._dentry.read(self._memory, dentry)
            if values.number("parent") == dentry or len(names) == MOST_PATH_DEPTH:
                names.append("...")  # it isn't reached, as of a directory that was deleted or moved away
                break
            names.append(string_at(self._memory, values.number("name")) or "?")
            dentry = values.count("parent")
        return "/".join([parent_path.rstrip("/"), *reversed(names)]) or "/"

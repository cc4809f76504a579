"""The structures that firmware and kernels leave for each other, recognized by their first bytes.

A dump memory structure has no magic; a file is taken for one if nothing else fits and its sections make sense. Nor has
a hash page table: that comes last.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import BinaryIO

from fadump.abi.linux import crash_info
from fadump.abi.linux.crash_info import CrashInfo
from fadump.abi.powernv.kernel_metadata import KernelMetadata
from fadump.abi.powernv.mpipl import MpiplMetadata
from fadump.abi.pseries import hash_table, register_save_area
from fadump.abi.pseries.dump_structure import MAX_BYTES, DumpStructure
from fadump.abi.pseries.hash_table import GROUP_BYTES, HashTableEntry, looks_like_entries
from fadump.abi.registers import CpuRegisters
from fadump.errors import FormatError, naming
from fadump.memory.devicetree import DeviceTree
from fadump.vmcore.source import StrPath, open_file

_MOST_BYTES = 64 << 20
_MOST_ZEROS = 1 << 20
"""The beginning of a hash page table may have no valid entry; a larger file of zeros has lost what it had."""
_TREE_MAGIC = bytes.fromhex("d00dfeed")
_CRASH_INFO_MAGICS = frozenset(
    magic.to_bytes(8, order) for magic in (crash_info.MAGIC, crash_info.OLD_MAGIC) for order in ("little", "big")
)


@dataclass(frozen=True, slots=True)
class RegisterSaveArea:
    """The CPUs of a register save area, in their order there."""

    cpus: tuple[CpuRegisters, ...]


@dataclass(frozen=True, slots=True)
class HashPageTable:
    """Some groups of a hash page table, from its beginning."""

    entries: tuple[HashTableEntry, ...]


Structure = HashPageTable | DumpStructure | RegisterSaveArea | CrashInfo | MpiplMetadata | KernelMetadata | DeviceTree


def decode_file(path: StrPath) -> Structure | None:
    """The structure in a file; None if it is of no known kind.

    :raises FormatError: it begins like one, but is cut short or makes no sense.
    :raises FadumpError: it is a directory, a pipe or the like.
    :raises OSError: it can't be read.
    """
    with os.fdopen(open_file(path), "rb") as file, naming(path):
        head = file.read(MAX_BYTES)
        for magics, decode in _KNOWN:
            if any(head.startswith(magic) for magic in magics):
                return decode(head + file.read(_MOST_BYTES))
        try:
            return DumpStructure.decode(head)
        except FormatError:
            return _hash_page_table(head, file)


def _hash_page_table(head: bytes, file: BinaryIO) -> HashPageTable | None:
    if not looks_like_entries(head):
        return None
    data = head + file.read(_MOST_BYTES)
    if not data or len(data) % GROUP_BYTES or not looks_like_entries(data):
        return None
    table = HashPageTable(tuple(hash_table.decode(data)))
    return table if any(data) or len(data) <= _MOST_ZEROS else None


def _register_save_area(data: bytes) -> RegisterSaveArea:
    return RegisterSaveArea(tuple(register_save_area.decode(data)))


_KNOWN: tuple[tuple[frozenset[bytes], Callable[[bytes], Structure]], ...] = (
    (frozenset({_TREE_MAGIC}), DeviceTree.parse),
    (frozenset({register_save_area.MAGIC}), _register_save_area),
    (_CRASH_INFO_MAGICS, crash_info.decode),
    (frozenset({b"\1" + bytes(7)}), MpiplMetadata.decode),  # no magic: a version, zeros, and in the kernel's a number
    (frozenset({b"\1" + bytes(3)}), KernelMetadata.decode),
)

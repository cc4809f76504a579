"""The structures that firmware and kernels leave for each other, recognized by their first bytes.

A dump memory structure has no magic; a file is taken for one if nothing else fits and its sections make sense.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass

from fadump.abi.linux import crash_info
from fadump.abi.linux.crash_info import CrashInfo
from fadump.abi.powernv.kernel_metadata import KernelMetadata
from fadump.abi.powernv.mpipl import MpiplMetadata
from fadump.abi.pseries import register_save_area
from fadump.abi.pseries.dump_structure import MAX_BYTES, DumpStructure
from fadump.abi.registers import CpuRegisters
from fadump.errors import FormatError, naming
from fadump.memory.devicetree import DeviceTree
from fadump.vmcore.source import StrPath, open_file

_MOST_BYTES = 64 << 20
_TREE_MAGIC = bytes.fromhex("d00dfeed")
_CRASH_INFO_MAGICS = frozenset(
    magic.to_bytes(8, order) for magic in (crash_info.MAGIC, crash_info.OLD_MAGIC) for order in ("little", "big")
)


@dataclass(frozen=True, slots=True)
class RegisterSaveArea:
    """The CPUs of a register save area, in their order there."""

    cpus: tuple[CpuRegisters, ...]


Structure = DumpStructure | RegisterSaveArea | CrashInfo | MpiplMetadata | KernelMetadata | DeviceTree


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
        return None


def _register_save_area(data: bytes) -> RegisterSaveArea:
    return RegisterSaveArea(tuple(register_save_area.decode(data)))


_KNOWN: tuple[tuple[frozenset[bytes], Callable[[bytes], Structure]], ...] = (
    (frozenset({_TREE_MAGIC}), DeviceTree.parse),
    (frozenset({register_save_area.MAGIC}), _register_save_area),
    (_CRASH_INFO_MAGICS, crash_info.decode),
    (frozenset({b"\1" + bytes(7)}), MpiplMetadata.decode),  # no magic: a version, zeros, and in the kernel's a number
    (frozenset({b"\1" + bytes(3)}), KernelMetadata.decode),
)

"""The boot memory that a system is to be tried with, told to its kernel by the device tree, whoever boots it.

A kernel reads its command line and the memory that it must leave alone in the tree that it is handed
(:meth:`.Firmware.describe` edits that anyway), so neither a boot loader's configuration nor a disk is changed.

Linux takes no less than 320 MiB of boot memory on pseries, 768 on powernv, and reserves for kdump instead. A system
that needs less is tried with less by ``held_back_bytes``: the capture kernel finds as much of the upper end of its boot
memory reserved (the root's ``reserved-ranges``; Linux arch/powerpc/kernel/prom.c, early_reserve_mem_dt()).
"""

from collections.abc import Sequence
from dataclasses import dataclass

from fadump.firmware.contract import Firmware
from fadump.firmware.wrapped import WrappedFirmware
from fadump.memory.devicetree import DeviceTree, encode_strings
from fadump.memory.ranges import Range
from fadump.memory.reserved import reserve
from fadump.systems.crashkernel import with_crashkernel


@dataclass(frozen=True, slots=True)
class TriedBootMemory:
    """``crashkernel_bytes`` is what the command line asks for; the capture kernel gets ``held_back_bytes`` less."""

    crashkernel_bytes: int
    held_back_bytes: int = 0

    @property
    def size_bytes(self) -> int:
        """What the capture kernel has."""
        return self.crashkernel_bytes - self.held_back_bytes


class FirmwareWithBootMemory(WrappedFirmware):
    """A firmware that also says in each kernel's device tree how much boot memory there is to be."""

    def __init__(self, firmware: Firmware, tried: TriedBootMemory) -> None:
        super().__init__(firmware)
        self._tried = tried
        self.initrd_bytes = 0
        """Of the kernel that was entered last."""

    def describe(self, tree: DeviceTree) -> None:
        super().describe(tree)
        self._change_command_line(tree)
        initrd = tree.initrd()
        self.initrd_bytes = 0 if initrd is None else initrd.size_bytes
        dump = self.preserved
        if dump is not None and self._tried.held_back_bytes:
            for piece in _upper_end(list(dump.boot_memory), self._tried.held_back_bytes):
                reserve(tree, piece)

    def _change_command_line(self, tree: DeviceTree) -> None:
        """Of a boot firmware's own tree, which has none yet, nothing is changed."""
        chosen = tree.find("/chosen")
        text = b"" if chosen is None else chosen.properties.get("bootargs", b"").rstrip(b"\0")
        if chosen is not None and text:
            words = with_crashkernel(text.decode(errors="surrogateescape"), self._tried.crashkernel_bytes)
            chosen.properties["bootargs"] = encode_strings(words)


def _upper_end(ranges: Sequence[Range], size_bytes: int) -> list[Range]:
    """The last so many bytes of some ranges, in their order."""
    pieces: list[Range] = []
    for range_ in sorted(ranges, reverse=True):
        if not size_bytes:
            break
        taken = min(size_bytes, range_.size_bytes)
        pieces.append(Range(range_.end - taken, range_.end))
        size_bytes -= taken
    return pieces

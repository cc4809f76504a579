"""How the moment is found in which a kernel is entered with a flattened device tree: the handover; and how a kernel
begins.

Each board has its own way from a reset to there; :mod:`.boot_loader` has the one by a disk's boot loader.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Protocol

from fadump.abi.layout import ByteOrder
from fadump.machine.qemu.gdb import GdbClient
from fadump.machine.qemu.registers import RegisterFile
from fadump.memory.guest import GuestMemory

_BEGINS: Mapping[bytes, ByteOrder] = MappingProxyType(
    {
        bytes.fromhex("48000008 2c000048 7d6000a6 696b0001"): "little",
        bytes.fromhex("08000048 4800002c a600607d 01006b69"): "big",
    }
)
"""A Linux's first instructions, by which a CPU of the other byte order turns itself round (FIXUP_ENDIAN in
arch/powerpc/include/asm/ppc_asm.h). The last two lie as that CPU reads them."""
_BEGIN_BYTES = 16


@dataclass(frozen=True, slots=True)
class StoppedCpu:
    """A CPU that stands still at a breakpoint, in real mode; ``thread`` is the stub's name of it."""

    thread: str
    memory: GuestMemory
    _gdb: GdbClient
    _registers: RegisterFile

    async def read(self, *names: str) -> list[int]:
        """The values of its registers."""
        return await self._registers.read(self.thread, *names)

    async def write(self, name: str, value: int) -> None:
        """Set a register."""
        await self._registers.write(self.thread, name, value)

    async def write_code(self, address: int, code: bytes) -> None:
        """Write instructions."""
        await self._gdb.select(self.thread)
        await self._gdb.write_code(address, code)


class KernelEntry(Protocol):
    """A stage of the way from a reset to the handover."""

    @property
    def address(self) -> int:
        """Where this stage stops the guest."""

    @property
    def awaited(self) -> str:
        """What is waited for there, in words."""

    async def reached(self, cpu: StoppedCpu) -> "KernelEntry | None":
        """The stage that follows this stop, itself if the stop has meant nothing; None: this is the handover, and r3 is
        at the tree.

        :raises MachineError: the guest is not what this stage takes it for.
        """


def kernel_byte_order(memory: GuestMemory, address: int) -> ByteOrder | None:
    """The byte order of the Linux that begins at ``address``; None if none does.

    :raises AddressError: there is no memory.
    """
    return _BEGINS.get(memory.read(address, _BEGIN_BYTES))

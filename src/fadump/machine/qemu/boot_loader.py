"""From a disk's own boot loader to the kernel that it starts, on pseries: SLOF, GRUB, prom_init.

Step "handover" of docs/architecture.md, for a machine without ``-kernel``: nobody knows then where the kernel will be.
But all boot loaders are clients of SLOF's, and Linux (arch/powerpc/kernel/prom_init.c, prom_init()) calls Open
Firmware's ``quiesce`` last of all before it enters itself again with a flattened device tree. So each stage here waits
at one address for what leads to the next:

    LoaderStarts   the boot loader's entry; r5 is SLOF's client interface, which is patched to stop at ``quiesce``
    LoaderRuns     the stop in that patch; the caller is a kernel, and where it begins is looked for below LR
    KernelStarts   the kernel's first instruction: the handover, r3 is at the tree

A reset wipes the patch, as QEMU loads SLOF anew, and begins with the first stage again. Everything that a stage takes
for granted is looked at when it is reached, and refused in words: a guest may be anything.
"""

import struct
from collections.abc import Mapping
from dataclasses import dataclass

from fadump.errors import AddressError, MachineError
from fadump.machine.qemu.entry_page import MFLR_R4, EntryPage, branch_absolute, client_page
from fadump.machine.qemu.handover import TreePlace
from fadump.machine.qemu.kernel_entry import KernelEntry, StoppedCpu, kernel_byte_order
from fadump.memory.guest import GuestMemory

LOADER_ENTRY = 0x200000
"""Where GRUB and yaboot are linked to start (GRUB: util/mkimage.c, powerpc-ieee1275)."""
PATCH_ADDRESS = 0x3F00
"""In the 16 KiB of exception vectors, which SLOF gives to no client (slof/fs/claim.fs, MIN-RAM-RESERVE)."""
KERNEL_ALIGNMENT_BYTES = 0x10000
"""Linux's own alignment on ppc64 (arch/powerpc/kernel/vmlinux.lds.S)."""
_MOST_KERNEL_BYTES = 256 << 20
_QUIESCE = b"quiesce\0"
_WORD = 0xFFFF_FFFF
_HIGHEST_CLIENT = 1 << 31
_INSTRUCTION_BYTES = 4
_MOST_TREE_BYTES = 2 << 20


@dataclass(frozen=True, slots=True)
class LoaderStarts:
    """Boot firmware runs, and is going to start a boot loader."""

    @property
    def address(self) -> int:
        return LOADER_ENTRY

    @property
    def awaited(self) -> str:
        return f"a boot loader to start at {LOADER_ENTRY:#x}, as GRUB does"

    async def reached(self, cpu: StoppedCpu) -> KernelEntry:
        """Patch SLOF's client interface."""
        (client,) = await cpu.read("r5")
        page = client_page(PATCH_ADDRESS, _QUIESCE[:4], _checked_client(cpu.memory, client))
        if any(cpu.memory.read(page.address, len(page.code))):
            raise _refusal(f"the memory at {page.address:#x} is in use, where SLOF leaves it free")
        await cpu.write_code(page.address, page.code)
        await cpu.write_code(client, branch_absolute(page.address))
        return LoaderRuns(client, page)


@dataclass(frozen=True, slots=True)
class LoaderRuns:
    """A boot loader runs, or the kernel that it has started, until that has no more use for Open Firmware.

    ``client`` is SLOF's client interface, patched to go by way of ``page``.
    """

    client: int
    page: EntryPage

    @property
    def address(self) -> int:
        return self.page.stop_address

    @property
    def awaited(self) -> str:
        return "the boot loader to start a kernel, which quiesces Open Firmware"

    @property
    def patched(self) -> Mapping[int, bytes]:
        """What memory had before it was patched, by its address."""
        return {self.client: struct.pack(">I", MFLR_R4), self.page.address: bytes(len(self.page.code))}

    async def reached(self, cpu: StoppedCpu) -> KernelEntry:
        """Find the kernel that calls, and leave SLOF as it was."""
        arguments, return_to = (value & _WORD for value in await cpu.read("r3", "lr"))
        if not _is_quiesce(cpu.memory, arguments):
            return self
        start = _find_kernel(cpu.memory, return_to)
        for address, original in self.patched.items():
            await cpu.write_code(address, original)
        await cpu.write("pc", self.client)
        return KernelStarts(start)


@dataclass(frozen=True, slots=True)
class KernelStarts:
    """prom_init is done with Open Firmware, and enters its kernel at ``address`` again."""

    address: int

    @property
    def awaited(self) -> str:
        return f"the kernel to start at {self.address:#x}, where it begins"

    async def reached(self, cpu: StoppedCpu) -> None:
        """Make sure that this is the handover."""
        (client,) = await cpu.read("r5")
        if client:
            raise _refusal(f"the kernel at {self.address:#x} is entered with {client:#x} in r5, where prom_init has 0")


async def boot_tree_place(cpu: StoppedCpu) -> TreePlace:
    """Where QEMU has put SLOF's device tree, and how much room it has there: r3 at SLOF's first instruction.

    Nothing follows it in the last 2 MiB of the real mode area (QEMU: hw/ppc/spapr.c, FDT_MAX_SIZE).
    """
    (address,) = await cpu.read("r3")
    top = max((piece.end for piece in cpu.memory.ram if address in piece), default=address)
    return TreePlace(address, min(top - address, _MOST_TREE_BYTES))


def _checked_client(memory: GuestMemory, client: int) -> int:
    """SLOF's client interface, if it is what the patch takes it for."""
    if client % _INSTRUCTION_BYTES or not 0 < client < _HIGHEST_CLIENT:
        raise _refusal(f"r5 is {client:#x} at its entry, which can't be Open Firmware's client interface")
    try:
        (instruction,) = struct.unpack(">I", memory.read(client, _INSTRUCTION_BYTES))
    except AddressError:
        raise _refusal(f"r5 is {client:#x} at its entry, where there is no memory") from None
    if instruction != MFLR_R4:
        raise _refusal(
            f"Open Firmware's client interface at {client:#x} begins with {instruction:#010x}, SLOF's with mflr r4"
        )
    return client


def _is_quiesce(memory: GuestMemory, arguments: int) -> bool:
    try:
        (name,) = struct.unpack(">I", memory.read(arguments, 4))
        return memory.read(name, len(_QUIESCE)) == _QUIESCE
    except AddressError:  # the patch has read it a moment ago: Open Firmware shall refuse it
        return False


def _find_kernel(memory: GuestMemory, return_to: int) -> int:
    """Where the kernel begins that is going to return to this address."""
    highest = return_to // KERNEL_ALIGNMENT_BYTES * KERNEL_ALIGNMENT_BYTES
    for address in range(highest, max(0, highest - _MOST_KERNEL_BYTES), -KERNEL_ALIGNMENT_BYTES):
        try:
            if kernel_byte_order(memory, address) is not None:
                return address
        except AddressError:
            break
    raise _refusal(f"quiesce is called from {return_to:#x}, and no Linux kernel begins at a multiple of 64 KiB below")


def _refusal(what: str) -> MachineError:
    return MachineError(
        f"the disk's boot loader can't be followed into its kernel: {what}; give the kernel by --kernel"
    )

"""QEMU's pseries machine: SLOF, prom_init and RTAS.

The kernel's entry is reached twice: from SLOF with the Open Firmware client interface in r5, and from
prom_init (Linux arch/powerpc/kernel/prom_init.c) with r5 = 0 and r3 at a flattened device tree. At the second
the tree is read from guest memory, edited and written back in its place.

Linux puts its dump area where memory is free at that moment, and it reserves RTAS only later. So RTAS and the
entry page are named in the root's ``reserved-ranges``, which Linux avoids (arch/powerpc/kernel/fadump.c,
fadump_locate_reserve_mem()), at every handover from the first boot on: otherwise preserving overwrites RTAS.
"""

import struct
from collections.abc import Collection, Mapping, Sequence

from fadump.abi.pseries.rtas import BLOCK_BYTES, RtasArguments, encode_answer
from fadump.errors import FadumpError, MachineError
from fadump.firmware.contract import Answer, FirmwareCall
from fadump.machine.qemu.board import Preparation
from fadump.machine.qemu.boot_loader import LoaderStarts
from fadump.machine.qemu.config import KERNEL_ADDRESS
from fadump.machine.qemu.entry_page import EntryPage, rtas_entry_page
from fadump.machine.qemu.handover import LARGEST_PAGE_BYTES, TreePlace, align_up, initrd
from fadump.machine.qemu.kernel_entry import KernelEntry, StoppedCpu
from fadump.machine.qemu.registers import RegisterFile, interrupt_servers
from fadump.memory.devicetree import DeviceTree, Node
from fadump.memory.guest import GuestMemory
from fadump.memory.ranges import Range, RangeSet
from fadump.memory.reserved import pairs
from fadump.memory.reserved import reserve as name_reserved

_PAGE_BYTES = 0x1000
_LPCR_EXIT_CAUSES = 0x1F << 12
"""PECE0 to PECE4 of POWER8; PDEE, HDEE, EEE, DEE and OEE of POWER9 and later."""
_LPCR_HOST_RADIX = 1 << 20
"""HR, which QEMU sets with the process table of a guest that has chosen radix (H_REGISTER_PROC_TBL)."""
_WORD = 0xFFFF_FFFF
"""A 32-bit caller's pointer: the upper half of its register means nothing."""


class PromInitEntry:
    """The kernel's entry, of which prom_init's visit is the handover, and SLOF's isn't."""

    address = KERNEL_ADDRESS
    awaited = "SLOF to start the kernel"

    async def reached(self, cpu: StoppedCpu) -> KernelEntry | None:
        (open_firmware_client,) = await cpu.read("r5")
        return self if open_firmware_client else None


class PseriesBoard:
    """QEMU's pseries. CPUs are named by Linux's logical number, and no memory is hidden from the dump."""

    def __init__(self, *, boots_from_disk: bool = False) -> None:
        self.kernel_entry: KernelEntry = LoaderStarts() if boots_from_disk else PromInitEntry()
        self.has_boot_tree = boots_from_disk
        self._rtas_pages: Range | None = None  # of the last boot

    def cpu_ids(self, tree: DeviceTree, core_ids: Sequence[int | None]) -> Sequence[int | None]:
        """Linux numbers threads in the order of /cpus; an interrupt server is QEMU's core-id plus thread."""
        logical = {server: number for number, server in enumerate(interrupt_servers(tree))}
        threads = (core_ids[:index].count(core) for index, core in enumerate(core_ids))
        return [logical.get((core or 0) + thread) for core, thread in zip(core_ids, threads, strict=True)]

    def is_online(self, shown: Mapping[str, int]) -> bool:
        """Whether a CPU has been started and not stopped again, by RTAS start-cpu and stop-self.

        A CPU that is offline can't be woken: QEMU (hw/ppc/spapr_rtas.c, spapr_cpu_core.c) clears every exit cause of
        power saving in its LPCR. An online CPU that idles has them.
        """
        return bool(shown["LPCR"] & _LPCR_EXIT_CAUSES)

    def has_hash_table(self, shown: Mapping[str, int]) -> bool:
        return not shown["LPCR"] & _LPCR_HOST_RADIX

    def prepare(
        self, tree: DeviceTree, found: TreePlace, ram: RangeSet, tokens: Collection[int], *, reserve: bool
    ) -> Preparation:
        page, rtas_pages = place_entry_page(tree, tokens, ram)
        if reserve:
            name_reserved(tree, rtas_pages)
        # RTAS's own pages are put back too: its code is the same on every boot, QEMU's FWNMI log in them is not.
        images = loaded_images(tree)
        live = RangeSet([found.range]) | images
        if rtas_pages != self._rtas_pages or not reserve:
            live |= RangeSet([rtas_pages])
        self._rtas_pages = rtas_pages
        return Preparation(page, found, live, images)

    def own_end(self, tree: DeviceTree, memory: GuestMemory) -> None:
        """The hypervisor ends it, which is QEMU itself."""

    async def read_call(
        self, registers: RegisterFile, memory: GuestMemory, thread: str, cpu_id: int
    ) -> FirmwareCall | None:
        address = (await registers.read(thread, "r3"))[0] & _WORD
        try:
            arguments = RtasArguments.decode(memory.read(address, BLOCK_BYTES))
        except FadumpError:  # QEMU's own RTAS shall refuse the call
            return None
        return FirmwareCall(cpu_id, arguments.token, arguments.args, arguments.nret, address + arguments.answer_offset)

    async def write_answer(
        self, registers: RegisterFile, memory: GuestMemory, thread: str, call: FirmwareCall, answer: Answer
    ) -> None:
        memory.write(call.answer_address, encode_answer(answer.status, answer.outputs, call.returns))


def place_entry_page(tree: DeviceTree, tokens: Collection[int], ram: RangeSet) -> tuple[EntryPage, Range]:
    """Append the entry page to RTAS's last page and lead the kernel there; returns it and the pages
    to reserve, whole ones whatever the kernel's page size.

    ``linux,rtas-base`` stays: QEMU finds its FWNMI log through it. ``rtas-size`` grows so that kexec-tools
    spares the code too.

    :raises MachineError: no RTAS in the tree, or none that can be; or no room behind it.
    """
    rtas = tree.find("/rtas")
    if rtas is None or "linux,rtas-base" not in rtas.properties:
        raise MachineError("the device tree at handover has no instantiated RTAS")
    base, real_entry, size_bytes = (_cell(rtas, name) for name in ("linux,rtas-base", "linux,rtas-entry", "rtas-size"))
    end = base + size_bytes
    pages = Range(base // _PAGE_BYTES * _PAGE_BYTES, align_up(end, _PAGE_BYTES))
    if pages.end > _WORD or not any(piece.contains(pages) for piece in ram):
        raise MachineError(f"RTAS at {base:#x} is not in memory, by the device tree at handover: its end is {end:#x}")
    try:
        page = rtas_entry_page(align_up(end, 0x20), tokens, real_entry)
    except ValueError as error:
        raise MachineError(f"RTAS at {base:#x} can't have its entry at {real_entry:#x}: {error}") from error
    code_end = page.address + len(page.code)
    if code_end > pages.end:
        raise MachineError(f"no room for the entry page between RTAS's end {end:#x} and {pages.end:#x}")
    rtas.properties["linux,rtas-entry"] = struct.pack(">I", page.address)
    rtas.properties["rtas-size"] = struct.pack(">I", code_end - base)
    start = base // LARGEST_PAGE_BYTES * LARGEST_PAGE_BYTES
    return page, Range(start, align_up(pages.end, LARGEST_PAGE_BYTES))


def loaded_images(tree: DeviceTree) -> RangeSet:
    """Kernel and initrd, as SLOF has found them in RAM for this boot."""
    chosen = tree.find("/chosen")
    kernels = [] if chosen is None else pairs(chosen, "qemu,boot-kernel")
    return initrd(tree) | RangeSet(kernels)


def _cell(node: Node, name: str) -> int:
    cells = node.cells(name)
    if not cells:
        raise MachineError(f"/{node.name} has no number in {name}, in the device tree at handover")
    return cells[0]

"""QEMU's powernv machines: skiboot and OPAL.

QEMU puts kernel and initrd into RAM and starts skiboot, which enters the kernel in its place with r3 at a flattened
device tree (skiboot, core/init.c, load_and_boot_kernel()). That tree has no room to grow, and our entry page no
firmware's memory to lie in: both get a place of their own behind skiboot's memory, the same on every boot, which the
root's ``reserved-ranges`` name. skiboot lists what memory it uses itself in ``/reserved-memory``.
"""

import struct
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from fadump.abi import elf
from fadump.abi.powernv.symbol_map import code_offset
from fadump.errors import MachineError, SetupError
from fadump.firmware.contract import Answer, FirmwareCall
from fadump.machine.contract import FirmwareMemory
from fadump.machine.qemu.board import OwnEnd, Preparation
from fadump.machine.qemu.entry_page import opal_entry_page
from fadump.machine.qemu.handover import (
    LARGEST_PAGE_BYTES,
    TreePlace,
    align_up,
    initrd,
)
from fadump.machine.qemu.kernel_entry import StoppedCpu
from fadump.machine.qemu.registers import RegisterFile, interrupt_servers
from fadump.memory.devicetree import DeviceTree, Node
from fadump.memory.guest import GuestMemory
from fadump.memory.ranges import Range, RangeSet
from fadump.memory.reserved import pairs, reserved
from fadump.memory.reserved import reserve as name_reserved
from fadump.printable import counted
from fadump.progress import binary_size

KERNEL_LOAD_ADDRESS = 0x2000_0000
"""Where QEMU's powernv machines put a ``-kernel`` file, as it is (hw/ppc/pnv.c, KERNEL_LOAD_ADDR)."""
MOST_KERNEL_BYTES = 128 << 20
"""How large such a file may be (hw/ppc/pnv.c, KERNEL_MAX_SIZE)."""

_TREE_SLACK_BYTES = 0x10000
"""For what firmware adds to the tree."""
_CMA_ALIGNMENT = 16 << 20
"""Linux puts its dump area right behind, and lends it to user space only if it begins at such a multiple (hash; radix
takes less): see fadump_cma_init() and cma_init_reserved_mem()."""
_END, _SWITCH = "p9_sbe_terminate", "attn_trigger"
_FAILURE = bytes.fromhex("deadbeef")
_MOST_SYMBOL_MAP_BYTES = 16 << 20
_ARGUMENTS = tuple(f"r{number}" for number in range(3, 11))
_DOUBLEWORD = (1 << 64) - 1
_ELF_MAGIC = elf.ELFMAG + bytes([elf.ELFCLASS64])


@dataclass(frozen=True, slots=True)
class SkibootEntry:
    """The kernel's entry, which skiboot comes to once, with the tree."""

    address: int

    @property
    def awaited(self) -> str:
        return "skiboot to start the kernel"

    async def reached(self, cpu: StoppedCpu) -> None:
        """This is the handover."""


class PowernvBoard:
    """QEMU's powernv, with skiboot. CPUs are named by their PIR."""

    has_boot_tree = False

    def __init__(self, kernel: Path) -> None:
        """:raises SetupError: ``kernel`` is not a 64-bit ELF file, or too large for QEMU."""
        self.kernel_entry = SkibootEntry(KERNEL_LOAD_ADDRESS + _entry_offset(kernel))
        size_bytes = kernel.stat().st_size
        if size_bytes > MOST_KERNEL_BYTES:
            raise SetupError(
                f"{kernel} has {binary_size(size_bytes)}, and QEMU's powernv takes {binary_size(MOST_KERNEL_BYTES)} at "
                "most: give a copy without its debug information (powerpc64le-linux-gnu-strip -g -o COPY)"
            )
        self._kernel = Range.sized(KERNEL_LOAD_ADDRESS, size_bytes)
        self._own: Range | None = None  # entry page and tree, from the first handover on

    def cpu_ids(self, tree: DeviceTree, core_ids: Sequence[int | None]) -> Sequence[int | None]:
        """QEMU makes CPUs in the order of their PIRs, which are the interrupt servers too."""
        servers = sorted(interrupt_servers(tree))
        if len(servers) != len(core_ids):
            raise MachineError(f"skiboot has found {counted(len(servers), 'CPU')}, QEMU has {len(core_ids)}")
        return servers

    def is_online(self, shown: Mapping[str, int]) -> bool:
        """All are: OPAL reports every thread of an active core, whatever Linux does with it."""
        return True

    def has_hash_table(self, shown: Mapping[str, int]) -> bool:
        return False  # it lies in memory, and no firmware's dump has it

    def prepare(
        self, tree: DeviceTree, found: TreePlace, ram: RangeSet, tokens: Collection[int], *, reserve: bool
    ) -> Preparation:
        opal = tree.find("/ibm,opal")
        if opal is None:
            raise MachineError("the device tree at handover has no OPAL")
        if self._own is None:
            size_bytes = LARGEST_PAGE_BYTES + align_up(found.room_bytes + _TREE_SLACK_BYTES, LARGEST_PAGE_BYTES)
            self._own = _place_behind_opal(opal, size_bytes, ram - reserved(tree))
        real_entry = opal.number("opal-entry-address")
        if real_entry > _DOUBLEWORD:
            raise MachineError(f"OPAL can't have its entry at {real_entry:#x}")
        page = opal_entry_page(self._own.start, tokens, real_entry)
        opal.properties["opal-entry-address"] = struct.pack(">Q", page.address)
        if reserve:
            name_reserved(tree, self._own)
        place = TreePlace(self._own.start + LARGEST_PAGE_BYTES, self._own.size_bytes - LARGEST_PAGE_BYTES)
        skiboots = RangeSet(piece.range for piece in _skiboot_memory(tree))
        images = RangeSet([self._kernel]) | initrd(tree)
        live = skiboots | RangeSet([found.range, self._own]) | images
        return Preparation(page, place, live, images, _firmware_memory(tree))

    def own_end(self, tree: DeviceTree, memory: GuestMemory) -> OwnEnd | None:
        """Every way on which skiboot ends the machine, be it for a kernel or by an abort of its own, leads to
        p9_sbe_terminate(), which tells the SBE to take the dump (core/platform.c, hw/ipmi/ipmi-attn.c, hw/sbe-p9.c).

        Its list of symbols has where that is, and attn_trigger: with 0xdeadbeef there, "for testing purposes only", an
        assertion of OPAL_POLL_EVENTS fails (asm/head.S, core/opal.c).
        """
        opal, firmware = tree.find("/ibm,opal"), tree.find("/ibm,opal/firmware")
        if opal is None or firmware is None or "symbol-map" not in firmware.properties:
            return None
        (place, *_others) = (*pairs(firmware, "symbol-map"), Range(0, 0))
        if place.size_bytes > _MOST_SYMBOL_MAP_BYTES or not memory.ram.contains(place):
            return None
        symbols = bytes(memory.read(place.start, place.size_bytes))
        base, end, switch = opal.number("opal-base-address"), code_offset(symbols, _END), code_offset(symbols, _SWITCH)
        if end is None or switch is None or not memory.ram.contains(Range(base, base + max(end, switch) + 8)):
            return None
        return OwnEnd(base + end, base + switch, _FAILURE)

    async def read_call(
        self, registers: RegisterFile, memory: GuestMemory, thread: str, cpu_id: int
    ) -> FirmwareCall | None:
        token, *arguments = await registers.read(thread, "r0", *_ARGUMENTS)
        return FirmwareCall(cpu_id, token, tuple(arguments), returns=1, answer_address=0)

    async def write_answer(
        self, registers: RegisterFile, memory: GuestMemory, thread: str, call: FirmwareCall, answer: Answer
    ) -> None:
        for address, data in answer.writes:
            memory.write(address, data)
        await registers.write(thread, "r3", answer.status & _DOUBLEWORD)


def _place_behind_opal(opal: Node, size_bytes: int, free: RangeSet) -> Range:
    opal_end = opal.number("opal-base-address") + opal.number("opal-runtime-size")
    for piece in free:
        end = align_up(max(piece.start, opal_end) + size_bytes, _CMA_ALIGNMENT)
        if end <= piece.end:
            return Range(end - size_bytes, end)
    raise MachineError(f"no memory above skiboot's end {opal_end:#x} for the entry page and the device tree")


def _skiboot_memory(tree: DeviceTree) -> list[FirmwareMemory]:
    """What skiboot uses in this boot."""
    nodes = tree.find("/reserved-memory")
    if nodes is None:
        return []
    return [FirmwareMemory(piece, node.name) for node in nodes.children for piece in pairs(node, "reg")]


def _firmware_memory(tree: DeviceTree) -> list[FirmwareMemory]:
    """All that the tree reserves for firmware: skiboot's own, our firmware's, and the entry page."""
    skiboots = _skiboot_memory(tree)
    others = reserved(tree) - RangeSet(piece.range for piece in skiboots)
    return skiboots + [FirmwareMemory(piece, "reserved-ranges") for piece in others]


def _entry_offset(kernel: Path) -> int:
    """How far into the file the first instruction is; skiboot does not move a kernel's segments."""
    with kernel.open("rb") as file:
        raw = file.read(elf.ELF_HEADER.size_bytes)
        is_elf = len(raw) == elf.ELF_HEADER.size_bytes and raw.startswith(_ELF_MAGIC)
        byte_order = elf.BYTE_ORDERS.get(elf.ELF_HEADER.number(raw, "ei_data")) if is_elf else None
        if byte_order is None:
            raise SetupError(f"{kernel} is not a 64-bit ELF file: powernv needs a vmlinux")
        header = elf.ELF_HEADER.in_order(byte_order).decode(raw)
        file.seek(header.e_phoff)
        table = file.read(header.e_phentsize * header.e_phnum)
    layout, entry = elf.PROGRAM_HEADER.in_order(byte_order), header.e_entry
    for at in range(0, len(table) - layout.size_bytes + 1, max(header.e_phentsize, layout.size_bytes)):
        segment = layout.decode(table, at)
        if segment.p_type == elf.PT_LOAD and segment.p_vaddr <= entry < segment.p_vaddr + segment.p_filesz:
            return segment.p_offset + entry - segment.p_vaddr
    raise SetupError(f"{kernel} has no segment with its entry {entry:#x}: powernv needs a vmlinux")

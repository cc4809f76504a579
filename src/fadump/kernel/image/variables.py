"""The model kernel's variables that readers of its dump use: symbols, nodes, CPUs, the MMU.

No step of its own in docs/architecture.md. Linux: kernel/kallsyms.c, mm/mmzone.c (node_data), kernel/cpu.c
(__cpu_online_mask), kernel/crash_core.c (crash_notes), arch/powerpc/mm/book3s64/hash_utils.c (mmu_psize_defs),
arch/powerpc/kernel/cputable.c (cur_cpu_spec). All are in :data:`.state.DATA`; VMCOREINFO's lines about them are in
:mod:`.vmcoreinfo`.
"""

import struct
from collections.abc import Mapping

from fadump.abi.linux.page_table import MMU_FTR_TYPE_RADIX, PAGE_OFFSET
from fadump.kernel.image.content import seeded
from fadump.kernel.image.kallsyms import Symbol, offsets_from_places, tables
from fadump.kernel.image.page_tables import PageTables
from fadump.kernel.image.stacks import function_symbols
from fadump.kernel.image.struct_pages import StructPages, vmalloc_start
from fadump.kernel.image.vmcoreinfo import (
    FIRST_PFN_OFFSET,
    MMU_FEATURES_OFFSET,
    NODE_BYTES,
    NODE_ID_OFFSET,
    NODES,
    PSIZE_BYTES,
    SHIFT_OFFSET,
    SPANNED_OFFSET,
    ZONES_OFFSET,
)
from fadump.kernel.plan.memory_map import Memblock
from fadump.kernel.register_area import NOTE_BUFFER_BYTES
from fadump.kernel.state import DATA, LOG, PAGE_TABLES, SECTION_ROOTS, TEXT, UTS_NAMESPACE, FadumpState
from fadump.kernel.traits import align_up

_NO_CPU = 0xFFFF_FFFF
_PAGE_SIZE_SHIFTS = (12, 14, 16, 16, 18, 19, 20, 21, 22, 23, 24, 26, 28, 30, 34, 36)
"""MMU_PAGE_4K to MMU_PAGE_64G, in the order of mmu_psize_defs."""
_VMALLOC_GUARD_BYTES = 1 << 16


def write_variables(
    state: FadumpState, struct_pages: StructPages, memblock: Memblock, page_tables: PageTables
) -> Mapping[str, int]:
    """Write all variables; return their virtual addresses by name, with those of VMCOREINFO's other symbols."""
    variables = _Variables(state)
    online, count = state.online, len(state.cpu_names)
    variables.place("node_online_map", struct.pack("<Q", 1).ljust(NODES // 8, b"\0"))
    node = variables.place("contig_page_data", _node(state))
    variables.place("node_data", struct.pack("<Q", node).ljust(8 * NODES, b"\0"))
    variables.place("nr_cpu_ids", struct.pack("<I", count))
    variables.place("__cpu_online_mask", online.to_bytes(state.cpu_mask_bytes, "little"))
    variables.place("crashing_cpu", struct.pack("<I", _NO_CPU))
    stride = align_up(NOTE_BUFFER_BYTES, 16)
    variables.place("__per_cpu_offset", struct.pack(f"<{count}Q", *range(0, count * stride, stride)))
    variables.place("crash_notes", struct.pack("<Q", variables.place("the_crash_notes", bytes(count * stride))))
    variables.place("clear_seq", bytes(24))
    listed = not state.radix or state.traits.lists_vmemmap
    variables.place(
        "mmu_vmemmap_psize", struct.pack("<I", _PAGE_SIZE_SHIFTS.index(struct_pages.block_bits) if listed else 0)
    )
    variables.place("mmu_psize_defs", b"".join(_psize_def(shift) for shift in _PAGE_SIZE_SHIFTS))
    features = MMU_FTR_TYPE_RADIX if state.radix else 0
    spec = bytes(MMU_FEATURES_OFFSET) + struct.pack("<Q", features)
    variables.place("cur_cpu_spec", struct.pack("<Q", variables.place("the_cpu_spec", spec)))
    variables.place("vmemmap_list", struct.pack("<Q", _vmemmap_list(state, struct_pages, variables)))
    variables.place("vmap_area_list", struct.pack("<QQ", *[variables.next_address] * 2))
    variables.place("dentry_hashtable", struct.pack("<Q", _vmalloc(state, memblock, page_tables)))
    own = variables.symbols | {
        "_stext": PAGE_OFFSET,
        "init_uts_ns": PAGE_OFFSET | UTS_NAMESPACE,
        "swapper_pg_dir": PAGE_OFFSET | PAGE_TABLES.start,
        "mem_section": PAGE_OFFSET | SECTION_ROOTS.start,
        "prb": PAGE_OFFSET | LOG,
    }
    symbols = [Symbol(name, "D", address) for name, address in own.items()]
    symbols += [Symbol("_etext", "T", PAGE_OFFSET | TEXT.end), *function_symbols()]
    kallsyms = dict(tables(symbols))
    if not state.traits.has_relative_base:
        del kallsyms["relative_base"]
        del kallsyms["offsets"]
        variables.place("kallsyms_offsets", offsets_from_places(symbols, variables.next_address))
    for name, table in kallsyms.items():
        variables.place(f"kallsyms_{name}", table)
    return own | variables.symbols


class _Variables:
    """Writes successive variables."""

    def __init__(self, state: FadumpState) -> None:
        self._memory = state.memory
        self._next = DATA.start
        self.symbols: dict[str, int] = {}

    @property
    def next_address(self) -> int:
        """The address of the next variable."""
        return PAGE_OFFSET | self._next

    def place(self, name: str, value: bytes) -> int:
        """Write a variable; return its virtual address."""
        address = self.next_address
        self._memory.write(self._next, value)
        self._next = align_up(self._next + len(value), 16)
        assert self._next <= DATA.end, "the model's variables need more room"  # noqa: S101 - their number is known
        self.symbols[name] = address
        return address


def _node(state: FadumpState) -> bytes:
    """struct pglist_data, with one zone."""
    page_bytes = state.traits.page_bytes
    node = bytearray(NODE_BYTES)
    struct.pack_into("<I", node, ZONES_OFFSET, 1)
    struct.pack_into("<Q", node, FIRST_PFN_OFFSET, 0)
    struct.pack_into("<Q", node, SPANNED_OFFSET, state.ram[-1].end // page_bytes)
    struct.pack_into("<I", node, NODE_ID_OFFSET, 0)
    return bytes(node)


def _psize_def(shift: int) -> bytes:
    return (bytes(SHIFT_OFFSET) + struct.pack("<I", shift)).ljust(PSIZE_BYTES, b"\0")


def _vmemmap_list(state: FadumpState, struct_pages: StructPages, variables: _Variables) -> int:
    """Write the list and return its head, the last member; newer kernels have none with radix."""
    if (state.radix and not state.traits.lists_vmemmap) or not struct_pages.blocks:
        return 0
    first = variables.next_address & ~PAGE_OFFSET
    members = struct_pages.backing(first)
    variables.place("vmemmap_backings", members)
    return PAGE_OFFSET | first + len(members) - len(members) // len(struct_pages.blocks)


def _vmalloc(state: FadumpState, memblock: Memblock, page_tables: PageTables) -> int:
    """Map two pages that are adjacent in vmalloc but not in memory; return their virtual address."""
    page_bytes = state.traits.page_bytes
    virtual = vmalloc_start(page_bytes, radix=state.radix) + _VMALLOC_GUARD_BYTES
    source = seeded(f"{state.release} vmalloc")
    upper, _between, lower = (memblock.allocate(page_bytes) for _ in range(3))
    for number, physical in enumerate((lower, upper)):
        if physical is None:
            return 0
        page_tables.map_leaves(virtual + number * page_bytes, physical, page_bytes.bit_length() - 1)
        state.memory.write(physical, source.randbytes(page_bytes))
    return virtual

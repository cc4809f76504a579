"""VMCOREINFO of the model kernel, as a note in its memory.

Steps "register" and "crash" of docs/architecture.md. Linux kernel/vmcore_info.c and arch/powerpc/kexec/vmcore_info.c
(kernel/crash_core.c and arch/powerpc/kexec/core.c in 6.1), of a kernel with NUMA and without CONFIG_MEMORY_FAILURE.
"""

import hashlib
from collections.abc import Mapping

from fadump.abi.elf import NOTE_HEADER
from fadump.kernel.image.page_layout import (
    LARGEST_BLOCK_BYTES,
    MAX_PHYSICAL_BITS,
    SECOND_DTOR_OFFSET,
    SECOND_ORDER_OFFSET,
    SECTION_BITS,
    SECTION_STRUCT_BYTES,
    STRUCT_BYTES,
    page_layout,
)
from fadump.kernel.image.struct_pages import BACKING_BYTES, section_roots, vmalloc_start, vmemmap_start
from fadump.kernel.traits import KernelTraits
from fadump.vmcore import notes
from fadump.vmcore.notes import VMCOREINFO_NAME

_NAME_BYTES = 12
_UTS_FIELD_BYTES = 65
NODES = 256
"""MAX_NUMNODES."""
MIGRATE_TYPES = 6
NODE_BYTES, FIRST_PFN_OFFSET, NODE_ID_OFFSET, ZONES_OFFSET = 20480, 19496, 19520, 19488
"""struct pglist_data: its size, node_start_pfn, node_id and nr_zones."""
SPANNED_OFFSET, ZONE_SPANNED_OFFSET, FREE_PAGES_OFFSET = 19512, 136, 1408
"""node_spanned_pages; then spanned_pages and vm_stat of struct zone, the first of which is at 0."""
SHIFT_OFFSET, PSIZE_BYTES, MMU_FEATURES_OFFSET = 0, 96, 32
"""In struct mmu_psize_def: shift, and the struct's size; in struct cpu_spec: mmu_features."""
_NODES = {
    "OFFSET(mem_section.section_mem_map)": "0", "SIZE(pglist_data)": str(NODE_BYTES), "SIZE(zone)": "1536",
    "SIZE(free_area)": "104", "SIZE(list_head)": "16", "SIZE(nodemask_t)": str(NODES // 8),
    "OFFSET(pglist_data.node_zones)": "0", "OFFSET(pglist_data.nr_zones)": str(ZONES_OFFSET),
    "OFFSET(pglist_data.node_start_pfn)": str(FIRST_PFN_OFFSET),
    "OFFSET(pglist_data.node_spanned_pages)": str(SPANNED_OFFSET), "OFFSET(pglist_data.node_id)": str(NODE_ID_OFFSET),
    "OFFSET(zone.free_area)": "256", "OFFSET(zone.vm_stat)": str(FREE_PAGES_OFFSET),
    "OFFSET(zone.spanned_pages)": str(ZONE_SPANNED_OFFSET), "OFFSET(free_area.free_list)": "0",
    "OFFSET(list_head.next)": "0", "OFFSET(list_head.prev)": "8",
}  # fmt: skip
_PAGE_MEMBERS = {
    "flags": 0, "_refcount": 52, "mapping": 24, "lru": 8, "_mapcount": 48, "private": 40,
}  # fmt: skip
_KALLSYMS = ("names", "num_syms", "token_table", "token_index", "offsets", "relative_base")
_VMEMMAP = {
    "SIZE(vmemmap_backing)": str(BACKING_BYTES), "OFFSET(vmemmap_backing.list)": "0",
    "OFFSET(vmemmap_backing.phys)": "8", "OFFSET(vmemmap_backing.virt_addr)": "16",
    "SIZE(mmu_psize_def)": str(PSIZE_BYTES), "OFFSET(mmu_psize_def.shift)": str(SHIFT_OFFSET),
}  # fmt: skip
_CPU_SPEC = {"OFFSET(cpu_spec.cpu_features)": "16", "OFFSET(cpu_spec.mmu_features)": str(MMU_FEATURES_OFFSET)}
_UTS_NAMES = ("sysname", "nodename", "release", "version", "machine", "domainname")


def note_area_bytes(page_bytes: int) -> int:
    """VMCOREINFO_NOTE_SIZE: the size in the crash-info header, which includes zeros after the note."""
    return 2 * NOTE_HEADER.size_bytes + _NAME_BYTES + page_bytes


def encode_note(text: bytes) -> bytes:
    """The note in memory, with the zeros that end it."""
    return notes.encode_note(VMCOREINFO_NAME, 0, text, "little") + bytes(NOTE_HEADER.size_bytes)


def facts_of(
    release: str, kernel: KernelTraits, symbols: Mapping[str, int], log: Mapping[str, str], *, radix: bool
) -> Mapping[str, str]:
    """The lines in Linux's order; ``symbols`` are virtual addresses by name, ``log`` are the facts about printk."""
    orders = (LARGEST_BLOCK_BYTES // kernel.page_bytes).bit_length()
    facts = {"OSRELEASE": release, "BUILD-ID": hashlib.sha256(release.encode()).hexdigest()[:40]}
    facts |= {"PAGESIZE": str(kernel.page_bytes)}
    facts |= _symbols(symbols, "init_uts_ns", "node_online_map", "swapper_pg_dir", "_stext")
    facts["OFFSET(uts_namespace.name)"] = "0"
    if kernel.exports_mmu:
        facts["NUMBER(VMALLOC_START)"] = f"{vmalloc_start(kernel.page_bytes, radix=radix):#x}"
        facts["SYMBOL(vmemmap)"] = f"{vmemmap_start(kernel.page_bytes, radix=radix):x}"
    else:
        facts |= _symbols(symbols, "vmap_area_list") | {
            "OFFSET(vmap_area.va_start)": "0",
            "OFFSET(vmap_area.list)": "40",
        }
    facts |= _symbols(symbols, "mem_section")
    facts |= _sizes("SIZE", mem_section=SECTION_STRUCT_BYTES, page=STRUCT_BYTES) | _NODES
    facts |= _sizes("LENGTH", mem_section=section_roots(kernel.page_bytes), node_data=NODES)
    facts |= {"LENGTH(zone.free_area)": str(orders), "LENGTH(free_area.free_list)": str(MIGRATE_TYPES)}
    facts |= _sizes("NUMBER", SECTION_SIZE_BITS=SECTION_BITS, MAX_PHYSMEM_BITS=MAX_PHYSICAL_BITS, NR_FREE_PAGES=0)
    facts |= {f"OFFSET(page.{name})": str(offset) for name, offset in _page_members(kernel).items()}
    if not kernel.typed_pages:
        facts |= {"OFFSET(page.compound_dtor)": str(SECOND_DTOR_OFFSET)}
        facts |= {"OFFSET(page.compound_order)": str(SECOND_ORDER_OFFSET)}
    facts |= {**log, **page_layout(kernel).facts()}
    tables = [table for table in _KALLSYMS if kernel.has_relative_base or table != "relative_base"]
    facts |= _symbols(symbols, *(f"kallsyms_{table}" for table in tables), "node_data")
    facts |= _symbols(symbols, "vmemmap_list", "mmu_vmemmap_psize", "mmu_psize_defs") | _VMEMMAP
    if kernel.exports_mmu:
        facts |= _symbols(symbols, "cur_cpu_spec") | _CPU_SPEC | {"NUMBER(RADIX_MMU)": str(int(radix))}
    return facts | {"KERNELOFFSET": "0"}


def _page_members(kernel: KernelTraits) -> Mapping[str, int]:
    return {**_PAGE_MEMBERS, "compound_head" if kernel.says_compound_head else "compound_info": 8}


def encode_text(facts: Mapping[str, str]) -> bytes:
    """The lines as bytes."""
    return "".join(f"{key}={value}\n" for key, value in facts.items()).encode()


def _symbols(symbols: Mapping[str, int], *names: str) -> dict[str, str]:
    return {f"SYMBOL({name})": f"{symbols[name]:x}" for name in names}


def _sizes(kind: str, **values: int) -> dict[str, str]:
    return {f"{kind}({name})": str(value) for name, value in values.items()}


def encode_uts(release: str) -> bytes:
    """struct new_utsname, at the start of init_uts_ns."""
    values = {"sysname": "Linux", "nodename": "(none)", "release": release, "version": "#1 SMP", "machine": "ppc64le"}
    texts = (values.get(name, "(none)") for name in _UTS_NAMES)
    return b"".join(text.encode()[: _UTS_FIELD_BYTES - 1].ljust(_UTS_FIELD_BYTES, b"\0") for text in texts)

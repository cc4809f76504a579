"""The known kernel of :mod:`benchmarks.truth` as a dump of ppc64le and of x86-64 at once, for tools of either.

x86-64's page tables lie in the kernel's memory beside ppc64's and map the same addresses: 5 levels, as those of the
linear map and of the struct pages differ in bits that 4 levels don't look at. VMCOREINFO has what either needs. What
is left is ``e_machine`` of the ELF header, which :func:`set_machine` changes in place.
"""

import os
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from benchmarks.truth import KERNEL_BYTES, PAGE, STRUCT, Truth, make_truth
from fadump.abi.elf import ELF_HEADER
from tests.linux.kernel_builder import PAGE_OFFSET, VMEMMAP_START, FakeKernel

EM_X86_64 = 62

_SECTION_BITS = 27
"""Whatever a dump says, makedumpfile has x86-64's."""
_PHYSICAL_BITS = 36
"""So that the table of sections has as many entries as there are."""
_KERNEL_MAP = 0xFFFF_FFFF_8000_0000
_PRESENT, _LEAF = 1, 1 << 7
_UTS_LENGTH = 65


def make_twin(size_bytes: int) -> Truth:
    """A kernel whose dump tools for both machines can read; ``size_bytes`` is a multiple of 128 MiB."""
    truth = make_truth(size_bytes, section_bits=_SECTION_BITS)
    kernel = truth.kernel
    _add_page_tables(kernel, size_bytes, truth.pages * STRUCT)
    names = (b"Linux", b"twin", kernel.facts["OSRELEASE"].encode(), b"#1", b"ppc64le", b"")
    kernel.symbol("init_uts_ns", kernel.place(b"".join(name.ljust(_UTS_LENGTH, b"\0") for name in names)))
    kernel.symbol("node_online_map", kernel.place(kernel.pack("Q", 1)))
    kernel.symbol("contig_page_data", kernel.place(bytes(PAGE)))
    kernel.state("SIZE", pglist_data=PAGE, zone=1024, free_area=88, list_head=16, nodemask_t=8)
    kernel.state("OFFSET", uts_namespace__name=0, page___refcount=52, page__lru=8, pglist_data__node_zones=0)
    kernel.state("OFFSET", pglist_data__nr_zones=8, pglist_data__node_start_pfn=16, pglist_data__node_spanned_pages=24)
    kernel.state("OFFSET", pglist_data__node_id=32, zone__free_area=0, zone__vm_stat=8, zone__spanned_pages=16)
    kernel.state("OFFSET", free_area__free_list=0, list_head__next=0, list_head__prev=8)
    kernel.state("LENGTH", free_area__free_list=5)
    kernel.state("NUMBER", NR_FREE_PAGES=0, PG_hwpoison=22, MAX_PHYSMEM_BITS=_PHYSICAL_BITS)
    return truth


def set_machine(path: Path, machine: int) -> None:
    """Have an ELF core be of this machine."""
    fd = os.open(path, os.O_WRONLY)
    try:
        os.pwrite(fd, machine.to_bytes(2, "little"), ELF_HEADER.offset("e_machine"))
    finally:
        os.close(fd)


def _add_page_tables(kernel: FakeKernel, size_bytes: int, struct_bytes: int) -> None:
    linear = {number: number << 30 | _PRESENT | _LEAF for number in range(-(-size_bytes >> 30))}
    structs = {number: KERNEL_BYTES + (number << 21) | _PRESENT | _LEAF for number in range(-(-struct_bytes >> 21))}
    linear_at = _add_table(kernel, {0: _add_table(kernel, linear)})
    structs_at = _add_table(kernel, {0: _add_table(kernel, {0: _add_table(kernel, structs)})})
    top = _add_table(kernel, {_top_index(PAGE_OFFSET): linear_at, _top_index(VMEMMAP_START): structs_at})
    kernel.symbol("init_top_pgt", _KERNEL_MAP + (top & ~_PRESENT))
    kernel.state("NUMBER", phys_base=0, pgtable_l5_enabled=1)


def _add_table(kernel: FakeKernel, entries: Mapping[int, int]) -> int:
    """Place a page table; the entry that points to it."""
    table = np.zeros(PAGE // 8, "<u8")
    for index, entry in entries.items():
        table[index] = entry
    return (kernel.place(table.tobytes(), align=PAGE) - PAGE_OFFSET) | _PRESENT


def _top_index(virtual: int) -> int:
    return virtual >> 48 & 0x1FF

"""Where Linux maps struct pages and vmalloc's memory: arch/powerpc/include/asm/book3s/64/{radix,hash,hash-4k}.h."""

from types import SimpleNamespace

import pytest

from fadump.kernel.image.struct_pages import StructPages, vmalloc_start, vmemmap_start
from fadump.kernel.plan.memory_map import Memblock
from fadump.kernel.traits import KernelTraits
from fadump.memory.ranges import Range, RangeSet


@pytest.mark.parametrize(
    ("page_bytes", "radix", "vmalloc", "vmemmap"),
    [
        (0x1000, True, 0xC008_0000_0000_0000, 0xC00C_0000_0000_0000),
        (0x10000, True, 0xC008_0000_0000_0000, 0xC00C_0000_0000_0000),
        (0x10000, False, 0xC008_0000_0000_0000, 0xC00C_0000_0000_0000),
        (0x1000, False, 0xC000_3D00_0000_0000, 0xC000_4100_0000_0000),
    ],
)
def test_regions_begin_where_linux_has_them(page_bytes, radix, vmalloc, vmemmap):
    assert vmalloc_start(page_bytes, radix=radix) == vmalloc
    assert vmemmap_start(page_bytes, radix=radix) == vmemmap


@pytest.mark.parametrize(("radix", "block_bytes"), [(True, 2 << 20), (False, 16 << 20)])
def test_a_struct_page_is_at_vmemmap_plus_its_number(radix, block_bytes):
    """pfn_to_page() with CONFIG_SPARSEMEM_VMEMMAP: vmemmap + pfn, in units of 64 bytes."""
    memory = Range(0, 64 << 30)
    state = SimpleNamespace(ram=(memory,), traits=KernelTraits(), radix=radix)
    pages = StructPages(state, Memblock(RangeSet([memory])))
    blocks = sorted(pages.blocks, key=lambda block: block.virtual)
    assert len(blocks) * block_bytes == (64 << 30) // 0x10000 * 64
    for number, block in enumerate(blocks):
        assert block.pages * 64 == block_bytes
        assert block.virtual == 0xC00C_0000_0000_0000 + number * block_bytes
        assert block.first_pfn * 64 == number * block_bytes
    assert pages.memory == RangeSet([memory])

"""Where Linux maps struct pages and vmalloc's memory: arch/powerpc/include/asm/book3s/64/{radix,hash,hash-4k}.h."""

import pytest

from fadump.kernel.image.struct_pages import vmalloc_start, vmemmap_start


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

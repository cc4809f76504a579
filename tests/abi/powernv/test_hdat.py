"""The places of skiboot's include/mem-map.h and the numbers of include/opal-dump.h."""

from fadump.abi.powernv import hdat
from fadump.abi.powernv.hdat import RegionId


def test_sizes_and_places_are_skiboots():
    assert (hdat.SKIBOOT_BASE, hdat.SKIBOOT_BYTES, hdat.STACK_BYTES) == (0x3000_0000, 0x01C1_0000, 32 << 10)
    assert (hdat.KERNEL_LOAD_BASE, hdat.INITRAMFS_LOAD_BASE) == (0x2000_0000, 0x2800_0000)
    assert hdat.MAX_RANGES == 64
    assert (RegionId.OPAL_MEMORY, RegionId.KERNEL) == (0x03, 0x80)


def test_skiboot_is_where_qemus_is_and_has_a_stack_for_each_pir():
    """As seen of QEMU 7.2 with two and four CPUs, whose highest PIRs are 4 and 12."""
    opal, allocated = hdat.skiboot_memory(4)
    assert (opal.start, opal.end, allocated.end) == (0x3000_0000, 0x31C5_0000, 0x3300_0000)
    assert hdat.skiboot_memory(12)[0].end == 0x31C9_0000
    opal, allocated = hdat.skiboot_memory(8191)
    assert (opal.end, allocated.start, allocated.end) == (0x41C1_0000, 0x41C1_0000, 0x4300_0000)

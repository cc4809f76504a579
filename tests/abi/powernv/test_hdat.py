"""The places of skiboot's include/mem-map.h and the numbers of include/opal-dump.h."""

from fadump.abi.powernv import hdat
from fadump.abi.powernv.hdat import RegionId


def test_sizes_and_places_are_skiboots():
    assert (hdat.SKIBOOT_BASE, hdat.SKIBOOT_BYTES, hdat.STACK_BYTES) == (0x3000_0000, 0x01C1_0000, 32 << 10)
    assert (hdat.KERNEL_LOAD_BASE, hdat.INITRAMFS_LOAD_BASE) == (0x2000_0000, 0x2800_0000)
    assert hdat.MAX_RANGES == 64
    assert (RegionId.OPAL_MEMORY, RegionId.KERNEL) == (0x03, 0x80)

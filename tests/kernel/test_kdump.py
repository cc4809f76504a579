from dataclasses import replace

import pytest

from fadump.kernel.kdump import kdump_reservation
from fadump.kernel.traits import LINUX_6_1, LINUX_6_12, MIB
from fadump.memory.ranges import Range
from tests.kernel.systems import powernv, pseries


@pytest.mark.parametrize(
    ("blocks", "cmdline", "start_mib", "size_mib"),
    [
        ([(0, 2048)], "crashkernel=256M", 512, 256),
        ([(0, 768), (768, 2048)], "crashkernel=256M", 384, 256),  # the middle of the first block
        ([(0, 2048)], "crashkernel=256M@64M", 64, 256),
        ([(0, 2048)], "crashkernel=1500M", 512, 1500),
        ([(0, 2048)], "crashkernel=256M mem=640M", 320, 256),
    ],
)
def test_where_kdump_gets_its_memory(blocks, cmdline, start_mib, size_mib):
    found = kdump_reservation(pseries(*blocks), LINUX_6_12, cmdline)
    assert found.area == Range.sized(start_mib * MIB, size_mib * MIB)
    assert found.reason.number == found.area.start
    assert found.reason.source == "arch/powerpc/kexec/core.c:reserve_crashkernel"


def test_powernv_starts_lower():
    assert kdump_reservation(powernv(), LINUX_6_12, "crashkernel=1G").area.start == 128 * MIB


def test_sizes_are_whole_pages():
    found = kdump_reservation(pseries(), LINUX_6_12, "crashkernel=0x10000001@0x4000001")
    assert found.area == Range.sized(0x4010000, 0x10010000)


@pytest.mark.parametrize(
    ("cmdline", "sentence"),
    [
        ("", "there is no crashkernel="),
        ("crashkernel=1G,high", "there is no crashkernel="),
        ("crashkernel=256M,cma", "is not valid"),
        ("crashkernel=1", "one byte counts as none"),
        ("crashkernel=256M@16M", "would overlap the running kernel"),
        ("crashkernel=256M@1900M", "is not memory in one piece"),
        ("crashkernel=1G mem=1G", "not smaller than RAM"),
    ],
)
def test_why_kdump_gets_none(cmdline, sentence):
    found = kdump_reservation(pseries(), LINUX_6_12, cmdline)
    assert found.area is None
    assert sentence in found.reason.sentence


def test_mem_counts_as_ram_for_crashkernel():
    table = "crashkernel=0-1G:128M,1G-:256M"
    assert kdump_reservation(pseries(), LINUX_6_12, f"{table} mem=512M").area.size_bytes == 128 * MIB
    assert kdump_reservation(pseries(), LINUX_6_1, table).area.size_bytes == 256 * MIB


def test_a_kernel_elsewhere_is_not_overlapped():
    system = pseries()
    moved = replace(system, memory=replace(system.memory, kernel=Range(600 * MIB, 632 * MIB)))
    assert kdump_reservation(moved, LINUX_6_12, "crashkernel=256M").area is None

from dataclasses import replace

import pytest

from fadump.kernel.plan.cmdline import parse_command_line
from fadump.kernel.plan.kdump import kdump_reservation
from fadump.kernel.printk import Level
from fadump.kernel.traits import LINUX_6_1, LINUX_6_12, MIB
from fadump.memory.ranges import Range
from tests.kernel.systems import powernv, pseries


def reserved_for_kdump(system, kernel, cmdline):
    return kdump_reservation(system, kernel, parse_command_line(cmdline, kernel))


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
    found = reserved_for_kdump(pseries(*blocks), LINUX_6_12, cmdline)
    assert found.area == Range.sized(start_mib * MIB, size_mib * MIB)
    assert found.reason.number == found.area.start
    assert found.reason.source == "arch/powerpc/kexec/core.c:reserve_crashkernel"


@pytest.mark.parametrize(
    ("cmdline", "messages", "limit_mib"),
    [
        ("", (), 0),
        ("crashkernel=1G,cma", ((Level.WARN, "crashkernel: unrecognized char: ,"),), 0),
        (
            "crashkernel=256M",
            ((Level.INFO, "Reserving 256MB of memory at 512MB for crashkernel (System RAM: 2048MB)"),),
            0,
        ),
        (
            "crashkernel=256M@0x4000001",
            (
                (Level.WARN, "Crash kernel base must be aligned to 0x10000"),
                (Level.INFO, "Reserving 256MB of memory at 64MB for crashkernel (System RAM: 2048MB)"),
            ),
            0,
        ),
        ("crashkernel=256M@16M", ((Level.WARN, "Crash kernel can not overlap current kernel"),), 0),
        (
            "crashkernel=256M mem=640M",
            ((Level.INFO, "Reserving 256MB of memory at 320MB for crashkernel (System RAM: 640MB)"),),
            640,
        ),
        (
            "crashkernel=500M mem=640M",
            (
                (Level.WARN, "Adjusted memory limit for crashkernel, now 0x33400000"),
                (Level.INFO, "Reserving 500MB of memory at 320MB for crashkernel (System RAM: 820MB)"),
            ),
            820,
        ),
        (
            "crashkernel=1600M",
            (
                (Level.INFO, "Reserving 1600MB of memory at 512MB for crashkernel (System RAM: 2048MB)"),
                (Level.ERR, "Failed to reserve memory for crashkernel!"),
            ),
            0,
        ),
    ],
)
def test_what_linux_says_of_it(cmdline, messages, limit_mib):
    found = reserved_for_kdump(pseries(), LINUX_6_12, cmdline)
    assert (found.messages, found.memory_limit) == (messages, limit_mib * MIB)


def test_powernv_starts_lower():
    assert reserved_for_kdump(powernv(), LINUX_6_12, "crashkernel=1G").area.start == 128 * MIB


def test_sizes_are_whole_pages():
    found = reserved_for_kdump(pseries(), LINUX_6_12, "crashkernel=0x10000001@0x4000001")
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
    found = reserved_for_kdump(pseries(), LINUX_6_12, cmdline)
    assert found.area is None
    assert sentence in found.reason.sentence


def test_mem_counts_as_ram_for_crashkernel():
    table = "crashkernel=0-1G:128M,1G-:256M"
    assert reserved_for_kdump(pseries(), LINUX_6_12, f"{table} mem=512M").area.size_bytes == 128 * MIB
    assert reserved_for_kdump(pseries(), LINUX_6_1, table).area.size_bytes == 256 * MIB


def test_a_kernel_elsewhere_is_not_overlapped():
    system = pseries()
    moved = replace(system, memory=replace(system.memory, kernel=Range(600 * MIB, 632 * MIB)))
    assert reserved_for_kdump(moved, LINUX_6_12, "crashkernel=256M").area is None

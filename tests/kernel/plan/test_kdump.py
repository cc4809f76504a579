from dataclasses import replace

import pytest

from fadump.kernel.plan.cmdline import parse_command_line
from fadump.kernel.plan.kdump import kdump_cma, kdump_reservation
from fadump.kernel.printk import Level
from fadump.kernel.traits import LINUX_6_1, LINUX_6_12, LINUX_7_2, MIB, Mmu
from fadump.memory.ranges import Range, RangeSet
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


@pytest.mark.parametrize(
    ("system", "cmdline", "start", "size_bytes", "messages"),
    [  # as Linux 7.2 said it on machines of this memory
        (
            pseries((0, 16384)), "crashkernel=512M", 0x2000_0000, 512 * MIB,
            [(Level.INFO, "crashkernel reserved: 0x0000000020000000 - 0x0000000040000000 (512 MB)")],
        ),
        (
            powernv(), "crashkernel=0x15001001 mem=2G disable_radix", 0x800_0000, 0x15001001,
            [(Level.INFO, "crashkernel reserved: 0x0000000008000000 - 0x000000001d001001 (336 MB)")],
        ),
        (
            pseries((0, 768), (2048, 2816)), "crashkernel=100M fadump_reserve_mem=1200M", 0x1800_0000, 100 * MIB,
            [(Level.INFO, "crashkernel reserved: 0x0000000018000000 - 0x000000001e400000 (100 MB)")],
        ),
        (
            pseries((0, 768), (2048, 7424)), "crashkernel=2G-4G:400M,4G-32G:800M@64M,32G-:1G", None, 0,
            [(Level.WARN, "crashkernel reservation failed - memory is in use.")],
        ),
        (
            pseries(), "crashkernel=256M@16M", None, 0,
            [(Level.WARN, "Crash kernel can not overlap current kernel")],
        ),
        (
            pseries(), "crashkernel=256M@0x4000001", 0x401_0000, 256 * MIB,
            [
                (Level.WARN, "Crash kernel base must be aligned to 0x10000"),
                (Level.INFO, "crashkernel reserved: 0x0000000004010000 - 0x0000000014010000 (256 MB)"),
            ],
        ),
        (pseries(), "crashkernel=1", 0x2000_0000, 1, [
            (Level.INFO, "crashkernel reserved: 0x0000000020000000 - 0x0000000020000001 (0 MB)"),
        ]),
        (pseries(), "crashkernel=256M@64M crashkernel=x,cma", 0x400_0000, 256 * MIB, [
            (Level.WARN, "crashkernel: memory value expected"),
            (Level.INFO, "crashkernel reserved: 0x0000000004000000 - 0x0000000014000000 (256 MB)"),
        ]),
    ],
)  # fmt: skip
def test_where_newer_kernels_put_it(system, cmdline, start, size_bytes, messages):
    found = reserved_for_kdump(system, LINUX_7_2, cmdline)
    assert found.area == (None if start is None else Range.sized(start, size_bytes))
    assert list(found.messages) == messages
    if start is not None:
        assert found.reason.source == "kernel/crash_reserve.c:reserve_crashkernel_generic"


def test_newer_kernels_leave_mem_as_it_is():
    assert reserved_for_kdump(pseries(), LINUX_7_2, "crashkernel=500M mem=640M").memory_limit == 640 * MIB


@pytest.mark.parametrize(
    ("cmdline", "size_bytes"),
    [
        ("crashkernel=512M", 0),
        ("crashkernel=1G,cma", 1 << 30),
        ("crashkernel=1G,cma crashkernel=2G,cma crashkernel=3G", 2 << 30),
        ("crashkernel=1G,cma,cma", 1 << 30),
        ("crashkernel=nothing,cma", 0),
    ],
)
def test_what_newer_kernels_keep_for_kdump_and_lend(cmdline, size_bytes):
    assert reserved_for_kdump(pseries(), LINUX_7_2, cmdline).cma_bytes == size_bytes
    assert reserved_for_kdump(pseries(), LINUX_6_12, cmdline).cma_bytes == 0


@pytest.mark.parametrize(
    ("wanted_mib", "mmu", "said"),
    [
        (1024, Mmu.RADIX, (Level.INFO, "crashkernel CMA reserved: 1024 MB in 1 ranges")),
        # 768 + 192 + 48 + 12 MiB: what doesn't fit is halved until it does, and then tried again
        (1536, Mmu.RADIX, (Level.WARN, "1536 MB requested, 1020 MB reserved in 4 ranges")),
        (1536, Mmu.HASH, (Level.WARN, "1536 MB requested, 1020 MB reserved in 4 ranges")),
        (1000, Mmu.HASH, (Level.INFO, "crashkernel CMA reserved: 1000 MB in 1 ranges")),
        (1020, Mmu.HASH, (Level.INFO, "crashkernel CMA reserved: 1020 MB in 1 ranges")),
    ],
)
def test_what_newer_kernels_find_for_kdump_to_lend(wanted_mib, mmu, said):
    level, text = kdump_cma(RangeSet([Range(1024 * MIB, 2048 * MIB)]), wanted_mib * MIB, LINUX_7_2, mmu)
    assert level is said[0] and text.endswith(said[1])


def test_nothing_is_found_for_kdump_to_lend_where_no_memory_is_whole():
    few = RangeSet([Range(MIB, 2 * MIB)])
    assert kdump_cma(few, 4 * MIB, LINUX_7_2, Mmu.RADIX)[1].endswith("4 MB requested, 0 MB reserved in 0 ranges")


def test_powernv_starts_lower():
    assert reserved_for_kdump(powernv(), LINUX_6_12, "crashkernel=1G").area.start == 128 * MIB


def test_sizes_are_whole_pages():
    found = reserved_for_kdump(pseries(), LINUX_6_12, "crashkernel=0x10000001@0x4000001")
    assert found.area == Range.sized(0x4010000, 0x10010000)


@pytest.mark.parametrize(
    ("cmdline", "sentence"),
    [
        ("", "there is no crashkernel="),
        ("crashkernel=1G,high", "crashkernel= does not count if it ends in ,high or ,low"),
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

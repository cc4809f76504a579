from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fadump.abi.platform import Platform
from fadump.kernel.plan.boot_memory import BootMemory, Region, boot_memory, relocate
from fadump.kernel.plan.cmdline import parse_command_line
from fadump.kernel.plan.memory_map import MemoryBlock, MemoryMap
from fadump.kernel.traits import GIB, LINUX_6_1, LINUX_6_12, MIB, Refusal, align_up, least_boot_memory_bytes
from fadump.memory.ranges import Range, RangeSet
from tests.kernel.systems import memory


def boot(blocks, cmdline="", kernel=LINUX_6_12, platform=Platform.PSERIES):
    return boot_memory(platform, memory(*blocks), kernel, parse_command_line(cmdline, kernel))


def reason(found, name):
    return next(reason for reason in found.reasons if reason.name == name)


@pytest.mark.parametrize(
    ("ram_mib", "cmdline", "size_mib"),
    [
        (2048, "", 320),
        (4096, "", 320),
        (10240, "", 512),  # 5 % is 512 MiB
        (10239, "", 320),  # 5 % is less than 512 MiB, so 256, less than the least
        (65536, "", 3072),  # 5 % is 3276.8 MiB
        (2048, "crashkernel=512M", 512),
        (2048, "crashkernel=512M@64M", 512),
        (2048, "crashkernel=600M", 512),
        (65536, "crashkernel=64000M", 16384),
        (2048, "fadump_reserve_mem=1000M", 1000),  # the quarter is crashkernel='s alone
        (2048, "fadump_reserve_mem=1000M crashkernel=400M", 400),
        (2048, "fadump_reserve_mem=1000M crashkernel=1G,cma", 1000),
        (2048, "crashkernel=512M,high", 320),
        (2048, "crashkernel=512M,cma", 320),
        (2048, "crashkernel=2G", 320),  # not smaller than RAM: the default
        (2048, "crashkernel=512K crashkernel=1G-2G:384M,2G-:448M", 448),
        (1936, "crashkernel=1G-2G:384M,2G-:448M", 448),  # RAM counts as 2 GiB
        (10240, "mem=400M", 400),
        (10240, "mem=300M", 320),
        (2048, "crashkernel=0x15000001", 337),  # and 64 KiB: whole pages
    ],
)
def test_how_much(ram_mib, cmdline, size_mib):
    found = boot([(0, ram_mib)], cmdline)
    expected = size_mib * MIB if "0x" not in cmdline else 0x15010000
    assert found.size_bytes == found.top == expected
    assert found.regions == (Region(0, expected),)
    assert reason(found, "boot_memory_bytes").number == expected
    assert found.warnings == ()


def test_powernv_takes_768_mib_at_least():
    assert boot([(0, 4096)], platform=Platform.POWERNV).size_bytes == 768 * MIB
    refused = boot([(0, 2048)], "crashkernel=512M", platform=Platform.POWERNV)
    assert isinstance(refused, Refusal)
    assert "512 MiB of boot memory is less than 768 MiB" in refused.sentence


def test_too_little_is_refused_with_the_reason():
    refused = boot([(0, 1024)], "crashkernel=512M")
    assert refused.sentence == (
        "256 MiB of boot memory is less than 320 MiB, the least on pseries: "
        "crashkernel= asks for 512 MiB and is cut to a quarter of RAM"
    )
    assert refused.source == "arch/powerpc/kernel/fadump.c:fadump_reserve_mem"


def test_a_number_that_wraps_is_refused():
    assert isinstance(boot([(0, 2048)], "fadump_reserve_mem=0xffffffffffffffff"), Refusal)


def test_pages_are_the_kernels():
    small = replace(LINUX_6_12, page_bytes=0x1000)
    assert boot([(0, 2048)], "crashkernel=0x15000001", small).size_bytes == 0x15001000


def test_without_huge_pages_sizes_are_multiples_of_16_mib_unless_nocma():
    kernel = replace(LINUX_6_12, huge_pages=False)
    assert boot([(0, 2048)], "crashkernel=337M", kernel).size_bytes == 352 * MIB
    assert boot([(0, 2048)], "fadump=nocma crashkernel=337M", kernel).size_bytes == 337 * MIB


def test_an_older_kernel_cuts_a_crashkernel_of_all_ram_to_a_quarter():
    assert boot([(0, 2048)], "crashkernel=2G", LINUX_6_1).size_bytes == 512 * MIB


def test_a_hole_above_boot_memory_is_no_matter():
    found = boot([(0, 1024), (2048, 3072)], "crashkernel=512M")
    assert (found.top, found.regions, found.warnings) == (512 * MIB, (Region(0, 512 * MIB),), ())


def test_a_first_block_of_just_the_size_is_enough():
    found = boot([(0, 512), (1024, 4096)], "crashkernel=512M")
    assert (found.top, found.regions, found.warnings) == (512 * MIB, (Region(0, 512 * MIB),), ())


def test_a_hole_within_boot_memory_loses_some_of_it():
    """600 MiB of which the first 100 come from the first block: Linux then wants 500 - 100 of the second."""
    found = boot([(0, 100), (200, 4096)], "crashkernel=600M")
    assert found.regions == (Region(0, 100 * MIB), Region(200 * MIB, 400 * MIB))
    assert (found.size_bytes, found.top) == (600 * MIB, 700 * MIB)
    assert "0x1f400000 of 0x25800000 bytes of boot memory are registered" in found.warnings[0]


def test_a_first_block_of_half_the_size_leaves_nothing_for_the_second():
    found = boot([(0, 256), (512, 4096)], "crashkernel=512M")
    assert found.regions == (Region(0, 256 * MIB),)
    assert found.top == 768 * MIB
    assert "are registered, and the whole dump is lost" in found.warnings[0]


def test_a_first_block_of_more_than_half_makes_the_second_endless():
    found = boot([(0, 300), (512, 4096)], "crashkernel=512M")
    assert found.regions == (Region(0, 300 * MIB), Region(512 * MIB, (1 << 64) - 88 * MIB))
    assert found.top == (512 + 212) * MIB
    assert "0xfffffffffa800000 bytes from 0x20000000, which no firmware takes" in found.warnings[0]


def test_an_endless_block_is_too_many_ranges_for_opal():
    refused = boot([(0, 600), (1024, 8192)], "crashkernel=1G", platform=Platform.POWERNV)
    assert refused.sentence == "boot memory takes more than 128 ranges, the most on powernv"


def test_a_kernel_with_one_section_registers_from_0_on():
    found = boot([(0, 300), (512, 4096)], "crashkernel=512M", LINUX_6_1)
    assert found.regions == (Region(0, 512 * MIB),)
    assert found.top == 724 * MIB
    assert "a hole in boot memory, 0x12c00000 to 0x20000000: this kernel registers one range" in found.warnings[0]
    assert "from 0 to 0x20000000 all the same, which is not all RAM" in found.warnings[0]


@pytest.mark.parametrize("kernel", [LINUX_6_1, LINUX_6_12])
def test_where_removable_memory_meets_other_there_is_no_hole(kernel):
    blocks = [MemoryBlock(Range(0, 300 * MIB)), MemoryBlock(Range(300 * MIB, 4 * GIB), hot_removable=True)]
    found = boot_memory(
        Platform.PSERIES,
        MemoryMap.of(blocks, RangeSet(), RangeSet()),
        kernel,
        parse_command_line("crashkernel=512M", kernel),
    )
    (warning,) = found.warnings
    assert "removable memory begins or ends at 0x12c00000, within boot memory" in warning and "hole" not in warning


def test_boot_memory_in_more_than_seven_ranges_is_refused_by_pseries():
    blocks = [(index * 20, index * 20 + 10) for index in range(7)] + [(1024, 8192)]
    refused = boot(blocks, "crashkernel=512M")
    assert refused.sentence == "boot memory takes more than 7 ranges, the most on pseries"
    fewer = [*blocks[:6], blocks[7]]
    assert len(boot(fewer, "crashkernel=512M").regions) == 7
    assert isinstance(boot(blocks, "crashkernel=1G", platform=Platform.POWERNV), BootMemory)


def test_opal_copies_ranges_of_less_than_4_gib():
    found = boot([(0, 65536)], "crashkernel=10G", platform=Platform.POWERNV)
    most = 0xFFFF0000
    assert found.regions == (Region(0, most), Region(most, most), Region(2 * most, 10 * GIB - 2 * most))
    small = replace(LINUX_6_12, page_bytes=0x1000)
    assert boot([(0, 65536)], "crashkernel=10G", small, Platform.POWERNV).regions[1].start == 0xFFFFF000


@given(
    st.integers(1280, 64 << 20),
    st.integers(1, 1 << 44),
    st.sampled_from([LINUX_6_1, LINUX_6_12]),
    st.sampled_from(list(Platform)),
)
def test_without_holes_boot_memory_is_one_piece_from_0(ram_mib, asked, kernel, platform):
    ram_bytes = ram_mib * MIB
    found = boot([(0, ram_mib)], f"crashkernel={asked}", kernel, platform)
    if isinstance(found, Refusal):
        assert align_up(min(asked, ram_bytes // 4), kernel.page_bytes) < least_boot_memory_bytes(platform) or (
            platform is Platform.POWERNV and ram_bytes > 128 * 4 * GIB
        )
        return
    assert least_boot_memory_bytes(platform) <= found.size_bytes <= max(ram_bytes // 4 + kernel.page_bytes, 768 * MIB)
    assert sum(region.size_bytes for region in found.regions) == found.size_bytes == found.top
    assert found.warnings == ()


@given(st.lists(st.tuples(st.integers(1, 400), st.integers(0, 400)), min_size=1, max_size=8), st.integers(320, 4000))
def test_any_memory_has_boot_memory_or_a_reason(lengths, reserve_mib):
    blocks, at = [], 0
    for length, hole in lengths:
        blocks.append((at, at + length))
        at += length + hole
    for kernel in (LINUX_6_1, LINUX_6_12):
        for platform in Platform:
            found = boot(blocks, f"fadump_reserve_mem={reserve_mib}M", kernel, platform)
            if isinstance(found, BootMemory):
                assert found.top >= found.size_bytes
                assert len(found.regions) <= kernel.max_regions(platform)


def test_what_was_in_boot_memory_is_found_in_the_copy():
    regions = boot([(0, 100), (200, 4096)], "crashkernel=600M").regions
    copy = 0x4000_0000
    for address, offset in (
        (0, 0),
        (100 * MIB - 1, 100 * MIB - 1),
        (200 * MIB, 100 * MIB),
        (600 * MIB - 1, 500 * MIB - 1),
    ):
        assert relocate(address, regions, copy) == copy + offset
    for elsewhere in (100 * MIB, 600 * MIB, 3 * GIB):
        assert relocate(elsewhere, regions, copy) == elsewhere

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fadump.abi.linux.crash_info import decode
from fadump.abi.platform import Platform
from fadump.kernel.plan.memory_map import MemoryBlock, MemoryMap
from fadump.kernel.plan.reserve import Part, Reservation
from fadump.kernel.traits import GIB, LINUX_6_1, LINUX_6_12, LINUX_7_2, MIB, KernelTraits, Mmu, Refusal
from fadump.memory.ranges import Range, RangeSet
from tests.kernel.systems import CPU_STATE_BYTES, powernv, pseries, reserved

RTAS = Range(0x2FFF0000, 0x30000000)
SMALL = replace(LINUX_6_12, page_bytes=0x1000)


def part(reservation, wanted):
    return [section for section in reservation.sections if section.part is wanted]


def reason(reservation, name):
    return next(reason for reason in reservation.reasons if reason.name == name)


def test_a_plain_guest():
    found = reserved(pseries(), LINUX_6_12, "fadump=on crashkernel=512M")
    assert found.area == Range.sized(512 * MIB, 0x200101B0)
    places = [(section.part, section.source, section.size_bytes, section.destination) for section in found.sections]
    assert places == [
        (Part.CPU_STATE, None, CPU_STATE_BYTES, 0x20000000),
        (Part.HPTE, None, 0, 0x20002980),
        (Part.BOOT_MEMORY, 0, 0x20000000, 0x20010000),
        (Part.PARAMETER_AREA, 0x7FFFF800, 0x800, 0x7FFFF800),
        (Part.CRASH_INFO_HEADER, None, 0x1B0, 0x40010000),
    ]
    assert [section.part for section in found.registered(Platform.PSERIES)] == [
        *(Part.CPU_STATE, Part.HPTE, Part.BOOT_MEMORY, Part.PARAMETER_AREA)
    ]
    assert found.cma == Range.sized(0x20000000, 0x20000000)
    assert found.warnings == ()


def test_firmware_memory_is_avoided():
    found = reserved(pseries(firmware=[RTAS]), LINUX_6_12, "fadump=on crashkernel=512M")
    assert found.area.start == 0x30000000
    assert str(RTAS) in reason(found, "reserved_base").sentence


def test_the_gap_below_firmware_memory_is_used_if_it_is_large_enough():
    found = reserved(pseries((0, 8192), firmware=[Range(0x60000000, 0x60001000)]), LINUX_6_12, "fadump=on")
    assert found.area.start == 320 * MIB


def test_after_firmware_memory_the_area_starts_with_a_page():
    firmware = [Range(0x20000000, 0x20001000)]
    assert reserved(pseries(firmware=firmware), LINUX_6_12, "fadump=on crashkernel=512M").area.start == 0x20010000
    assert reserved(pseries(firmware=firmware), SMALL, "fadump=on crashkernel=512M").area.start == 0x20001000


def test_the_area_does_not_cross_a_hole():
    found = reserved(pseries((0, 600), (1024, 2048)), LINUX_6_12, "fadump=on crashkernel=384M")
    assert found.area.start == 1024 * MIB
    assert "one piece of memory" in reason(found, "reserved_base").sentence


def test_the_area_starts_with_a_page_of_its_piece_of_memory():
    blocks = [MemoryBlock(Range(0, 400 * MIB)), MemoryBlock(Range(GIB + 0x1000, 2 * GIB))]
    system = replace(pseries(), memory=MemoryMap.of(blocks, RangeSet(), RangeSet()))
    assert reserved(system, LINUX_6_12, "fadump=on").area.start == GIB + 0x10000


def test_the_area_does_not_cross_into_memory_that_can_be_unplugged():
    blocks = [MemoryBlock(Range(0, GIB)), MemoryBlock(Range(GIB, 3 * GIB), hot_removable=True)]
    system = replace(pseries(), memory=MemoryMap.of(blocks, RangeSet(), RangeSet()))
    assert reserved(system, LINUX_6_12, "fadump=on crashkernel=640M").area.start == GIB
    assert reserved(pseries((0, 3072)), LINUX_6_12, "fadump=on crashkernel=640M").area.start == 640 * MIB


def test_only_the_first_1024_ranges_of_the_firmware_are_seen():
    firmware = [Range.sized(GIB + index * 2 * MIB, MIB) for index in range(1025)]
    found = reserved(pseries((0, 8192), firmware=firmware), LINUX_6_12, "fadump=on crashkernel=1G")
    assert found.area.start == firmware[1023].end  # the last range lies within the area
    assert found.area.overlaps(firmware[1024])


def test_an_area_that_just_fits_and_one_that_does_not():
    def fitted(end):
        memory = MemoryMap.of([MemoryBlock(Range(0, end))], RangeSet(), RangeSet())
        return reserved(replace(pseries(), memory=memory), LINUX_6_12, "fadump=on")

    end = 320 * MIB + 0x140101B0
    assert fitted(end).area.end == end
    assert isinstance(fitted(end - 1), Refusal)


def test_the_gap_between_firmware_ranges_may_just_fit():
    behind = 320 * MIB + 0x140101B0
    for start, expected in ((behind, 320 * MIB), (behind - 1, 0x40000000)):
        system = pseries((0, 4096), firmware=[Range(start, 0x40000000)])
        assert reserved(system, LINUX_6_12, "fadump=on").area.start == expected


def test_firmware_that_has_everything_leaves_no_place():
    for firmware in (Range(0x1000, (1 << 64) - 1), Range(0x1000, 1 << 65)):
        refused = reserved(pseries(firmware=[firmware]), LINUX_6_12, "fadump=on")
        assert "in one piece are free" in refused.sentence


def test_memory_at_the_very_end_is_no_place():
    end = 1 << 64
    blocks = [MemoryBlock(Range(0, 600 * MIB)), MemoryBlock(Range(end - 0x8000, end))]
    system = replace(pseries(), memory=MemoryMap.of(blocks, RangeSet(), RangeSet()))
    assert isinstance(reserved(system, LINUX_6_12, "fadump=on fadump_reserve_mem=400M"), Refusal)


@pytest.mark.parametrize(
    ("cmdline", "sentence"),
    [
        ("", "fadump=on is not given"),
        ("fadump=off", "fadump=on is not given"),
        ("fadump=on crashkernel=100M", "100 MiB of boot memory is less than 320 MiB"),
        ("fadump=on fadump_reserve_mem=1200M", "no 0x4b0101b0 bytes in one piece are free"),
        ("fadump=on crashkernel=512M mem=1G", "0x20000000 and 0x40000000"),
        ("fadump=on fadump_reserve_mem=0xfffffffffffe0000", "in one piece are free"),
    ],
)
def test_why_linux_does_without(cmdline, sentence):
    refused = reserved(pseries(), LINUX_6_12, cmdline)
    assert isinstance(refused, Refusal)
    assert sentence in refused.sentence
    assert refused.source.startswith("arch/powerpc/kernel/fadump.c:")


def test_a_firmware_without_fadump():
    refused = reserved(pseries(supported=False), LINUX_6_12, "fadump=on")
    assert refused.sentence == "the firmware does not offer FADump"


def test_an_older_kernel_lets_mem_grow_by_the_area():
    found = reserved(pseries(), LINUX_6_1, "fadump=on crashkernel=512M mem=1G")
    assert found.area == Range.sized(512 * MIB, 0x20020000)


def test_an_older_kernel_has_an_elf_header_and_no_parameter_area():
    found = reserved(pseries((0, 1024), (2048, 4096)), LINUX_6_1, "fadump=on crashkernel=512M")
    assert [section.part for section in found.sections] == [
        *(Part.CPU_STATE, Part.HPTE, Part.BOOT_MEMORY, Part.CRASH_INFO_HEADER, Part.ELF_CORE_HEADER)
    ]
    header, elf = found.sections[-2:]
    assert header.size_bytes == 0x18 + 384 + 8
    assert elf.destination == header.destination + header.size_bytes
    assert elf.destination + elf.size_bytes == found.area.end
    assert found.area.size_bytes == 0x20020000  # whole pages
    assert "5 program headers" in reason(found, "elf_core_header_bytes").sentence
    assert found.warnings == ()


def test_an_older_kernels_elf_header_grows_with_memory():
    blocks = [(0, 1024), *((2048 + 2 * index, 2049 + 2 * index) for index in range(80)), (4096, 8192)]
    small = replace(LINUX_6_1, page_bytes=0x1000)
    few = reserved(pseries((0, 1024), (4096, 8192)), small, "fadump=on crashkernel=512M")
    many = reserved(pseries(*blocks), small, "fadump=on crashkernel=512M")
    assert many.area.size_bytes == few.area.size_bytes + 0x1000  # 80 more headers of 56 bytes


@pytest.mark.parametrize(
    ("nr_cpus", "header_bytes"), [(1, 0x1B0), (64, 0x1B0), (65, 0x1B8), (2048, 0x2A8), (8192, 0x5A8)]
)
def test_the_header_has_a_bit_for_each_cpu(nr_cpus, header_bytes):
    kernel = KernelTraits(nr_cpus=nr_cpus)
    found = reserved(pseries(), kernel, "fadump=on")
    assert found.first(Part.CRASH_INFO_HEADER).size_bytes == header_bytes
    assert reason(found, "crash_info_header_bytes").number == header_bytes


@pytest.mark.parametrize("kernel", [LINUX_6_1, LINUX_6_12])
def test_the_headers_size_suits_the_one_that_is_decoded(kernel):
    magic = b"FADMPINF" if kernel.first_kernel_writes_elfcorehdr else b"FADMPSIG"
    assert decode(magic[::-1] + bytes(kernel.header_bytes - 8)).crashing_cpu == 0
    with pytest.raises(ValueError, match="cut short"):
        decode(magic[::-1] + bytes(kernel.header_bytes - 8 - 128))


def test_a_hash_page_table_lies_before_the_copy():
    found = reserved(pseries(hpte_bytes=0x20000), LINUX_6_12, "fadump=on")
    assert found.first(Part.HPTE).size_bytes == 0x20000
    assert found.first(Part.BOOT_MEMORY).destination == found.area.start + 0x30000


def test_the_copy_starts_with_a_page():
    found = reserved(pseries(), SMALL, "fadump=on crashkernel=512M")
    assert found.first(Part.BOOT_MEMORY).destination == 0x20003000
    assert found.area.size_bytes == 0x200031B0


def test_powernv_has_metadata_at_the_end():
    found = reserved(powernv(), LINUX_6_12, "fadump=on crashkernel=1G")
    assert found.area == Range.sized(GIB, GIB + 0x1B0 + 0x10000)
    assert found.first(Part.METADATA).destination == 0x800001B0  # as seen on a real kernel
    assert found.first(Part.BOOT_MEMORY).destination == GIB
    assert [section.part for section in found.registered(Platform.POWERNV)] == [Part.BOOT_MEMORY]
    assert found.parameter_area is None
    assert found.warnings == ()


def test_powernv_of_an_older_kernel_has_metadata_in_a_page():
    found = reserved(powernv(), LINUX_6_1, "fadump=on crashkernel=1G")
    assert found.first(Part.METADATA).destination == 0x80010000
    assert reserved(powernv(), SMALL, "fadump=on crashkernel=1G").first(Part.METADATA).size_bytes == 0x1000


def test_powernv_copies_large_boot_memory_in_pieces():
    found = reserved(powernv((0, 65536)), LINUX_6_12, "fadump=on crashkernel=10G")
    copies = part(found, Part.BOOT_MEMORY)
    assert [copy.destination - copy.source for copy in copies] == [10 * GIB] * 3
    assert found.first(Part.CRASH_INFO_HEADER).destination == 20 * GIB


def test_the_parameter_area_with_hash():
    system = pseries(firmware=[RTAS], mmu=Mmu.HASH)
    found = reserved(system, LINUX_6_12, "fadump=on crashkernel=512M")
    assert found.parameter_area == Range.sized(0x2DFFF800, 0x800)  # as seen on POWER8


def test_no_parameter_area_with_hash_where_the_dump_area_lies():
    found = reserved(pseries(mmu=Mmu.HASH), LINUX_6_12, "fadump=on crashkernel=512M")
    assert found.parameter_area is None
    assert part(found, Part.PARAMETER_AREA) == []
    assert "no place is free for additional parameters" in found.warnings[0]


def test_no_parameter_area_with_hash_and_a_small_first_block():
    blocks = [MemoryBlock(Range(0, 512 * MIB)), MemoryBlock(Range(512 * MIB, 2 * GIB))]
    system = replace(pseries(mmu=Mmu.HASH), memory=MemoryMap.of(blocks, RangeSet([RTAS]), RangeSet()))
    assert reserved(system, LINUX_6_12, "fadump=on crashkernel=512M").parameter_area is None
    whole = replace(system, memory=replace(system.memory, first_block_bytes=768 * MIB))
    assert reserved(whole, LINUX_6_12, "fadump=on crashkernel=512M").parameter_area is not None


@pytest.mark.parametrize(
    ("first_mib", "cmdline", "start"),
    [
        (4096, "fadump=on crashkernel=1G", 0x3FFF_F800),
        (4096, "fadump=on crashkernel=900M", 900 * MIB - 0x800),  # boot memory ends below the real mode area
        (16384, "fadump=on crashkernel=2G", 0x3FFF_F800),  # a POWER8's real mode area ends at 1 GiB
        (4096, "fadump=on crashkernel=768M", None),
        (4096, "fadump=on crashkernel=512M", None),
        (768, "fadump=on crashkernel=1G", None),
        (832, "fadump=on crashkernel=1G", 832 * MIB - 0x800),
        (512, "fadump=on crashkernel=1G", None),
        (4096, "fadump=on crashkernel=1G mem=3G", 0x3FFF_F800),
    ],
)
def test_newer_kernels_have_the_parameter_area_with_hash_above_what_boot_loaders_use(first_mib, cmdline, start):
    blocks = [(0, first_mib), (first_mib, 16384)] if first_mib < 16384 else [(0, 16384)]
    found = reserved(pseries(*blocks, mmu=Mmu.HASH), LINUX_7_2, cmdline)
    assert found.parameter_area == (None if start is None else Range.sized(start, 0x800))
    if start is not None:
        assert str(Range(0x3000_0000, min(first_mib * MIB, GIB, found.boot_memory.top))) in (
            reason(found, "parameter_area").sentence
        )


def test_radix_that_is_disabled_has_a_power9s_real_mode_area():
    found = reserved(pseries((0, 16384)), LINUX_7_2, "fadump=on crashkernel=2G disable_radix")
    assert found.parameter_area == Range.sized(2 * GIB - 0x800, 0x800)


def test_a_small_first_block_is_why_there_is_no_parameter_area():
    found = reserved(pseries((0, 512), (512, 4096), mmu=Mmu.HASH), LINUX_6_12, "fadump=on crashkernel=512M")
    assert "the first memory block has less than 768 MiB" in found.warnings[0]


def test_mem_cuts_the_first_block_for_hash():
    cut = reserved(pseries(mmu=Mmu.HASH), LINUX_6_12, "fadump=on mem=700M")
    assert cut.parameter_area is None
    assert reserved(pseries(mmu=Mmu.HASH), LINUX_6_12, "fadump=on mem=768M").parameter_area is not None


def test_no_parameter_area_with_radix_where_the_upper_half_is_taken():
    found = reserved(pseries(later=[Range(GIB, 2 * GIB)]), LINUX_6_12, "fadump=on")
    assert found.parameter_area is None


def test_radix_that_is_disabled_is_hash():
    found = reserved(pseries(firmware=[RTAS]), LINUX_6_12, "fadump=on crashkernel=512M disable_radix")
    assert found.parameter_area.start == 0x2DFFF800


def test_the_parameter_area_is_below_what_is_reserved_and_what_mem_leaves():
    end = 2 * GIB
    system = pseries(later=[Range(end - MIB, end)], firmware=[Range(end - 2 * MIB, end - MIB)])
    assert reserved(system, LINUX_6_12, "fadump=on").parameter_area.end == end - 2 * MIB
    cut = reserved(pseries((0, 4096)), LINUX_6_12, "fadump=on mem=1G")
    assert cut.parameter_area.end == GIB


@pytest.mark.parametrize(
    ("cmdline", "mmu", "lent"),
    [
        ("fadump=on crashkernel=400M", Mmu.RADIX, True),
        ("fadump=on crashkernel=401M", Mmu.RADIX, False),
        ("fadump=on crashkernel=402M", Mmu.RADIX, True),
        ("fadump=on crashkernel=402M", Mmu.HASH, False),
        ("fadump=on crashkernel=400M", Mmu.HASH, True),
        ("fadump=nocma crashkernel=400M", Mmu.RADIX, False),
    ],
)
def test_what_is_lent_to_user_space(cmdline, mmu, lent):
    found = reserved(pseries(mmu=mmu), LINUX_6_12, cmdline)
    assert (found.cma is not None) is lent
    refused = [warning for warning in found.warnings if "as CMA needs it" in warning]
    assert bool(refused) is (not lent and "nocma" not in cmdline)
    assert reason(found, "cma_bytes").number == (found.boot_memory.size_bytes if lent else 0)


@pytest.mark.parametrize(
    ("cmdline", "mmu", "lent_mib"),
    [
        ("fadump=on crashkernel=400M", Mmu.RADIX, (400, 800)),
        ("fadump=on crashkernel=401M", Mmu.RADIX, (402, 802)),
        ("fadump=on crashkernel=401M", Mmu.HASH, (416, 800)),
        ("fadump=nocma crashkernel=401M", Mmu.RADIX, None),
    ],
)
def test_newer_kernels_lend_the_part_that_cma_can_have(cmdline, mmu, lent_mib):
    found = reserved(pseries(mmu=mmu), LINUX_7_2, cmdline)
    lent = None if lent_mib is None else Range(lent_mib[0] * MIB, lent_mib[1] * MIB)
    assert found.cma == lent
    assert reason(found, "cma_bytes").number == (lent.size_bytes if lent else 0)
    assert not [warning for warning in found.warnings if "CMA" in warning]


def test_newer_kernels_round_boot_memory_to_pages_only():
    kernel = replace(LINUX_7_2, huge_pages=False)
    assert reserved(pseries(), kernel, "fadump=on crashkernel=401M").boot_memory.size_bytes == 401 * MIB
    older = replace(LINUX_6_12, huge_pages=False)
    assert reserved(pseries(), older, "fadump=on crashkernel=401M").boot_memory.size_bytes == 416 * MIB


def test_without_huge_pages_cma_is_aligned_as_with_hash():
    kernel = replace(LINUX_6_12, huge_pages=False)
    blocks = [MemoryBlock(Range(0, 400 * MIB)), MemoryBlock(Range(GIB + 2 * MIB, 2 * GIB))]
    system = replace(pseries(), memory=MemoryMap.of(blocks, RangeSet(), RangeSet()))
    assert reserved(system, kernel, "fadump=on").cma is None
    assert reserved(system, LINUX_6_12, "fadump=on").cma is not None


ranges = st.builds(lambda start, size: Range.sized(start * MIB, size * MIB), st.integers(0, 8192), st.integers(1, 512))


@given(
    st.lists(ranges, min_size=1, max_size=5),
    st.lists(ranges, max_size=5),
    st.sampled_from([LINUX_6_1, LINUX_6_12, LINUX_7_2, SMALL]),
    st.sampled_from(["fadump=on", "fadump=nocma crashkernel=400M", "fadump=on crashkernel=1G"]),
    st.sampled_from(list(Mmu)),
)
def test_what_is_reserved_is_the_lowest_free_memory_that_fits(blocks, firmware, kernel, cmdline, mmu):
    given_blocks = [MemoryBlock(Range(0, GIB)), *map(MemoryBlock, blocks)]
    memory = MemoryMap.of(given_blocks, RangeSet(firmware), RangeSet())
    found = reserved(replace(pseries(mmu=mmu), memory=memory), kernel, cmdline)
    if not isinstance(found, Reservation):
        return
    area, top = found.area, found.boot_memory.top
    assert area.start >= top
    assert any(region.contains(area) for region in memory.regions)
    assert not any(range_.overlaps(area) for range_ in firmware)
    assert all(area.contains(Range.sized(s.destination, s.size_bytes)) for s in found.sections if _is_inside(s))
    free = RangeSet([Range(top, memory.end)]) & RangeSet(memory.regions) - memory.firmware
    lower = [piece for piece in free if piece.start + 0x10000 + area.size_bytes <= min(piece.end, area.start)]
    assert lower == []
    if found.parameter_area is not None:
        assert not found.parameter_area.overlaps(area)
        assert RangeSet(memory.regions).contains(found.parameter_area)


def _is_inside(section):
    return section.part is not Part.PARAMETER_AREA and section.size_bytes < 1 << 60

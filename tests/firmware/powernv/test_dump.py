"""An MPIPL cycle on guest memory: what preserving does, and what Linux then reads."""

import pytest

from fadump.abi.powernv import cpu_data
from fadump.abi.powernv.mpipl import MpiplOperation, MpiplTag
from fadump.abi.registers import CpuRegisters
from fadump.errors import FadumpError
from fadump.firmware.contract import PreservedRegion, State, Trigger, TriggerKind
from fadump.firmware.powernv import PowernvFirmware
from fadump.memory.ranges import Range, RangeSet
from tests.firmware.powernv import linux as powernv_linux
from tests.firmware.powernv.guest import (
    AREAS,
    BOOT_MEMORY,
    BOOT_RANGE,
    COPY,
    CPU_DATA,
    CRASH_INFO,
    CRASHED,
    CRASHING_PIR,
    DIMM,
    FREE,
    KERNEL_METADATA,
    LINEAR_MAPPING,
    LOWER,
    MESSAGE,
    OPAL,
    OPAL_COPY,
    PIRS,
    crash,
    described_firmware,
    device_tree,
    dump_node,
    firmware_in,
    free,
    platform_crash,
    query,
    reboot,
    register,
    register_tag,
    update,
)
from tests.firmware.pseries.guest import RAM, guest_memory


@pytest.fixture
def memory():
    with guest_memory() as memory:
        for number, address in enumerate(range(0, LOWER.end, 0x2_0000)):
            memory.write(address + 0x123, bytes([0x5A, number]) * 0x800)
        yield memory


def test_linux_finds_the_dump_and_its_crash_info_header(memory):
    firmware = firmware_in(State.ACTIVE, memory)
    assert powernv_linux.fadump(firmware, memory) == powernv_linux.Fadump(
        boot_memory=[(BOOT_MEMORY.start, BOOT_MEMORY.size_bytes)], copy=COPY, crash_info=CRASH_INFO
    )
    assert query(firmware, memory, MpiplTag.BOOT_MEM) == BOOT_MEMORY.end
    assert firmware.preserved.crash_info == CRASH_INFO


def test_linux_makes_notes_of_every_cpu_that_was_online(memory):
    firmware = firmware_in(State.ACTIVE, memory)
    assert powernv_linux.cpu_notes(firmware, memory, CRASHING_PIR) == {
        0: {"nip": 0xC000_0000_0000_1234, "gpr1": 0xC000_0000_0123_0000, "msr": 0x9000_0000_0280_9033},
        4: {},  # Linux takes its own
        5: {"dar": 0x13, "dsisr": 0x4000_0000},
    }
    assert powernv_linux.cpu_notes(firmware, memory, 0xFFFF_FFFF)[4] == {
        "nip": 0xC000_0000_0000_5678,
        "gpr31": 0x31,
        "link": 8,
        "ctr": 9,
        "xer": 0x2000_0000,
        "ccr": 0x2400_0000,
    }


def test_opalcore_is_opals_memory_and_begins_with_the_crashing_cpu(memory):
    firmware = firmware_in(State.REGISTERED, memory)
    before = memory.read(OPAL.start, OPAL.size_bytes)
    crash(firmware, memory)
    core = powernv_linux.opalcore(firmware, memory)
    assert core.crashing_pir == CRASHING_PIR
    assert core.notes == [4, 0, 5]
    assert len(core.notes) <= core.room_for_notes
    assert core.loads == [(OPAL_COPY, OPAL.size_bytes)]
    assert memory.read(OPAL_COPY, OPAL.size_bytes) == before
    assert before.strip(b"\0")


def test_boot_memory_is_copied_byte_for_byte(memory):
    memory.write(COPY, b"\xee" * BOOT_MEMORY.size_bytes)  # user pages in CMA
    firmware = firmware_in(State.REGISTERED, memory)
    before = memory.read(BOOT_MEMORY.start, BOOT_MEMORY.size_bytes)
    crash(firmware, memory)
    assert memory.read(COPY, BOOT_MEMORY.size_bytes) == before
    assert memory.read(BOOT_MEMORY.start, BOOT_MEMORY.size_bytes) == before


def test_opals_memory_inside_boot_memory_is_in_both_copies(memory):
    """With crashkernel=1G skiboot's 0x30000000 is boot memory."""
    firmware = PowernvFirmware()
    inside = Range(0x10_0000, 0x12_8000)
    firmware.describe(device_tree(inside))
    register(firmware, memory)
    before = memory.read(inside.start, inside.size_bytes)
    crash(firmware, memory)
    assert memory.read(COPY + inside.start, inside.size_bytes) == before
    assert memory.read(OPAL_COPY, inside.size_bytes) == before


def test_the_regions_have_mpipls_region_ids(memory):
    dump = crash(firmware_in(State.REGISTERED, memory), memory)
    cpu_data_bytes = len(PIRS) * cpu_data.THREAD_BYTES
    assert dump.regions == (
        PreservedRegion(0, CPU_DATA, cpu_data_bytes, cpu_data_bytes, CPU_DATA, 0, "CPU data"),
        PreservedRegion(0x03, OPAL.start, OPAL.size_bytes, OPAL.size_bytes, OPAL_COPY, 0, "copy of OPAL's memory"),
        PreservedRegion(0x80, 0, BOOT_MEMORY.size_bytes, BOOT_MEMORY.size_bytes, COPY, 0, "copy of boot memory"),
    )


def test_the_structure_is_what_the_tags_point_to(memory):
    dump = crash(firmware_in(State.REGISTERED, memory), memory)
    assert memory.read(AREAS.start, len(dump.structure)) == dump.structure


def test_nothing_is_written_but_destinations_and_the_firmwares_areas(memory):
    firmware = firmware_in(State.REGISTERED, memory)
    before = {extent: memory.read(extent.start, extent.size_bytes) for extent in RAM}
    crash(firmware, memory)
    for extent in RAM - RangeSet([AREAS, Range.sized(COPY, BOOT_MEMORY.size_bytes)]):
        whole = next(range_ for range_ in before if range_.contains(extent))
        start = extent.start - whole.start
        assert memory.read(extent.start, extent.size_bytes) == before[whole][start : start + extent.size_bytes]


def test_what_is_kept(memory):
    dump = crash(firmware_in(State.REGISTERED, memory), memory)
    assert dump.boot_memory == RangeSet([BOOT_MEMORY])
    assert dump.keep == RAM - RangeSet([BOOT_MEMORY])


def test_only_sources_below_the_boot_memory_tag_are_the_capture_kernels(memory):
    firmware = described_firmware()
    register(firmware, memory)
    register_tag(firmware, memory, MpiplTag.BOOT_MEM, 0x18_0000)
    dump = crash(firmware, memory)
    assert dump.boot_memory == RangeSet([Range(0, 0x18_0000)])
    assert dump.keep == RAM - RangeSet([Range(0, 0x18_0000)])


def test_without_a_boot_memory_tag_every_source_is(memory):
    firmware = described_firmware()
    update(firmware, memory, MpiplOperation.ADD_RANGE, *BOOT_RANGE)
    dump = crash(firmware, memory)
    assert dump.boot_memory == RangeSet([BOOT_MEMORY])
    assert query(firmware, memory, MpiplTag.BOOT_MEM) == 0
    assert dump.crash_info is None


def test_a_range_that_stays_in_place_is_kept_and_not_the_capture_kernels(memory):
    firmware = described_firmware()
    register(firmware, memory, [(0, COPY, 0x10_0000), (0x10_0000, 0x10_0000, 0x10_0000)])
    before = memory.read(0x10_0000, 0x10_0000)
    dump = crash(firmware, memory)
    assert dump.regions[-1].name == "kernel memory, in place"
    assert dump.boot_memory == RangeSet([Range(0, 0x10_0000)])
    assert dump.keep == RAM - RangeSet([Range(0, 0x10_0000)])
    assert memory.read(0x10_0000, 0x10_0000) == before


def test_the_firmwares_areas_are_kept_below_boot_memory_top_too(memory):
    high = Range.sized(DIMM.start, 0x1000)
    firmware = described_firmware()
    register(firmware, memory, [(0, COPY, 0x1000), (high.start, FREE, high.size_bytes)])
    dump = crash(firmware, memory)
    copies = RangeSet([Range.sized(COPY, 0x1000), Range.sized(FREE, 0x1000)])
    assert dump.keep == copies | RangeSet([AREAS, Range(high.end, DIMM.end)])


def test_several_ranges_are_copied(memory):
    ranges = [(0x1000 * index, FREE + 0x1000 * index, 0x1000) for index in range(63)]
    firmware = described_firmware()
    register(firmware, memory, ranges)
    before = memory.read(0, 63 * 0x1000)
    dump = crash(firmware, memory)
    assert memory.read(FREE, 63 * 0x1000) == before
    assert len(dump.regions) == 2 + 63


def test_a_crash_without_a_registration_leaves_opals_part_only(memory):
    firmware = described_firmware()
    dump = crash(firmware, memory)
    assert firmware.state is State.ACTIVE
    assert [region.type for region in dump.regions] == [0, 3]
    assert dump.keep == RangeSet([AREAS])
    assert not dump.boot_memory
    assert powernv_linux.fadump(firmware, memory) is None
    assert powernv_linux.opalcore(firmware, memory).notes == [4, 0, 5]
    assert "mpipl-boot" in dump_node(firmware).properties


def test_a_crash_of_nobody_is_pir_0s_for_opalcore(memory):
    firmware = firmware_in(State.REGISTERED, memory)
    platform_crash(firmware, memory)
    core = powernv_linux.opalcore(firmware, memory)
    assert core.crashing_pir == 0
    assert core.notes == [0, 4, 5]


@pytest.mark.parametrize("cpus", [(), CRASHED[1:], CRASHED[:1]], ids=["none online", "PIR 0 offline", "PIR 0 only"])
def test_opalcore_has_room_for_its_notes_whoever_was_online(memory, cpus):
    firmware = firmware_in(State.REGISTERED, memory)
    platform_crash(firmware, memory, cpus)
    core = powernv_linux.opalcore(firmware, memory)
    assert len(core.notes) <= core.room_for_notes == len(PIRS)
    assert set(powernv_linux.cpu_notes(firmware, memory, 0xFFFF_FFFF)) == {cpu.cpu_id for cpu in cpus}


def test_cpu_data_of_an_earlier_crash_is_gone(memory):
    firmware = firmware_in(State.INVALIDATED, memory)
    register(firmware, memory)
    crash(firmware, memory, [CpuRegisters(1, {"LR": 1})])
    assert powernv_linux.cpu_notes(firmware, memory, 0xFFFF_FFFF) == {1: {"link": 1}}


def test_a_cpu_that_the_tree_did_not_have_costs_the_cpu_data_only(memory):
    firmware = firmware_in(State.REGISTERED, memory)
    dump = crash(firmware, memory, [*CRASHED, CpuRegisters(8, {})])
    assert (dump.regions[0].copied_bytes, dump.regions[0].error_flags) == (0, 1)
    assert query(firmware, memory, MpiplTag.CPU) == 0
    assert powernv_linux.fadump(firmware, memory) is not None


def test_areas_that_are_no_ram_cost_the_firmwares_part_only(memory):
    """A device tree that tells of more memory than there is."""
    firmware = PowernvFirmware()
    firmware.describe(device_tree(ram=[Range(0, 0x100_0000)]))
    register(firmware, memory)
    dump = crash(firmware, memory)
    assert [region.error_flags for region in dump.regions] == [1, 1, 0]
    assert [query(firmware, memory, tag) for tag in (MpiplTag.CPU, MpiplTag.OPAL)] == [0, 0]
    assert dump.keep == RAM - RangeSet([BOOT_MEMORY])
    assert memory.read(COPY, 0x1000) == memory.read(0, 0x1000)


@pytest.mark.parametrize(
    "tag",
    [0, LOWER.end - 16, DIMM.end, FREE, 0x7000_0000_0000_0000, (1 << 64) - 1],
    ids=["unset", "reaches out of RAM", "no RAM", "zeros", "no real address", "all ones"],
)
def test_a_kernel_tag_without_metadata_is_given_back_as_it_is(memory, tag):
    firmware = firmware_in(State.REGISTERED, memory)
    memory.write(FREE, bytes(0x1000))
    register_tag(firmware, memory, MpiplTag.KERNEL, tag)
    assert crash(firmware, memory).crash_info is None
    assert query(firmware, memory, MpiplTag.KERNEL) == tag


def test_metadata_that_can_not_be_tells_no_crash_info(memory):
    firmware = firmware_in(State.REGISTERED, memory)
    memory.write(KERNEL_METADATA + 4, b"\xff\xff")
    assert crash(firmware, memory).crash_info is None


def test_a_crash_info_header_outside_ram_is_none(memory):
    firmware = firmware_in(State.REGISTERED, memory)
    memory.write(KERNEL_METADATA + 8, (0xA0_0000).to_bytes(8, "big"))
    assert crash(firmware, memory).crash_info is None


def test_the_tag_may_be_an_address_of_the_linear_mapping(memory):
    firmware = firmware_in(State.REGISTERED, memory)
    register_tag(firmware, memory, MpiplTag.KERNEL, LINEAR_MAPPING | KERNEL_METADATA)
    assert crash(firmware, memory).crash_info == CRASH_INFO


def test_a_crash_of_the_capture_kernel_gives_the_first_dump_again(memory):
    firmware = firmware_in(State.REGISTERED, memory)
    dump = crash(firmware, memory)
    before = {extent: memory.read(extent.start, extent.size_bytes) for extent in dump.keep}
    memory.write(0x1000, b"the capture kernel's")
    assert firmware.preserve(reboot(firmware, memory), memory, ()) is dump
    assert {extent: memory.read(extent.start, extent.size_bytes) for extent in dump.keep} == before
    assert powernv_linux.fadump(firmware, memory) is not None
    assert firmware.state is State.ACTIVE


def test_a_reset_keeps_the_dump_and_presents_it_again(memory):
    firmware = firmware_in(State.ACTIVE, memory)
    dump = firmware.preserved
    firmware.on_reset()
    assert firmware.preserved is dump
    assert "mpipl-boot" in dump_node(firmware).properties
    assert powernv_linux.opalcore(firmware, memory) is not None


def test_a_second_crash_after_the_first_dump_was_freed_is_dumped(memory):
    firmware = firmware_in(State.ACTIVE, memory)
    first = firmware.preserved
    assert free(firmware, memory).status == 0
    assert firmware.preserved is None
    register(firmware, memory)
    memory.write(0x5000, b"another crash")
    assert crash(firmware, memory) is not first
    assert memory.read(COPY + 0x5000, 13) == b"another crash"


def test_a_dump_without_a_kernels_ranges_does_not_stand_in_the_way(memory):
    firmware = described_firmware()
    first = crash(firmware, memory)
    assert crash(firmware, memory) is not first
    register(firmware, memory)
    assert firmware.state is State.REGISTERED
    assert powernv_linux.opalcore(firmware, memory) is not None  # which asks later than Linux registers
    assert crash(firmware, memory).boot_memory == RangeSet([BOOT_MEMORY])


def test_a_dump_without_a_kernels_ranges_ends_with_the_next_reset(memory):
    firmware = described_firmware()
    crash(firmware, memory)
    firmware.on_reset()
    assert firmware.state is State.IDLE
    assert firmware.preserved is None
    assert "mpipl-boot" not in dump_node(firmware).properties
    assert powernv_linux.opalcore(firmware, memory) is None


def test_registering_and_freeing_while_a_dump_is_active_prepares_the_next_crash(memory):
    firmware = firmware_in(State.ACTIVE, memory)
    register(firmware, memory)
    assert firmware.state is State.ACTIVE
    free(firmware, memory)
    assert firmware.state is State.REGISTERED


def test_a_reset_drops_a_registration(memory):
    firmware = firmware_in(State.REGISTERED, memory)
    firmware.on_reset()
    assert firmware.state is State.IDLE
    dump = crash(firmware, memory)
    assert [region.type for region in dump.regions] == [0, 3]
    assert query(firmware, memory, MpiplTag.KERNEL) == 0


def test_no_dump_before_the_first_handover(memory):
    with pytest.raises(FadumpError, match="no kernel has been started"):
        PowernvFirmware().preserve(Trigger(TriggerKind.PLATFORM, "", None), memory, CRASHED)


def test_the_trigger_tells_who_crashed_and_why(memory):
    firmware = firmware_in(State.REGISTERED, memory)
    memory.write(MESSAGE, b"sysrq triggered\x1b crash\n\0")
    trigger = reboot(firmware, memory, LINEAR_MAPPING | MESSAGE)
    assert trigger == Trigger(TriggerKind.OS_TERM, "sysrq triggered\\x1b crash", CRASHING_PIR)

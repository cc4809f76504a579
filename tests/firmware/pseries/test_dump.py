from dataclasses import replace

import pytest

from fadump.abi.pseries.dump_structure import DumpStatus, DumpStructure, SectionError, SectionType
from fadump.abi.pseries.register_save_area import decode
from fadump.abi.registers import CpuRegisters
from fadump.firmware.contract import PreservedRegion, State
from fadump.firmware.pseries.dump import take_dump
from fadump.memory.ranges import Range, RangeSet
from tests.firmware.pseries.guest import (
    BOOT_COPY,
    BOOT_MEMORY,
    CPU_STATE,
    CRASHED,
    DIMM,
    HPTE,
    PARAMETERS,
    RAM,
    STRUCTURE,
    UPPER,
    crash,
    described_firmware,
    filled,
    firmware_in,
    guest_memory,
    register,
    section,
    with_section,
)

DONE = DumpStatus.PERFORMED | DumpStatus.TRIGGERED
FREE = 0x70_0000


@pytest.fixture
def memory():
    with guest_memory() as memory:
        filled(memory)
        yield memory


def dumped(memory, structure=STRUCTURE, cpus=CRASHED):
    """Register and crash; the dump and its structure as the capture kernel reads it."""
    firmware = described_firmware()
    outcome = register(firmware, memory, structure)
    assert firmware.state is State.REGISTERED, outcome
    dump = crash(firmware, memory, cpus)
    return dump, DumpStructure.decode(dump.structure)


def test_linux_finds_every_section_whole(memory):
    dump, structure = dumped(memory)
    assert structure.status == DONE
    assert structure.sections == tuple(replace(s, copied_bytes=s.requested_bytes) for s in STRUCTURE.sections)
    assert dump.regions[2] == PreservedRegion(
        type=SectionType.REAL_MODE_REGION,
        source=BOOT_MEMORY.start,
        requested_bytes=BOOT_MEMORY.size_bytes,
        copied_bytes=BOOT_MEMORY.size_bytes,
        destination=BOOT_COPY.destination,
        error_flags=0,
        name="copy of boot memory",
    )


def test_boot_memory_is_copied_byte_for_byte(memory):
    memory.write(BOOT_COPY.destination, b"\xee" * BOOT_MEMORY.size_bytes)  # user pages in CMA
    firmware = firmware_in(State.REGISTERED, memory)
    before = memory.read(BOOT_MEMORY.start, BOOT_MEMORY.size_bytes)
    crash(firmware, memory)
    assert memory.read(BOOT_COPY.destination, BOOT_MEMORY.size_bytes) == before
    assert memory.read(BOOT_MEMORY.start, BOOT_MEMORY.size_bytes) == before


def test_the_cpu_state_area_is_written_whole(memory):
    memory.write(CPU_STATE.destination, b"\xee" * (CPU_STATE.requested_bytes + 1))
    dumped(memory)
    area = memory.read(CPU_STATE.destination, CPU_STATE.requested_bytes + 1)
    assert decode(area) == list(CRASHED)
    assert not area[-0x40:-1].strip(b"\0")
    assert area[-1] == 0xEE


def test_fewer_cpus_than_could_be_plugged_fill_the_area_too(memory):
    _dump, structure = dumped(memory, cpus=[])
    assert structure.sections[0].copied_bytes == CPU_STATE.requested_bytes


def test_what_is_kept(memory):
    dump, _structure = dumped(memory)
    assert dump.boot_memory == RangeSet([BOOT_MEMORY])
    assert dump.keep == RAM - RangeSet([BOOT_MEMORY])


def test_a_destination_below_boot_memory_top_is_kept_too(memory):
    low, high = Range(0, 0x1000), Range(0x20_0000, 0x20_1000)
    structure = DumpStructure(
        sections=(
            replace(CPU_STATE, destination=0x10_0000),
            section(SectionType.REAL_MODE_REGION, low.start, low.size_bytes, FREE),
            section(SectionType.REAL_MODE_REGION, high.start, high.size_bytes, FREE + 0x1000),
        )
    )
    dump, _structure = dumped(memory, structure)
    assert dump.boot_memory == RangeSet([low, high])
    area = Range.sized(0x10_0000, CPU_STATE.requested_bytes)
    assert dump.keep == RAM & RangeSet([area, Range(high.end, DIMM.end)])


def test_an_area_that_stays_inside_boot_memory_is_kept(memory):
    inside = section(SectionType.PARAMETER_AREA, 0x8000, 0x800, 0x8000)
    memory.write(inside.source, b"rd.break")
    dump, _structure = dumped(memory, DumpStructure(sections=(BOOT_COPY, inside)))
    assert dump.keep == RAM - RangeSet([BOOT_MEMORY]) | RangeSet([Range(0x8000, 0x8800)])
    assert memory.read(inside.source, 8) == memory.read(BOOT_COPY.destination + 0x8000, 8) == b"rd.break"


def test_boot_memory_that_stays_in_place_is_not_the_capture_kernels(memory):
    dump, structure = dumped(memory, DumpStructure(sections=(replace(BOOT_COPY, destination=BOOT_COPY.source),)))
    assert structure.sections[0].copied_bytes == BOOT_MEMORY.size_bytes
    assert not dump.boot_memory
    assert dump.keep == RAM


def test_the_os_identification_string_is_copied_like_memory(memory):
    memory.write(0x1000, b"Linux 6.12\0")
    _dump, structure = dumped(memory, with_section(section(SectionType.OS_IDENTIFICATION, 0x1000, 0x100, FREE)))
    assert structure.sections[-1].copied_bytes == 0x100
    assert memory.read(FREE, 11) == b"Linux 6.12\0"


def test_an_os_defined_section_is_copied_like_memory(memory):
    memory.write(0x1000, b"anything")
    dumped(memory, with_section(section(0xFFFF, 0x1000, 0x100, FREE)))
    assert memory.read(FREE, 8) == b"anything"


def test_a_section_that_asks_for_nothing_is_not_processed(memory):
    memory.write(0x1000, b"anything")
    dump, structure = dumped(memory, with_section(section(0x101, 0x1000, 0x100, FREE, flags=2)))
    assert structure.status == DONE
    assert structure.sections[-1] == section(0x101, 0x1000, 0x100, FREE, flags=2)
    assert memory.read(FREE, 8) == bytes(8)
    assert dump.regions[-1].copied_bytes == 0


def test_a_section_of_no_bytes_does_not_move_the_crash_info_header(memory):
    nothing = section(SectionType.REAL_MODE_REGION, 0, 0, 0x1000)
    dump, _structure = dumped(memory, with_section(nothing))
    assert dump.crash_info == BOOT_COPY.destination + BOOT_COPY.requested_bytes


def test_what_the_caller_left_in_result_fields_is_gone(memory):
    dirty = replace(
        STRUCTURE,
        status=DumpStatus.ERROR,
        sections=tuple(replace(s, error_flags=SectionError.LENGTH_EXCEEDS, copied_bytes=7) for s in STRUCTURE.sections),
    )
    assert dumped(memory, dirty) == dumped(memory)


def test_registers_without_room_are_an_error_of_that_section_only(memory):
    _dump, structure = dumped(memory, cpus=[CpuRegisters(n, {"NIA": 0}) for n in range(20)])
    assert structure.status == DONE | DumpStatus.ERROR
    cpu_state, _hpte, boot_copy, _parameters = structure.sections
    assert (cpu_state.error_flags, cpu_state.copied_bytes) == (SectionError.DESTINATION_TOO_SMALL, 0)
    assert (boot_copy.error_flags, boot_copy.copied_bytes) == (0, BOOT_MEMORY.size_bytes)


def no_ram(size_bytes):
    return UPPER.end - size_bytes + 1


@pytest.mark.parametrize(
    ("bad", "error"),
    [
        (replace(CPU_STATE, destination=no_ram(CPU_STATE.requested_bytes)), SectionError.INVALID_DESTINATION),
        (replace(BOOT_COPY, source=no_ram(BOOT_COPY.requested_bytes)), SectionError.INVALID_SOURCE),
        (replace(BOOT_COPY, destination=no_ram(BOOT_COPY.requested_bytes)), SectionError.INVALID_DESTINATION),
        (replace(BOOT_COPY, destination=BOOT_MEMORY.start + 1), SectionError.INVALID_DESTINATION),
        (replace(PARAMETERS, source=DIMM.end, destination=DIMM.end), SectionError.INVALID_SOURCE),
        (replace(HPTE, requested_bytes=0x1000, destination=no_ram(0x1000)), SectionError.INVALID_DESTINATION),
    ],
    ids=["CPU state", "source", "destination", "overlap", "in place", "HPTE"],
)
def test_what_fails_only_while_copying_is_marked_and_the_rest_is_done(memory, bad, error):
    """Memory may be unplugged between registration and crash, so a dump checks for itself."""
    good = section(SectionType.REAL_MODE_REGION, 0, 0x1000, FREE)
    dump = take_dump(DumpStructure(sections=(bad, good)), memory, CRASHED)
    structure = DumpStructure.decode(dump.structure)
    assert structure.status == DONE | DumpStatus.ERROR
    assert structure.sections == (replace(bad, error_flags=error), replace(good, copied_bytes=0x1000))
    assert dump.boot_memory == RangeSet([Range(0, 0x1000)])
    assert [region.error_flags for region in dump.regions] == [error, 0]

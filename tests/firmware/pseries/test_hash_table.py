"""The hash page table of a dump: offered to guests that have one, and written by the machine."""

import struct
from dataclasses import replace

import pytest

from fadump.abi.pseries.dump_structure import DumpStructure, SectionError, SectionType
from fadump.abi.pseries.rtas import RtasStatus
from fadump.firmware.contract import Answer, State
from fadump.firmware.pseries import Offer, PseriesFirmware
from fadump.memory.ranges import Range, RangeSet
from tests.firmware.pseries.guest import (
    BOOT_COPY,
    CPU_STATE,
    CPU_STATE_BYTES,
    HPTE,
    PARAMETERS,
    REGISTERS_PER_CPU,
    configure,
    crash,
    described_firmware,
    device_tree,
    guest_memory,
    register,
)

TABLE = replace(HPTE, requested_bytes=0x1000)
STRUCTURE = DumpStructure(sections=(CPU_STATE, TABLE, BOOT_COPY, PARAMETERS))
INVALIDATE = 3


def offered(tree):
    sizes = tree.find("/rtas").properties["ibm,configure-kernel-dump-sizes"]
    return dict(struct.iter_unpack(">IQ", sizes))


@pytest.fixture
def memory():
    with guest_memory() as memory:
        yield memory


@pytest.mark.parametrize(("radix", "size_bytes"), [(False, 0x1000), (True, 0)], ids=["hash", "radix"])
def test_a_guest_with_a_hash_page_table_is_offered_4_kib_of_it(radix, size_bytes):
    """As in Documentation/arch/powerpc/firmware-assisted-dump.rst."""
    tree = device_tree(radix=radix)
    PseriesFirmware(REGISTERS_PER_CPU).describe(tree)
    assert offered(tree) == {1: CPU_STATE_BYTES, 2: size_bytes}


def test_a_tree_without_option_vector_5_is_a_hash_guests():
    """As Linux takes it: early_check_vec5() in arch/powerpc/mm/init_64.c."""
    tree = device_tree()
    tree.find("/chosen").properties.clear()
    PseriesFirmware(REGISTERS_PER_CPU).describe(tree)
    assert offered(tree)[2] == 0x1000


def test_sizes_and_reserved_ranges_can_be_asked_for():
    reserved = Range(0x30_0000, 0x31_0000)
    offer = Offer(hpte_bytes=0x80, cpu_state_bytes=0x40, reserved=RangeSet([reserved]))
    firmware = PseriesFirmware(REGISTERS_PER_CPU, offer=offer)
    for _boot in range(2):
        tree = device_tree()
        firmware.describe(tree)
        assert offered(tree) == {1: 0x40, 2: 0x80}
        assert tree.root.cells("reserved-ranges") == (0, reserved.start, 0, reserved.size_bytes)


def test_the_size_follows_the_kernel_but_not_while_a_dump_is_active(memory):
    firmware = described_firmware(radix=False)
    register(firmware, memory, STRUCTURE)
    crash(firmware, memory)
    tree = device_tree(radix=True)
    firmware.describe(tree)
    assert offered(tree)[2] == 0x1000
    configure(firmware, memory, INVALIDATE, 0, 440)
    firmware.describe(tree)
    assert offered(tree)[2] == 0


def test_the_section_counts_as_written_and_the_machine_is_told_where(memory):
    firmware = described_firmware(radix=False)
    assert register(firmware, memory, STRUCTURE) == Answer(RtasStatus.SUCCESS)
    dump = crash(firmware, memory)
    assert firmware.state is State.ACTIVE
    section = DumpStructure.decode(dump.structure).sections[1]
    assert (section.type, section.copied_bytes, section.error_flags) == (SectionType.HPTE, 0x1000, SectionError(0))
    (to,) = dump.hash_tables
    assert to == Range.sized(TABLE.destination, 0x1000)
    assert dump.keep.contains(to)


def test_without_a_section_of_that_type_there_is_nothing_to_write(memory):
    firmware = described_firmware(radix=False)
    register(firmware, memory, DumpStructure(sections=(CPU_STATE, BOOT_COPY)))
    assert crash(firmware, memory).hash_tables == ()


def test_every_section_of_that_type_is_written(memory):
    firmware = described_firmware(radix=False)
    second = replace(TABLE, destination=0x40_8000)
    register(firmware, memory, DumpStructure(sections=(TABLE, second, BOOT_COPY)))
    assert [to.start for to in crash(firmware, memory).hash_tables] == [TABLE.destination, second.destination]


def test_a_section_that_does_not_ask_for_copying_is_not_written(memory):
    firmware = described_firmware(radix=False)
    register(firmware, memory, DumpStructure(sections=(replace(TABLE, request_flags=0), BOOT_COPY)))
    assert crash(firmware, memory).hash_tables == ()


@pytest.mark.parametrize(
    "change",
    [
        {"requested_bytes": 0xFF0},
        {"requested_bytes": 0x2000},
        {"source": 0x10},
        {"destination": 0x7F_F001},
        {"destination": 0x90_0000},
        {"destination": 0x10_0000},
        {"destination": (1 << 64) - 0x800},
    ],
    ids=["shorter", "longer", "not from the start", "out of RAM", "in a hole", "into boot memory", "wraps"],
)
def test_a_section_that_can_not_be_filled_is_refused(memory, change):
    firmware = described_firmware(radix=False)
    refused = register(firmware, memory, DumpStructure(sections=(CPU_STATE, replace(TABLE, **change), BOOT_COPY)))
    assert refused == Answer(RtasStatus.PARAMETER_ERROR)


def test_memory_that_went_away_since_is_an_error_of_the_section(memory):
    firmware = described_firmware(radix=False)
    register(firmware, memory, DumpStructure(sections=(replace(TABLE, destination=0xC0_0000), BOOT_COPY)))
    memory.unplug(Range(0xC0_0000, 0xD0_0000))
    dump = crash(firmware, memory)
    section = DumpStructure.decode(dump.structure).sections[0]
    assert (section.copied_bytes, section.error_flags) == (0, SectionError.INVALID_DESTINATION)
    assert dump.hash_tables == ()

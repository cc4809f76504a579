"""The largest claims that a guest can make in what it passes to the firmware, in the smallest structure."""

import struct

import pytest

from fadump.abi.linux import crash_info
from fadump.abi.powernv.kernel_metadata import SIZE_BYTES, KernelMetadata
from fadump.abi.pseries.dump_structure import HEADER, HEADER_BYTES, SECTION, DumpStructure
from fadump.errors import FadumpError
from fadump.firmware.powernv.ranges import MAX_KERNEL_RANGES, CopyRange, RangeError, add_range, checked_range
from fadump.firmware.pseries.sections import check_structure
from fadump.memory.ranges import Range, RangeSet
from tests.bounded import MIB, bounded

GIB, LARGEST = 1 << 30, (1 << 64) - 1


def sentence(function, *arguments):
    try:
        function(*arguments)
    except FadumpError as error:
        return str(error)
    return None


def check(requested, destination):
    """Ten sections that the guest's memory, in 10,000 pieces, is to be copied to."""
    sections = SECTION.pack(1, 0x11, 0, 0, requested, LARGEST, destination) * 10
    structure = DumpStructure.decode(HEADER.pack(1, 10, 0, HEADER_BYTES, 0, 0, 0, 0, 0) + sections)
    ram = RangeSet(Range.sized(number * 2 * MIB, MIB) for number in range(10_000))
    return sentence(check_structure, structure, ram, {1: 0x1000})


@pytest.mark.parametrize(("requested", "destination"), [(LARGEST, 0), (LARGEST, LARGEST), (1, LARGEST), (MIB, MIB)])
def test_sections_of_any_size_are_refused_without_a_look_at_all_memory(requested, destination):
    assert "is not all RAM" in bounded(check, requested, destination, most_bytes=32 * MIB, most_steps=300_000)


def add_all(count):
    """Small ranges, each with a place of its own."""
    table, refused = (), ""
    ram, opal = RangeSet([Range(0, 64 * GIB)]), CopyRange(63 * GIB, 62 * GIB, MIB)
    for number in range(count):
        new = checked_range(number * MIB, 32 * GIB + number * MIB, 4096, ram)
        try:
            table = add_range(table, new, opal, Range(61 * GIB, 62 * GIB))
        except RangeError as error:
            refused = str(error)
    return [len(table), refused]


def test_ranges_are_taken_until_the_table_is_full():
    found = bounded(add_all, 2000, most_steps=500_000)
    assert found == [MAX_KERNEL_RANGES, f"all {MAX_KERNEL_RANGES} ranges are taken"]


def test_a_kernels_metadata_has_the_regions_that_there_is_room_for():
    data = struct.pack(">BxxxHHQ", 1, 0xFFFF, 0xFFFF, LARGEST).ljust(SIZE_BYTES, b"\xff")
    found = bounded(sentence, KernelMetadata.decode, data, most_bytes=16 * MIB, most_steps=1000)
    assert "65,535 regions in kernel metadata, more than the 128" in found


def area_bytes():
    header = bytearray(crash_info.CrashHeader().encode().ljust(crash_info.HEADER_BYTES, b"\0"))
    crash_info.CRASH_INFO_HEADER.put(header, "cpu_mask_sz", (1 << 32) - 1)
    return crash_info.area_bytes(bytes(header))


def test_the_size_of_a_crash_info_headers_mask_is_a_number():
    assert bounded(area_bytes, most_bytes=16 * MIB, most_steps=1000) > (1 << 32) - 1

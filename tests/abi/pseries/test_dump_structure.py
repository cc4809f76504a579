"""The dump memory structure, byte for byte as Linux registers it."""

import struct
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fadump.abi.pseries.dump_structure import (
    HEADER_BYTES,
    MAX_SECTIONS,
    REQUEST_COPY,
    SECTION_BYTES,
    DumpSection,
    DumpStatus,
    DumpStructure,
    SectionError,
    SectionType,
)
from fadump.errors import FormatError


def unsigned(bits):
    return st.integers(0, 2**bits - 1)


sections = st.builds(
    DumpSection,
    request_flags=unsigned(32),
    type=unsigned(16),
    error_flags=unsigned(16).map(SectionError),
    source=unsigned(64),
    requested_bytes=unsigned(64),
    copied_bytes=unsigned(64),
    destination=unsigned(64),
)
structures = st.builds(
    DumpStructure,
    status=unsigned(16).map(DumpStatus),
    first_section_offset=st.integers(HEADER_BYTES, 512 - MAX_SECTIONS * SECTION_BYTES),
    disk_block_bytes=unsigned(32),
    disk_start_block=unsigned(64),
    disk_block_count=unsigned(64),
    disk_path_offset=unsigned(32),
    max_time_auto_ms=unsigned(32),
    sections=st.lists(sections, min_size=1, max_size=MAX_SECTIONS).map(tuple),
)


def section(type_, source, size_bytes, destination):
    return DumpSection(REQUEST_COPY, type_, SectionError(0), source, size_bytes, 0, destination)


LINUX = DumpStructure(
    sections=(
        section(SectionType.CPU_STATE, 0, 0x4000, 0x1400_0000),
        section(SectionType.HPTE, 0, 0, 0x1400_4000),
        section(SectionType.REAL_MODE_REGION, 0, 0x1400_0000, 0x1401_0000),
        section(SectionType.PARAMETER_AREA, 0x2800_0000, 2048, 0x2800_0000),
    )
)
"""What Linux 6.12 registers: boot memory of 320 MiB, and its parameter area."""


def linux_bytes():
    """Field by field as struct rtas_fadump_mem_struct has them."""
    blob = struct.pack(">I", 1) + struct.pack(">HH", 4, 0) + struct.pack(">I", 0x28)
    blob += struct.pack(">I", 0) + struct.pack(">QQ", 0, 0) + struct.pack(">I", 0) + struct.pack(">I", 0)
    for type_, source, length, destination in (
        (0x0001, 0, 0x4000, 0x1400_0000),
        (0x0002, 0, 0, 0x1400_4000),
        (0x0011, 0, 0x1400_0000, 0x1401_0000),
        (0x0100, 0x2800_0000, 2048, 0x2800_0000),
    ):
        blob += (
            struct.pack(">I", 1) + struct.pack(">HH", type_, 0) + struct.pack(">QQQQ", source, length, 0, destination)
        )
    return blob


def test_what_linux_registers_is_200_bytes_that_are_decoded_and_encoded_as_they_were():
    assert len(linux_bytes()) == 200 == LINUX.size_bytes
    assert DumpStructure.decode(linux_bytes()) == LINUX
    assert LINUX.encode() == linux_bytes()


def test_a_taken_dump_has_its_results_where_linux_looks_for_them():
    taken = replace(
        LINUX,
        status=DumpStatus.PERFORMED | DumpStatus.TRIGGERED | DumpStatus.ERROR,
        sections=(replace(LINUX.sections[0], error_flags=SectionError.DESTINATION_TOO_SMALL, copied_bytes=0x1234),),
    ).encode()
    assert taken[6:8] == b"\xe0\0"
    assert taken[0x28 + 6 : 0x28 + 8] == b"\x08\0"
    assert taken[0x28 + 0x18 : 0x28 + 0x20] == (0x1234).to_bytes(8, "big")


def test_the_fields_of_the_header_stand_where_lopar_has_them():
    blob = replace(
        LINUX, disk_block_bytes=1, disk_start_block=2, disk_block_count=3, disk_path_offset=4, max_time_auto_ms=5
    ).encode()
    fields = {0x0C: (4, 1), 0x10: (8, 2), 0x18: (8, 3), 0x20: (4, 4), 0x24: (4, 5)}
    assert {at: (size, int.from_bytes(blob[at : at + size], "big")) for at, (size, _) in fields.items()} == fields


@given(structures)
def test_what_is_encoded_is_decoded_as_it_was(structure):
    blob = structure.encode()
    assert len(blob) == structure.size_bytes
    assert DumpStructure.decode(blob) == structure
    assert DumpStructure.decode(memoryview(blob + b"unused sections")) == structure


@given(structures, st.data())
def test_a_structure_cut_anywhere_is_refused(structure, data):
    blob = structure.encode()
    with pytest.raises(FormatError, match="cut short") as refused:
        DumpStructure.decode(blob[: data.draw(st.integers(0, len(blob) - 1))])
    assert 0 <= refused.value.offset <= len(blob)


@given(st.binary(min_size=HEADER_BYTES, max_size=512))
def test_any_bytes_are_a_structure_or_refused(blob):
    head = struct.pack(">IH", 1, 1 + blob[5] % MAX_SECTIONS) + blob[6:8] + struct.pack(">I", 0x28 + blob[11] % 128)
    try:
        structure = DumpStructure.decode(head + blob[12:])
    except FormatError:
        return
    assert DumpStructure.decode(structure.encode()) == structure


@pytest.mark.parametrize(
    ("field", "value", "offset"),
    [
        (slice(0, 4), 2, 0),
        (slice(4, 6), 0, 4),
        (slice(4, 6), 11, 4),
        (slice(4, 6), 0xFFFF, 4),
        (slice(8, 12), 0x27, 8),
        (slice(8, 12), 0, 8),
        (slice(8, 12), 0xFFFF_FFFF, 8),
    ],
)
def test_a_field_that_can_not_be_is_refused_at_its_offset(field, value, offset):
    blob = bytearray(linux_bytes().ljust(512, b"\0"))
    blob[field] = value.to_bytes(field.stop - field.start, "big")
    with pytest.raises(FormatError) as refused:
        DumpStructure.decode(bytes(blob))
    assert refused.value.offset == offset


def test_unknown_types_and_flags_are_kept():
    unknown = replace(LINUX.sections[0], type=0x0ABC, request_flags=0x8000_0001, error_flags=SectionError(0x0001))
    assert DumpStructure.decode(replace(LINUX, sections=(unknown,)).encode()).sections == (unknown,)


@pytest.mark.parametrize(
    "change",
    [
        {"sections": ()},
        {"sections": LINUX.sections[:1] * 11},
        {"sections": (replace(LINUX.sections[0], source=1 << 64),)},
        {"sections": (replace(LINUX.sections[0], type=1 << 16),)},
        {"first_section_offset": 0x20},
        {"first_section_offset": 0x1000},
        {"max_time_auto_ms": -1},
    ],
)
def test_what_the_structure_cannot_hold_is_not_encoded(change):
    with pytest.raises(ValueError, match="dump memory structure"):
        replace(LINUX, **change).encode()

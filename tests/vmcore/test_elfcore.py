"""Cores that are right are read as readelf and drgn read them; cores that are wrong in any way are refused."""

import os
import re
import struct
import subprocess
from pathlib import Path

import drgn
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fadump.errors import AddressError, FormatError, LimitError
from fadump.memory.ranges import Range
from fadump.vmcore import elfcore
from fadump.vmcore.contract import vmcoreinfo_of
from fadump.vmcore.elfcore import ElfCore, LoadSegment
from fadump.vmcore.extents import Extent
from fadump.vmcore.notes import decode_prstatus, vmcoreinfo_lines
from tests.vmcore.core_builder import PPC64, S390, Load, build_core, note, prstatus

VMCOREINFO = "OSRELEASE=6.12.0\nPAGESIZE=65536\nSYMBOL(swapper_pg_dir)=c000000002a00000\nKERNELOFFSET=0\n"
LOADS = [Load(0, bytes(range(256)) * 3), Load(0x4001_01B0, b"above" * 50, memory_bytes=400), Load(0x1000, b"middle")]
FIRST_PROGRAM_HEADER = 64
FIRST_LOAD = FIRST_PROGRAM_HEADER + 2 * 56
OFFSET, PADDR, FILESZ, MEMSZ = 8, 24, 32, 40
"""Where they are in a program header."""

byte_orders = pytest.mark.parametrize("byte_order", ["little", "big"])


def sample(byte_order="little", *, extended_numbering=False):
    notes = [
        prstatus({"nip": 0xC000, "gpr1": 2**64 - 1}, pid=7, signal=-5, byte_order=byte_order)
        + prstatus({}, byte_order=byte_order),
        note("VMCOREINFO", 0, VMCOREINFO.encode(), byte_order),
    ]
    return build_core(LOADS, notes, byte_order=byte_order, extended_numbering=extended_numbering)


def open_bytes(data):
    """An ElfCore of a file that is in memory only."""
    fd = os.memfd_create("core")
    os.pwrite(fd, data, 0)
    try:
        return ElfCore(fd)
    except BaseException:
        os.close(fd)
        raise


def open_descriptors():
    return len(list(Path("/proc/self/fd").iterdir()))


def changed(core, offset, value, size_bytes=8):
    return core[:offset] + value.to_bytes(size_bytes, "little") + core[offset + size_bytes :]


def read_everything(core):
    with core:
        for segment in core.segments:
            for extent in core.extents(segment.physical):
                size_bytes = min(extent.physical.size_bytes, 4096)  # a segment may well end in 2^63 zeros
                assert len(core.read_physical(extent.physical.start, size_bytes)) == size_bytes
        list(vmcoreinfo_lines(vmcoreinfo_of(core.notes) or b""))
        for a_note in core.notes:
            if a_note.is_prstatus():
                decode_prstatus(a_note, core.byte_order)


@byte_orders
@pytest.mark.parametrize("extended_numbering", [False, True])
def test_what_is_built_is_read(byte_order, extended_numbering):
    data = sample(byte_order, extended_numbering=extended_numbering)
    with open_bytes(data) as core:
        assert (core.machine, core.byte_order) == (PPC64, byte_order)
        assert [segment.physical for segment in core.segments] == [
            Range(0, 768),
            Range(0x400101B0, 0x40010340),
            Range(0x1000, 0x1006),
        ]
        assert core.segments[1].virtual_address == 0xC000_0000_4001_01B0
        assert (core.segments[1].file_bytes, core.segments[1].memory_bytes) == (250, 400)
        assert [(a_note.name, a_note.type) for a_note in core.notes] == [("CORE", 1), ("CORE", 1), ("VMCOREINFO", 0)]
        for load, segment in zip(LOADS, core.segments, strict=True):
            assert core.read_physical(load.physical, len(load.data)) == load.data
            assert core.read_file(segment.file_offset, segment.file_bytes) == load.data


def test_the_path_of_a_file_is_opened_and_its_descriptor_closed(tmp_path):
    path = tmp_path / "vmcore"
    path.write_bytes(sample())
    open_before = open_descriptors()
    with ElfCore.open(path) as core:
        assert core.read_physical(0x1001, 3) == b"idd"
    path.write_bytes(b"not a core")
    with pytest.raises(FormatError):
        ElfCore.open(path)
    core.close()
    assert open_descriptors() == open_before
    with pytest.raises(OSError, match="Bad file descriptor"):
        core.read_physical(0, 1)


def test_any_machine_is_read():
    with open_bytes(build_core([Load(0, b"x")], machine=S390)) as core:
        assert core.machine == S390


@byte_orders
@pytest.mark.parametrize("extended_numbering", [False, True])
def test_readelf_reads_the_same(tmp_path, byte_order, extended_numbering):
    path = tmp_path / "vmcore"
    path.write_bytes(sample(byte_order, extended_numbering=extended_numbering))
    command = ["readelf", "--wide", "--file-header", "--segments", "--notes", str(path)]
    done = subprocess.run(command, env={**os.environ, "LC_ALL": "C"}, capture_output=True, text=True, check=True)
    assert "Warning" not in done.stderr
    assert f"2's complement, {byte_order} endian" in done.stdout
    assert "CORE (Core file)" in done.stdout
    assert "PowerPC64" in done.stdout
    loads = [[int(word, 16) for word in line.split()[1:6]] for line in done.stdout.splitlines() if " LOAD " in line]
    notes = re.findall(r"^  (\S+)\s+0x([0-9a-f]{8})\s+(\S.*)$", done.stdout, re.MULTILINE)
    with ElfCore.open(path) as core:
        assert loads == [
            [s.file_offset, s.virtual_address, s.physical.start, s.file_bytes, s.memory_bytes] for s in core.segments
        ]
        assert [(name, int(size, 16)) for name, size, _ in notes] == [(n.name, len(n.desc)) for n in core.notes]
        assert ["NT_PRSTATUS" in what for *_, what in notes] == [n.is_prstatus() for n in core.notes]


def test_drgn_reads_the_same(tmp_path):
    path = tmp_path / "vmcore"
    path.write_bytes(sample())
    program = drgn.Program()
    program.set_core_dump(path)
    with ElfCore.open(path) as core:
        for segment in core.segments:
            start, size_bytes = segment.physical.start, segment.memory_bytes
            assert program.read(start, size_bytes, physical=True) == core.read_physical(start, size_bytes)


# What a core says about addresses


def test_memory_beyond_the_file_is_zeros():
    with open_bytes(sample()) as core:
        assert core.read_physical(0x4001_01B0 + 248, 152) == b"ve" + bytes(150)
        assert core.extents(Range.sized(0x4001_01B0 + 248, 4)) == [
            Extent(Range.sized(0x4001_01B0 + 248, 2), core.segments[1].file_offset + 248),
            Extent(Range.sized(0x4001_01B0 + 250, 2), None),
        ]


def test_reading_crosses_from_one_segment_to_the_next():
    with open_bytes(build_core([Load(6, b"world"), Load(0, b"hello ")])) as core:
        assert core.read_physical(0, 11) == b"hello world"
        assert core.read_physical(5, 2) == b" w"
        assert core.read_physical(11, 0) == b""


@pytest.mark.parametrize(
    ("address", "length"),
    [(767, 2), (768, 1), (0xFFF, 1), (0x1005, 2), (0x40010340, 1), (0, 2**64), (2**64, 1), (2**70, 2**70), (-1, 2)],
)
def test_memory_that_is_in_no_segment_is_an_address_error(address, length):
    with open_bytes(sample()) as core, pytest.raises(AddressError) as error:
        core.read_physical(address, length)
    assert (error.value.address, error.value.length) == (address, length)


@given(st.lists(st.tuples(st.integers(0, 40), st.binary(max_size=12), st.integers(0, 4)), min_size=1, max_size=6))
def test_of_overlapping_segments_the_first_counts(described):
    memory = {}
    for start, data, zeros in described:
        for at, byte in enumerate(data + bytes(zeros), start):
            memory.setdefault(at, byte)
    loads = [Load(start, data, memory_bytes=len(data) + zeros) for start, data, zeros in described]
    with open_bytes(build_core(loads)) as core:
        for at in range(64):
            if at in memory:
                assert core.read_physical(at, 1) == bytes([memory[at]])
            else:
                with pytest.raises(AddressError):
                    core.read_physical(at, 1)
        everything = core.segments[0].physical
        assert core.read_physical(everything.start, everything.size_bytes) == described[0][1] + bytes(described[0][2])


def test_a_segment_may_end_with_the_address_space():
    data = build_core([Load(2**64 - 4, b"last")])
    with open_bytes(data) as core:
        assert core.read_physical(2**64 - 4, 4) == b"last"


# What is wrong is refused


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data(), st.sampled_from(["little", "big"]), st.booleans())
def test_a_core_cut_anywhere_is_refused(data, byte_order, extended_numbering):
    whole = sample(byte_order, extended_numbering=extended_numbering)
    cut = data.draw(st.integers(0, len(whole) - 1))
    with pytest.raises(FormatError) as error:
        read_everything(open_bytes(whole[:cut]))
    assert 0 <= error.value.offset <= len(whole)


@settings(max_examples=500)
@given(st.data(), st.sampled_from(["little", "big"]), st.booleans())
def test_a_core_with_flipped_bits_is_read_or_refused(data, byte_order, extended_numbering):
    core = bytearray(sample(byte_order, extended_numbering=extended_numbering))
    headers_and_notes = len(core) - sum(len(load.data) for load in LOADS)
    for bit in data.draw(st.lists(st.integers(0, headers_and_notes * 8 - 1), min_size=1, max_size=4)):
        core[bit // 8] ^= 1 << bit % 8
    try:
        read_everything(open_bytes(bytes(core)))
    except FormatError as error:
        assert error.offset >= 0


@given(st.data())
def test_sizes_and_offsets_of_any_number_are_read_or_refused(data):
    core = sample()
    near_limits = st.sampled_from([0, 1, 2**31, 2**32, 2**63 - 1, 2**63, 2**64 - 1]).flatmap(
        lambda limit: st.integers(max(0, limit - 800), min(2**64 - 1, limit + 800))
    )
    for _ in range(data.draw(st.integers(1, 3))):
        header = FIRST_PROGRAM_HEADER + 56 * data.draw(st.integers(0, 4))
        field = data.draw(st.sampled_from([OFFSET, PADDR, FILESZ, MEMSZ]))
        core = changed(core, header + field, data.draw(near_limits))
    try:
        read_everything(open_bytes(core))
    except FormatError as error:
        assert error.offset >= 0


@pytest.mark.parametrize(
    ("offset", "value", "size_bytes", "message", "at"),
    [
        (0, 0, 4, "not an ELF file", 0),
        (4, 1, 1, "not a 64-bit ELF file", 4),
        (5, 3, 1, "byte order", 5),
        (6, 2, 1, "version", 6),
        (0x10, 2, 2, "no core: a vmlinux is given together with a dump", 0x10),
        (0x14, 2, 4, "version", 0x14),
        (0x36, 64, 2, "program headers of unknown size", 0x36),
        (0x38, 0, 2, "number of program headers", 0x38),
        (0x38, 0xFFFF, 2, "PN_XNUM without", 0x28),
        (0x20, 2**64 - 1, 8, "program headers cut short", 2**64 - 1),
        (FIRST_PROGRAM_HEADER + FILESZ, 2**64 - 1, 8, "program header at 0x40", None),
        (FIRST_LOAD + OFFSET, 2**64 - 1, 8, "cut short", 2**64 - 1),
        (FIRST_LOAD + FILESZ, 2**63, 8, "cut short", None),
        (FIRST_LOAD + MEMSZ, 767, 8, "larger in the file than in memory", FIRST_LOAD),
        (FIRST_LOAD + PADDR, 2**64 - 1, 8, "wrap", FIRST_LOAD),
    ],
)
def test_each_field_is_checked(offset, value, size_bytes, message, at):
    with pytest.raises(FormatError, match=message) as error:
        open_bytes(changed(sample(), offset, value, size_bytes))
    assert at is None or error.value.offset == at


def test_more_program_headers_than_there_is_room_for_are_refused():
    core = sample(extended_numbering=True)
    sh_info = FIRST_PROGRAM_HEADER + 5 * 56 + 0x2C
    with pytest.raises(LimitError, match="4,294,967,295 program headers, more than the 131,072 that are read") as error:
        open_bytes(changed(core, sh_info, 2**32 - 1, 4))
    assert error.value.offset == sh_info
    with pytest.raises(FormatError, match="number of program headers") as error:
        open_bytes(changed(core, sh_info, 0, 4))
    assert error.value.offset == sh_info
    with pytest.raises(FormatError, match="program headers cut short"):
        open_bytes(changed(core, sh_info, 131072, 4))


def test_a_huge_sparse_file_full_of_notes_is_refused_unread(tmp_path):
    path = tmp_path / "vmcore"
    path.write_bytes(changed(sample(), FIRST_PROGRAM_HEADER + FILESZ, 2**40))
    os.truncate(path, 2**41)
    with pytest.raises(FormatError, match="size of all PT_NOTEs"):
        ElfCore.open(path)


def test_one_note_segment_named_by_very_many_headers_is_refused(monkeypatch):
    monkeypatch.setattr(elfcore, "MOST_NOTES", 4)
    data = note("CORE", 1, b"")
    with pytest.raises(FormatError, match="more than 4 notes"):
        open_bytes(build_core([], [data] * 5))


def test_a_dump_that_shrinks_while_it_is_read_is_an_error(tmp_path):
    path = tmp_path / "vmcore"
    path.write_bytes(build_core([Load(0, bytes(8192))]))
    with ElfCore.open(path) as core:
        os.truncate(path, 4096)
        with pytest.raises(FormatError, match="made shorter") as error:
            core.read_physical(0, 8192)
    assert error.value.offset == 4096


def test_as_many_segments_as_the_extended_numbering_allows_for():
    loads = [Load(16 * number, struct.pack("<I", number)) for number in range(70_000)]
    with open_bytes(build_core(loads, extended_numbering=True)) as core:
        assert len(core.segments) == 70_000
        assert core.segments[-1] == LoadSegment(
            Range.sized(16 * 69_999, 4), 0xC000_0000_0000_0000 | 16 * 69_999, core.segments[-1].file_offset, 4
        )
        assert core.read_physical(16 * 65_537, 4) == struct.pack("<I", 65_537)

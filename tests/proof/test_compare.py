"""A right dump passes; every kind of wrong one is found, and counted to the byte."""

import hashlib
import mmap
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fadump.abi.linux.pt_regs import REGISTER_NAMES
from fadump.abi.registers import CpuRegisters
from fadump.errors import FormatError
from fadump.memory.guest import Segment
from fadump.memory.ranges import Range, RangeSet
from fadump.proof import compare as compare_module
from fadump.proof.compare import MOST_DIFFERENCES, Exclusion, compare, compare_cpus
from fadump.proof.crash_image import CrashImage
from fadump.vmcore.elfcore import ElfCore
from tests.vmcore.core_builder import S390, Load, build_core, note, prstatus, write_sparse

PAGE = mmap.PAGESIZE
RAM_BYTES = 4 << 20
HOLE = Range(1 << 20, 3 << 20)
"""Never touched by the guest."""
RESERVED = Range(0x280000, 0x290000)
"""In no PT_LOAD."""
LOW, HIGH = Range(0, RESERVED.start), Range(RESERVED.end + 0x1B0, RAM_BYTES)
RAM = hashlib.shake_128(b"guest").digest(RAM_BYTES)
RAM = RAM[: HOLE.start] + bytes(HOLE.size_bytes) + RAM[HOLE.end :]
DUMPED_BYTES = LOW.size_bytes + HIGH.size_bytes


@pytest.fixture(scope="module")
def image():
    fd = os.memfd_create("guest")
    os.ftruncate(fd, RAM_BYTES)
    os.pwrite(fd, RAM[: HOLE.start], 0)
    os.pwrite(fd, RAM[HOLE.end :], HOLE.end)
    with CrashImage.take([Segment(Range(0, RAM_BYTES), fd, 0)], []) as taken:
        os.close(fd)
        yield taken


@pytest.fixture
def open_core(tmp_path):
    """Opens a core of RAM in which single bytes are changed: a sparse file, so that zeros are holes in it."""
    opened = []

    def open_(changed=(), ranges=(LOW, HIGH)):
        memory = bytearray(RAM)
        for address in changed:
            memory[address] ^= 0x40
        path = tmp_path / "vmcore"
        write_sparse(path, build_core([Load(part.start, bytes(memory[part.start : part.end])) for part in ranges]))
        opened.append(ElfCore.open(path))
        return opened[-1]

    yield open_
    for core in opened:
        core.close()


def whole(result, core):
    """Nothing may fall between compared and excluded."""
    return result.bytes_compared + result.bytes_excluded == sum(segment.file_bytes for segment in core.segments)


def test_a_right_dump_has_no_differences(image, open_core):
    told = []
    core = open_core()
    result = compare(core, image, advance=told.append)
    assert (result.bytes_compared, result.bytes_different, result.bytes_excluded) == (DUMPED_BYTES, 0, 0)
    assert (result.excluded, result.differences, result.difference_count) == ((), (), 0)
    assert result.not_in_dump == RangeSet([Range(RESERVED.start, HIGH.start)])
    assert sum(told) == DUMPED_BYTES


@pytest.mark.parametrize(
    "address",
    [
        *(LOW.start, LOW.end - 1, HIGH.start, HIGH.end - 1),
        *((1 << 20) - 1, 1 << 20, (1 << 20) + 1),
        *(PAGE - 1, PAGE, HOLE.start, HOLE.start + 12345, RESERVED.start - 1, HOLE.end - 1, HOLE.end),
    ],
    ids=hex,
)
def test_one_wrong_byte_is_found_wherever_it_is(image, open_core, address):
    core = open_core([address])
    result = compare(core, image)
    assert result.bytes_different == 1
    assert result.differences == (Range.sized(address, 1),)
    assert result.bytes_compared == DUMPED_BYTES


def test_one_wrong_byte_of_the_guest_is_found_in_a_hole_of_the_file(open_core):
    """The other way round: the dump has zeros, in a hole of its file, where there was data."""
    fd = os.memfd_create("guest")
    os.pwrite(fd, RAM, 0)
    os.pwrite(fd, b"\x01", HOLE.start + 0x5000)
    core = open_core()
    assert os.fstat(core._file._fd).st_blocks * 512 < RAM_BYTES - HOLE.size_bytes // 2
    with CrashImage.take([Segment(Range(0, RAM_BYTES), fd, 0)], []) as image:
        os.close(fd)
        result = compare(core, image)
    assert (result.bytes_different, result.differences) == (1, (Range.sized(HOLE.start + 0x5000, 1),))


@pytest.mark.parametrize("shift", [-1, 1])
def test_a_segment_that_is_off_by_one_is_found(image, tmp_path, shift):
    part = Range(0x1000, 0x9000)
    (tmp_path / "vmcore").write_bytes(build_core([Load(part.start + shift, RAM[part.start : part.end])]))
    with ElfCore.open(tmp_path / "vmcore") as core:
        result = compare(core, image)
    expected = sum(RAM[at] != RAM[at + shift] for at in range(part.start, part.end))
    assert result.bytes_different == expected > part.size_bytes * 0.99
    assert result.difference_count == 1


def test_memory_that_was_no_ram_counts_as_different(image, tmp_path):
    beyond = Load(RAM_BYTES - 16, RAM[-16:] + b"more")
    elsewhere = Load(1 << 40, bytes(100), memory_bytes=1 << 30)
    (tmp_path / "vmcore").write_bytes(build_core([beyond, elsewhere]))
    with ElfCore.open(tmp_path / "vmcore") as core:
        result = compare(core, image)
        assert whole(result, core)
    assert (result.bytes_compared, result.bytes_different) == (120, 104)
    assert result.differences == (Range.sized(RAM_BYTES, 4), Range.sized(1 << 40, 100))


def test_what_is_compared_twice_counts_twice(image, open_core):
    core = open_core([0x2000], ranges=[LOW, Range(0x1000, 0x3000)])
    result = compare(core, image)
    assert (result.bytes_compared, result.bytes_different) == (LOW.size_bytes + 0x2000, 2)


def test_exclusions_leave_out_what_they_overlap(image, open_core):
    wrong = [0x0FFF, 0x1000, 0x2FFF, 0x3000]
    exclusions = [
        Exclusion(Range(0x1000, 0x2800), "the first"),
        Exclusion(Range(0x2000, 0x3000), "overlaps the first"),
        Exclusion(
            Range(RESERVED.start - 0x100, HIGH.start + 0x100), "over the end of one PT_LOAD and the next's start"
        ),
        Exclusion(Range(RESERVED.start, RESERVED.end), "in no PT_LOAD"),
        Exclusion(Range(1 << 40, 1 << 41), "no memory"),
    ]
    core = open_core(wrong)
    result = compare(core, image, exclusions)
    assert result.bytes_excluded == 0x2000 + 0x200
    assert whole(result, core)
    assert result.excluded == tuple(exclusions[:3])
    assert result.bytes_different == 2
    assert result.differences == (Range(0x0FFF, 0x1000), Range(0x3000, 0x3001))
    assert compare(core, image, [Exclusion(Range(0, RAM_BYTES), "all")]).bytes_compared == 0


def test_differences_are_merged_when_near_and_listed_up_to_a_limit(image, open_core):
    near = [0x8010, 0x8000, 0x8FFF, 0x9000, 0xA800]  # 0xa800 is more than 4 KiB away from 0x9000
    core = open_core(near)
    result = compare(core, image)
    assert (result.bytes_different, result.difference_count) == (5, 2)
    assert result.differences == (Range(0x8000, 0x9001), Range(0xA800, 0xA801))

    far = range(0, 0x2000 * (MOST_DIFFERENCES + 9), 0x2000)
    result = compare(open_core(far), image)
    assert (result.bytes_different, result.difference_count) == (len(far), MOST_DIFFERENCES + 9)
    assert result.differences == tuple(Range.sized(at, 1) for at in far[:MOST_DIFFERENCES])


small_ranges = st.builds(Range.sized, st.integers(0, 900), st.integers(0, 300))


@given(
    dumped=st.lists(small_ranges, max_size=4),
    ram=st.sets(st.sampled_from([0, 256, 512, 768])),
    excluded=st.lists(small_ranges, max_size=3),
    wrong=st.sets(st.integers(0, 1199), max_size=8),
    piece_bytes=st.sampled_from([1, 7, 64, 1 << 20]),
)
def test_the_counts_are_those_of_a_comparison_byte_by_byte(dumped, ram, excluded, wrong, piece_bytes):
    memory = hashlib.shake_128(b"memory").digest(1200)
    in_dump = bytes(byte ^ 0xFF if at in wrong else byte for at, byte in enumerate(memory))
    fd, core_fd = os.memfd_create("guest"), os.memfd_create("core")
    os.pwrite(fd, memory, 0)
    loads = [Load(part.start, in_dump[part.start : part.end]) for part in dumped]
    os.pwrite(core_fd, build_core([*loads, Load(0, b"")]), 0)
    with (
        CrashImage.take([Segment(Range.sized(start, 256), fd, start) for start in ram], []) as image,
        ElfCore(core_fd) as core,
        pytest.MonkeyPatch.context() as patch,
    ):
        os.close(fd)
        patch.setattr(compare_module, "_PIECE_BYTES", piece_bytes)
        patch.setattr(compare_module, "_BLOCK_BYTES", 4)
        result = compare(core, image, [Exclusion(part, "why not") for part in excluded])
        assert whole(result, core)
    left_out = [at for part in dumped for at in range(part.start, part.end) if any(at in e for e in excluded)]
    compared = [at for part in dumped for at in range(part.start, part.end) if not any(at in e for e in excluded)]
    different = [at for at in compared if at in wrong or at - at % 256 not in ram]
    assert result.bytes_excluded == len(left_out)
    assert result.bytes_compared == len(compared)
    assert result.bytes_different == len(different)
    assert all(any(at in part for part in result.differences) for at in different)
    assert all(part.start in different and part.end - 1 in different for part in result.differences)


# Registers

SAVED = {**{f"GPR{number:02}": f"gpr{number}" for number in range(32)}, "NIA": "nip", "MSR": "msr", "CTR": "ctr"}
SAVED |= {"LR": "link", "XER": "xer", "CR": "ccr", "DAR": "dar", "DSISR": "dsisr"}


def cpu_registers(cpu_id):
    names = [*SAVED, "PVR", "SPRG3"]  # more than NT_PRSTATUS has room for
    return CpuRegisters(cpu_id, {name: (cpu_id + 1) << 56 | number for number, name in enumerate(names)})


def as_linux_writes(cpu):
    return {pt_regs: cpu.values[papr] for papr, pt_regs in SAVED.items() if papr in cpu.values}


def sentences(cpus, notes, crashing_cpu, **options):
    order = options.get("byte_order", "little")
    core_fd = os.memfd_create("core")
    os.pwrite(core_fd, build_core([], [b"".join(prstatus(n, byte_order=order) for n in notes)], **options), 0)
    with CrashImage.take([], cpus) as image, ElfCore(core_fd) as core:
        return compare_cpus(core, image, crashing_cpu)


CPUS = [cpu_registers(cpu_id) for cpu_id in (0, 1, 4)]


@pytest.mark.parametrize("byte_order", ["little", "big"])
def test_right_registers_leave_nothing_to_say(byte_order):
    notes = [as_linux_writes(cpu) for cpu in CPUS]
    assert sentences(CPUS, notes, None, byte_order=byte_order) == []
    notes[1] = {"nip": 1}
    assert sentences(CPUS, notes, 1, byte_order=byte_order) == []


@pytest.mark.parametrize(("papr", "pt_regs"), SAVED.items())
def test_each_wrong_register_is_named(papr, pt_regs):
    notes = [as_linux_writes(cpu) for cpu in CPUS]
    notes[2][pt_regs] ^= 1
    right, wrong = CPUS[2].values[papr], CPUS[2].values[papr] ^ 1
    assert sentences(CPUS, notes, 0) == [f"CPU 4: {papr} is {wrong:#x} in the dump, was {right:#x} at the crash"]


@pytest.mark.parametrize("pt_regs", sorted(set(REGISTER_NAMES) - set(SAVED.values())))
def test_what_the_firmware_does_not_save_must_be_zero(pt_regs):
    notes = [as_linux_writes(cpu) for cpu in CPUS]
    notes[0][pt_regs] = 9
    assert sentences(CPUS, notes, 4) == [f"CPU 0: {pt_regs} is 0x9 in the dump, should be 0: it was not read"]


def test_a_register_that_could_not_be_read_must_be_zero():
    cpu = CpuRegisters(0, {name: value for name, value in CPUS[0].values.items() if name != "DAR"})
    assert sentences([cpu], [as_linux_writes(cpu)], None) == []
    assert sentences([cpu], [as_linux_writes(CPUS[0])], None) == [
        f"CPU 0: DAR is {CPUS[0].values['DAR']:#x} in the dump, should be 0: it was not read"
    ]


def test_cpus_in_another_order_are_found():
    notes = [as_linux_writes(cpu) for cpu in (CPUS[1], CPUS[0], CPUS[2])]
    said = sentences(CPUS, notes, None)
    assert len(said) == 2 * len(SAVED)
    assert {line.split(":")[0] for line in said} == {"CPU 0", "CPU 1"}


@pytest.mark.parametrize("count", [0, 2, 4])
def test_too_few_or_too_many_notes_are_said(count):
    notes = [as_linux_writes(CPUS[0])] * count
    (said,) = sentences(CPUS, notes, 0)
    assert said.startswith(f"the dump has the registers of {count} CPUs, 3 were online at the crash")


def test_a_crashing_cpu_that_was_not_there_is_said():
    notes = [as_linux_writes(cpu) for cpu in CPUS]
    assert sentences(CPUS, notes, 2) == ["CPU 2 is said to have crashed, and was not online"]


def test_registers_of_another_machine_are_refused():
    with pytest.raises(FormatError, match="another machine") as error:
        sentences(CPUS, [], 0, machine=S390)
    assert (error.value.offset, error.value.expected, error.value.found) == (0x12, 21, 22)


def test_a_note_that_is_cut_short_is_refused():
    core_fd = os.memfd_create("core")
    os.pwrite(core_fd, build_core([], [note("CORE", 1, bytes(100))]), 0)
    with (
        CrashImage.take([], CPUS[:1]) as image,
        ElfCore(core_fd) as core,
        pytest.raises(FormatError, match="cut short"),
    ):
        compare_cpus(core, image, 0)


def test_where_both_have_a_hole_nothing_is_read(image, open_core, monkeypatch):
    core, read = open_core(), []
    whole = ElfCore.read_file_into

    def counted(core, offset, buffer):
        read.append(len(buffer))
        whole(core, offset, buffer)

    monkeypatch.setattr(ElfCore, "read_file_into", counted)
    told = []
    result = compare(core, image, advance=told.append)
    assert (result.bytes_compared, result.bytes_different) == (DUMPED_BYTES, 0)
    assert sum(told) == DUMPED_BYTES and sum(read) <= DUMPED_BYTES - HOLE.size_bytes + RESERVED.size_bytes + 2 * PAGE


def test_data_where_the_machine_had_a_hole_is_found(image, open_core):
    assert compare(open_core([HOLE.start + 5]), image).differences == (Range.sized(HOLE.start + 5, 1),)

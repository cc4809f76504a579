"""/proc/vmcore's layout: read back by the reader of ELF cores, and in step with Linux where it is odd."""

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fadump.abi.elf import EM_PPC64
from fadump.kernel.elfcorehdr import Load, loads_of
from fadump.kernel.plan.boot_memory import Region
from fadump.kernel.vmcore import Piece, VmCore, cpu_note, lay_out, read_old_memory, read_vmcore, whole_notes
from fadump.machine.embedded.save import save_vmcore
from fadump.memory.ranges import Range, RangeSet
from fadump.vmcore.elfcore import ElfCore
from fadump.vmcore.notes import decode_prstatus
from tests.kernel.running import guest_memory
from tests.machine.embedded.bench import disk

PAGE = 0x10000
TOP = 0x200_0000
AREA = Range(0x300_0000, 0x500_01B0)


def read(core):
    fd = os.memfd_create("vmcore")
    os.write(fd, core.head)
    os.ftruncate(fd, core.size_bytes)
    return ElfCore(fd)


def loads(memory, area=AREA):
    return list(loads_of([Region(0, TOP)], area.start, TOP, area, memory))


def test_boot_memory_comes_from_its_copy_and_the_area_is_left_out():
    assert loads([Range(0, 0x800_0000)]) == [
        Load(0, AREA.start, TOP),
        Load(TOP, TOP, AREA.start - TOP),
        Load(AREA.end, AREA.end, 0x800_0000 - AREA.end),
    ]


def test_memory_that_is_all_reserved_area_leaves_an_empty_header():
    assert loads([Range(0, TOP), Range(AREA.start, AREA.end)])[1:] == [Load(0, 0, 0)]
    with read(lay_out(loads([Range(0, TOP), AREA]), b"", PAGE)) as core:
        assert len(core.segments) == 1


@given(
    st.lists(st.integers(0x200, 0x900), min_size=2, max_size=8, unique=True).map(sorted),
    st.sampled_from([0x1000, 0x10000]),
    st.lists(st.dictionaries(st.sampled_from(["gpr0", "nip", "msr"]), st.integers(0, 2**64 - 1)), max_size=4),
)
def test_every_layout_can_be_read(cuts, page, cpus):
    memory = [Range(0, TOP)] + [Range(a * PAGE, b * PAGE) for a, b in zip(cuts[::2], cuts[1::2], strict=False)]
    made = lay_out(loads(memory), b"".join(cpu_note(cpu) for cpu in cpus), page)
    assert made.size_bytes % page == 0
    with read(made) as core:
        assert core.machine == EM_PPC64 and core.flags == 2
        notes = [decode_prstatus(note, "little").registers for note in core.notes]
        assert [{name: note[name] for name in cpu} for note, cpu in zip(notes, cpus, strict=True)] == cpus
        shown = RangeSet(segment.physical for segment in core.segments)
        assert shown == RangeSet(memory) - RangeSet([AREA])
        for segment in core.segments:
            piece = next(
                piece for piece in made.pieces if piece.offset <= segment.file_offset < piece.offset + piece.size_bytes
            )
            held = piece.address + segment.file_offset - piece.offset
            assert held == segment.physical.start + (AREA.start if segment.physical.start < TOP else 0)


@pytest.mark.parametrize("rest", [b"", bytes(12), bytes(5000), b"\4\0\0\0\xff\xff\xff\xff\0\0\0\0"])
def test_notes_end_where_there_is_no_whole_one(rest):
    note = cpu_note({"nip": 1})
    assert whole_notes(note * 2 + rest) == note * 2


@pytest.mark.parametrize("start", [0x0, 0x8000, 0x1_0000, 0x1_8000, 0x2_8000, 0x4_0000])
def test_what_is_no_memory_is_zeros(start):
    """Of 256 KiB with a hole of 64 KiB in them, and nothing above."""
    there = (Range(0, 0x1_0000), Range(0x2_0000, 0x4_0000))
    all_bytes = bytearray(0x6_0000)
    with guest_memory(*there) as memory:
        for piece in there:
            memory.write(piece.start, b"\xa5" * piece.size_bytes)
            all_bytes[piece.start : piece.end] = b"\xa5" * piece.size_bytes
        wanted = Range.sized(start, 0x1_8000)
        assert read_old_memory(memory, wanted) == all_bytes[wanted.start : wanted.end]
        core = VmCore(b"head", (Piece(4, start, 0x1_8000),))
        assert read_vmcore(core, memory, 2, 0x1_0002) == b"ad" + all_bytes[start : start + 0x1_0000]
        with disk(0x10_0000) as fd:
            save_vmcore(core, memory, fd)
            assert os.pread(fd, core.size_bytes, 0) == b"head" + all_bytes[wanted.start : wanted.end]

"""Dumps are told apart by content, and ELF cores and guest memory keep the contract that all dumps have."""

import os
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fadump.errors import AddressError, FadumpError, FormatError, UsageError
from fadump.memory.ranges import Range, RangeSet
from fadump.vmcore.contract import Kind, NotInDumpError, Piece, State, limited_set, merged
from fadump.vmcore.dump import open_dump
from fadump.vmcore.source import FileSource
from tests.vmcore.core_builder import PPC64, S390, Load, build_core, note, prstatus
from tests.vmcore.dump_helpers import BytesSource, open_bytes, pieces, read_all
from tests.vmcore.kdump_builder import Kdump, build_kdump, flattened

INFO = b"OSRELEASE=6.12.0\nPAGESIZE=65536\n"
NOTES = [prstatus({"nip": 5}) + note("VMCOREINFO", 0, INFO)]
LOADS = [Load(0x1000, b"first" * 100), Load(0x5000, b"second" * 50, memory_bytes=0x1000), Load(0x11F4, b"next")]
FIRST_PROGRAM_HEADER = 64


def core(**changes):
    return build_core(LOADS, NOTES, **changes)


def changed(data, offset, value, size_bytes=8):
    return data[:offset] + value.to_bytes(size_bytes, "little") + data[offset + size_bytes :]


def open_descriptors():
    return len(list(Path("/proc/self/fd").iterdir()))


# Telling them apart


@pytest.mark.parametrize("flatten", [False, True])
@pytest.mark.parametrize(("kind", "data"), [(Kind.ELF, core()), (Kind.KDUMP, build_kdump(Kdump({1: b"k" * 4096})))])
def test_the_kind_is_told_by_content(tmp_path, kind, data, flatten):
    path = tmp_path / "any name.txt"
    path.write_bytes(flattened(data) if flatten else data)
    with open_dump(path) as dump:
        assert (dump.kind, dump.flattened) == (kind, flatten)
        assert read_all(dump) == 0
        assert dump.read_physical(0x1000, 5) in (b"first", b"kkkkk")


@pytest.mark.parametrize("data", [b"", b"\x7fEL", b"DISKDUMP" * 512, b"makedumpfile" + bytes(500), flattened(b"text")])
def test_other_files_are_refused_and_closed(tmp_path, data):
    path = tmp_path / "file"
    path.write_bytes(data)
    before = open_descriptors()
    with pytest.raises(FormatError):
        open_dump([path])
    assert open_descriptors() == before


def test_the_sentence_about_a_file_that_is_no_dump_names_it(tmp_path):
    path = tmp_path / "holiday.jpg"
    path.write_bytes(b"a picture")
    with pytest.raises(FormatError, match=f"^{path}: not a dump file") as error:
        open_dump(path)
    assert error.value.offset is None


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        (b"", "the file is empty"),
        (b"\x1f\x8b\x08" + bytes(100), "compressed with gzip: decompress it first"),
        (b"\xfd7zXZ\0" + bytes(100), "compressed with xz: decompress it first"),
        (b"\x28\xb5\x2f\xfd" + bytes(100), "compressed with zstd: decompress it first"),
        (changed(core(), 0x10, 2, 2), "no core: a vmlinux is given together with a dump, not as one"),
    ],
)
def test_what_a_file_is_instead_of_a_dump_is_said(tmp_path, data, sentence):
    path = tmp_path / "file"
    path.write_bytes(data)
    with pytest.raises(FormatError, match=sentence):
        open_dump(path)


def test_the_core_of_a_process_is_told_from_a_systems():
    notes = [prstatus({"nip": 5}) + note("CORE", 6, bytes(32))]
    with open_bytes(build_core(LOADS, notes)) as dump:
        assert [str(found).partition(" at ")[0] for found in dump.damage] == [
            "the core of a process, and not of a system"
        ]
    with open_bytes(core()) as dump:
        assert not dump.damage


def test_several_files_that_are_no_split_dump_are_refused(tmp_path):
    paths = [tmp_path / "1", tmp_path / "2"]
    for path in paths:
        path.write_bytes(core())
    with pytest.raises(FormatError, match="several files, of which the first is an ELF core: only a kdump-compressed"):
        open_dump(paths)


def test_a_set_of_files_is_opened_and_closed(tmp_path):
    paths = [tmp_path / "1", tmp_path / "2"]
    for path, split in zip(paths, [(0, 5), (5, 64)], strict=True):
        path.write_bytes(build_kdump(Kdump({1: b"one!" * 1024, 6: b"six!" * 1024}, split=split)))
    before = open_descriptors()
    with open_dump(paths) as dump:
        assert dump.read_physical(6 * 4096, 4) == b"six!"
    dump.close()
    assert open_descriptors() == before
    with pytest.raises(OSError, match="Bad file descriptor"):
        dump.read_physical(6 * 4096, 4)


def test_a_missing_file_of_a_set_leaves_nothing_open(tmp_path):
    path = tmp_path / "1"
    path.write_bytes(core())
    before = open_descriptors()
    with pytest.raises(FileNotFoundError):
        open_dump([path, tmp_path / "2"])
    with pytest.raises(FormatError):
        open_dump([path, path])  # ELF cores are no set
    assert open_descriptors() == before


def test_no_file_at_all_is_the_callers_mistake():
    with pytest.raises(UsageError, match="no file is given"):
        open_dump([])


# ELF


@pytest.mark.parametrize(
    ("machine", "byte_order", "name"),
    [(PPC64, "little", "ppc64le"), (PPC64, "big", "ppc64"), (S390, "big", "s390x"), (4711, "little", "e_machine 4711")],
)
def test_the_machine_is_unames(machine, byte_order, name):
    data = build_core([Load(0, b"x")], machine=machine, byte_order=byte_order)
    with open_bytes(data) as dump:
        assert (dump.machine, dump.byte_order, dump.damage) == (name, byte_order, [])


def test_an_elf_core_keeps_the_contract():
    data = core()
    with open_bytes(data) as dump:
        assert dump.vmcoreinfo == INFO
        assert [a_note.name for a_note in dump.notes] == ["CORE", "VMCOREINFO"]
        assert dump.memory == dump.readable == RangeSet([Range(0x1000, 0x11F8), Range(0x5000, 0x6000)])
        found = pieces(dump, 0, 0x7000)
        assert [(piece.range, piece.state) for piece in found] == [
            (Range(0, 0x1000), State.HOLE),
            (Range(0x1000, 0x11F4), State.STORED),
            (Range(0x11F4, 0x11F8), State.STORED),
            (Range(0x11F8, 0x5000), State.HOLE),
            (Range(0x5000, 0x512C), State.STORED),
            (Range(0x512C, 0x6000), State.ZEROS),
            (Range(0x6000, 0x7000), State.HOLE),
        ]
        for piece in found:
            if piece.file_offset is not None:
                content = data[piece.file_offset : piece.file_offset + piece.range.size_bytes]
                assert dump.read_physical(piece.range.start, piece.range.size_bytes) == content
        assert dump.read_physical(0x11F0, 8) == b"irstnext"
        assert dump.read_physical(0x512A, 4) == b"nd\0\0"
        assert dump.why_not(0x512C) is None
        assert dump.why_not(0x4FFF) is State.HOLE


def test_segments_that_follow_each_other_in_the_file_are_one_view(tmp_path):
    data = build_core([Load(0x1000, b"a" * 4095), Load(0x1FFF, b"b" * 4097)])  # the builder puts one byte in between
    second_offset = 64 + 56 + 8
    first_at = int.from_bytes(data[64 + 8 : 64 + 16], "little")
    data = changed(data, second_offset, first_at + 4095)
    with open_bytes(data) as dump:
        assert [piece.range for piece in pieces(dump)] == [Range(0x1000, 0x3000)]
        assert not dump.view_physical(Range(0x1000, 0x3000)).flags.owndata


def test_memory_in_one_piece_is_viewed_without_a_copy_and_outlives_the_dump():
    with open_bytes(core()) as dump:
        view = dump.view_physical(Range(0x1001, 0x1008))
        copied = dump.view_physical(Range(0x11F0, 0x11F8))
        assert dump.view_physical(Range(0x5800, 0x5900)).tobytes() == bytes(256)
        assert len(dump.view_physical(Range(0x1000, 0x1000))) == 0
        with pytest.raises(NotInDumpError):
            dump.view_physical(Range(0x11F0, 0x11F9))
    assert view.tobytes() == b"irstfir" and copied.tobytes() == b"irstnext"
    assert view.dtype == copied.dtype == np.uint8
    assert not view.flags.owndata and not view.flags.writeable and not copied.flags.writeable


def test_memory_for_one_use_is_read_into_a_buffer_where_it_is_in_one_piece():
    buffer = np.full(0x1000, 0xFF, np.uint8)
    with open_bytes(core()) as dump:
        read = dump.read_or_view(Range(0x1001, 0x1008), buffer)
        assert read.tobytes() == b"irstfir" and np.shares_memory(read, buffer)
        assert dump.read_or_view(Range(0x11F0, 0x11F8), buffer).tobytes() == b"irstnext"
        assert dump.read_or_view(Range(0x5800, 0x5900), buffer).tobytes() == bytes(256)
        with pytest.raises(NotInDumpError):
            dump.read_or_view(Range(0x11F0, 0x11F9), buffer)


def test_a_hole_is_not_read_into_a_buffer(tmp_path, monkeypatch):
    path, at = tmp_path / "sparse", 32 << 20
    data = build_core([Load(0, b"data")])
    data = changed(data, 64 + 32, 1 << 26)
    data = changed(data, 64 + 40, 1 << 26)
    path.write_bytes(data)
    os.truncate(path, len(data) + (1 << 26))
    with open_dump(path) as dump:
        monkeypatch.setattr("fadump.vmcore.source.FileSource.read_into", lambda *_: pytest.fail("read"))
        found = dump.read_or_view(Range(at, at + 0x1000), np.empty(0x1000, np.uint8))
        assert len(found) == 0x1000 and not found.any()


def test_a_hole_is_viewed_without_reading_it(tmp_path, monkeypatch):
    path = tmp_path / "sparse"
    with path.open("wb") as file:
        file.write(b"data")
        file.truncate(64 << 20)
    monkeypatch.setattr("fadump.vmcore.source._populate", lambda _view: pytest.fail("read"))
    monkeypatch.setattr("fadump.vmcore.source.data_ranges", lambda *_: pytest.fail("looked for the end of the data"))
    sparse = FileSource(os.open(path, os.O_RDONLY))
    view = sparse.view(32 << 20, 1 << 20)
    assert len(view) == 1 << 20 and not view.any() and not view.flags.writeable
    monkeypatch.undo()
    assert bytes(sparse.view(0, 8)) == b"data" + bytes(4)
    sparse.close()


def test_what_was_viewed_last_is_not_read_in_again(monkeypatch):
    populated = []
    monkeypatch.setattr("fadump.vmcore.source._populate", lambda view: populated.append(len(view)))
    with closing(BytesSource(bytes(0x4000))) as opened:
        for offset, length in [(0x1000, 0x800), (0x1000, 0x800), (0x1800, 0x100), (0x1010, 0x8F0), (0x3000, 8), (0, 1)]:
            assert len(opened.view(offset, length)) == length
    assert populated == [0x800, 0x100, 8, 1]


def test_a_file_that_cannot_be_mapped_is_read(monkeypatch):
    def refuse(*_arguments, **_names):
        raise OSError

    monkeypatch.setattr("fadump.vmcore.source.mmap.mmap", refuse)
    with open_bytes(core()) as dump:
        assert dump.view_physical(Range(0x1001, 0x1008)).tobytes() == b"irstfir"


def test_a_dump_that_shrinks_while_it_is_read_is_an_error(tmp_path):
    path = tmp_path / "vmcore"
    path.write_bytes(core())
    with open_dump(path) as dump:
        os.truncate(path, len(core()) - 8)
        with pytest.raises(FormatError, match="made shorter"):
            dump.read_physical(0x11F4, 4)


@pytest.mark.parametrize(("address", "length"), [(-1, 1), (0, -1)])
def test_negative_numbers_are_an_address_error(address, length):
    with open_bytes(core()) as dump, pytest.raises(AddressError):
        dump.read_physical(address, length)


@pytest.mark.parametrize(
    ("byte_order", "flags", "incomplete"),
    [("little", 2, False), ("little", 3, True), ("little", 1, True), ("big", 1, False), ("big", 0, False)],
)
def test_makedumpfiles_mark_on_an_incomplete_elf_core_is_read(byte_order, flags, incomplete):
    data = bytearray(
        core(byte_order=byte_order) if byte_order == "little" else build_core([Load(0, b"x")], byte_order="big")
    )
    data[48:52] = flags.to_bytes(4, byte_order)
    with open_bytes(bytes(data)) as dump:
        assert [str(found) for found in dump.damage] == [
            "marked as incomplete by who wrote it at offset 0x30"
        ] * incomplete


@pytest.mark.parametrize("cut", range(FIRST_PROGRAM_HEADER, len(core()), 7))
def test_a_core_cut_short_opens_and_names_what_is_missing(cut):
    whole = core()
    with open_bytes(whole) as complete, open_bytes(whole[:cut]) as dump:
        assert dump.damage
        assert not [found for found in dump.damage if "expected 0x0," in str(found)]  # which is there
        for piece in pieces(dump):
            where = piece.range
            assert piece.state in (State.STORED, State.MISSING, State.ZEROS)
            if piece.state is State.MISSING:
                assert dump.why_not(where.start) is State.MISSING
            else:
                assert dump.read_physical(where.start, where.size_bytes) == complete.read_physical(
                    where.start, where.size_bytes
                )
        for found, original in zip(dump.notes, complete.notes, strict=False):
            assert found == original


def test_a_core_cut_in_its_header_is_refused():
    for cut in range(FIRST_PROGRAM_HEADER):
        with pytest.raises(FormatError):
            open_bytes(core()[:cut])


def test_a_segment_that_contradicts_itself_is_left_out():
    first_load = FIRST_PROGRAM_HEADER + 56
    for field, value, message in [(40, 499, "larger in the file"), (24, 2**64 - 1, "wrap")]:
        with open_bytes(changed(core(), first_load + field, value)) as dump:
            (found,) = dump.damage
            assert message in str(found)
            assert dump.memory == RangeSet([Range(0x5000, 0x6000), Range(0x11F4, 0x11F8)])


def test_notes_that_contradict_themselves_end_there():
    notes_at = FIRST_PROGRAM_HEADER + 4 * 56
    data = changed(core(), notes_at + 20 + 504, 2**32 - 1, 4)  # namesz of the second note
    with open_bytes(data) as dump:
        assert [a_note.name for a_note in dump.notes] == ["CORE"]
        assert len(dump.damage) == 1
        assert dump.vmcoreinfo is None


# The parts that all share


@given(st.lists(st.tuples(st.integers(1, 5), st.sampled_from(State), st.integers(0, 3), st.integers(0, 1))))
def test_merging_loses_nothing_and_leaves_no_neighbours_that_are_one(described):
    at, single = 0, []
    for size, state, offset, file in described:
        stored = state is State.STORED and offset
        single.append(Piece(Range.sized(at, size), state, 100 * offset + at if stored else None, file if stored else 0))
        at += size
    together = list(merged(single))

    def by_byte(some):
        for piece in some:
            for address in range(piece.range.start, piece.range.end):
                yield piece.part(Range.sized(address, 1))

    assert list(by_byte(together)) == list(by_byte(single))
    assert [*merged(together)] == together
    assert len(together) <= len(single)


def test_too_many_ranges_are_refused():
    assert len(limited_set((Range.sized(at, 1) for at in range(100)), 2)) == 1
    assert len(limited_set((Range.sized(at, 1) for at in (0, 2)), 2)) == 2
    with pytest.raises(FormatError, match="3 ranges of memory, more than the 2 that are read"):
        limited_set((Range.sized(at, 1) for at in (0, 2, 4)), 2)


def test_what_is_no_file_is_refused_and_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    before = open_descriptors()
    for path in (tmp_path / "pipe", Path("/dev/zero")):
        with pytest.raises(FadumpError, match=f"{path} is neither a file nor a disk"):
            open_dump(path)
    with pytest.raises(FadumpError, match=f"{tmp_path} is a directory: name a file in it"):
        open_dump(tmp_path)
    with pytest.raises(FadumpError, match="a dump isn't read from standard input"):
        open_dump("-")
    assert open_descriptors() == before

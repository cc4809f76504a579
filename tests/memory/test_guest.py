"""Guest memory against a plain bytearray, over memfds and over regular files with odd offsets."""

import mmap
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fadump.errors import AddressError
from fadump.memory import guest
from fadump.memory.guest import GuestMemory, Segment
from fadump.memory.ranges import Range, RangeSet

PAGE = mmap.PAGESIZE
BASE = 16 * PAGE
LOW, HIGH = Range.sized(BASE, 8 * PAGE), Range.sized(BASE + 8 * PAGE, 8 * PAGE)
RAM = Range(LOW.start, HIGH.end)
FAR = Range.sized(RAM.end + 4 * PAGE, 4 * PAGE)
"""A DIMM behind a gap."""


def sparse_memfd(size_bytes):
    fd = os.memfd_create("guest")
    os.ftruncate(fd, size_bytes)
    return fd


def allocated_bytes(fd):
    return os.fstat(fd).st_blocks * 512


@pytest.fixture
def fds():
    opened = [sparse_memfd(segment.size_bytes) for segment in (LOW, HIGH, FAR)]
    yield opened
    for fd in opened:
        os.close(fd)


@pytest.fixture
def memory(fds):
    segments = [Segment(range_, fd, 0) for range_, fd in zip((LOW, HIGH, FAR), fds, strict=True)]
    with GuestMemory(segments) as opened:
        yield opened


def fill(memory, where, byte):
    memory.write(where.start, bytes([byte]) * where.size_bytes)


def test_adjoining_segments_are_one_piece_of_ram(memory):
    assert memory.ram == RangeSet([RAM, FAR])


def test_bytes_written_across_segments_are_read_back_and_stand_in_both_files(memory, fds):
    data = bytes(range(1, 201))
    memory.write(HIGH.start - 100, data)
    assert memory.read(HIGH.start - 100, 200) == data
    assert os.pread(fds[0], 100, LOW.size_bytes - 100) == data[:100]
    assert os.pread(fds[1], 100, 0) == data[100:]


def test_what_somebody_else_writes_to_the_file_is_read(memory, fds):
    os.pwrite(fds[1], b"QEMU", 0x10)
    assert memory.read(HIGH.start + 0x10, 4) == b"QEMU"
    assert memory.view(Range.sized(HIGH.start + 0x10, 4)) == b"QEMU"


@pytest.mark.parametrize(
    ("address", "length"),
    [
        (LOW.start - 1, 2),
        (RAM.end - 1, 2),
        (RAM.end, 1),
        (RAM.end - PAGE, 8 * PAGE),  # over the gap into the DIMM
        (-1, 1),
        (LOW.start, -1),
        (1 << 64, 1),
        ((1 << 64) - 1, 2),
        (LOW.start, 1 << 70),
        (-(1 << 70), 1 << 71),
    ],
)
def test_memory_that_is_not_all_ram_is_an_address_error_that_says_which(memory, address, length):
    with pytest.raises(AddressError) as read:
        memory.read(address, length)
    assert (read.value.address, read.value.length) == (address, length)
    if length <= 16 * PAGE and length > 0:
        with pytest.raises(AddressError):
            memory.write(address, bytes(length))
    if address >= 0 and length >= 0:
        wanted = Range.sized(address, length)
        for refused in (memory.view, memory.populated, memory.discard, lambda source: memory.copy(source, FAR.start)):
            with pytest.raises(AddressError):
                refused(wanted)


def test_a_refused_write_has_written_nothing(memory):
    with pytest.raises(AddressError):
        memory.write(RAM.end - 4, b"too long")
    assert memory.read(RAM.end - 4, 4) == bytes(4)


def test_nothing_can_be_read_and_written_anywhere_in_ram(memory):
    assert memory.read(LOW.start, 0) == b""
    memory.write(LOW.start, b"")
    assert memory.copy(Range(LOW.start, LOW.start), HIGH.start) == 0


def test_reading_leaves_holes_as_they_are(memory, fds):
    assert memory.read(RAM.start, RAM.size_bytes) == bytes(RAM.size_bytes)
    assert [allocated_bytes(fd) for fd in fds] == [0, 0, 0]


def test_a_view_is_the_memory_itself(memory):
    with memory.view(Range.sized(LOW.start + 5, 3)) as view:
        view[:] = b"abc"
        assert memory.read(LOW.start + 4, 5) == b"\0abc\0"


def test_a_view_across_segments_is_refused(memory):
    with pytest.raises(AddressError):
        memory.view(Range(HIGH.start - 1, HIGH.start + 1))


def test_populated_pages_are_found_in_every_segment_and_clipped(memory):
    memory.write(LOW.start + 3 * PAGE + 7, b"x")
    memory.write(HIGH.start - 1, b"xy")
    assert memory.populated(RAM) == RangeSet(
        [Range.sized(LOW.start + 3 * PAGE, PAGE), Range(HIGH.start - PAGE, HIGH.start + PAGE)]
    )
    assert memory.populated(Range(HIGH.start - 5, HIGH.start + 3)) == RangeSet([Range(HIGH.start - 5, HIGH.start + 3)])
    assert not memory.populated(Range.sized(LOW.start, 3 * PAGE))


def test_a_copy_says_how_many_bytes_and_leaves_the_source_alone(memory):
    fill(memory, Range.sized(LOW.start, 100), 7)
    assert memory.copy(Range.sized(LOW.start, 2 * PAGE), HIGH.start) == 2 * PAGE
    assert memory.read(HIGH.start, 101) == bytes([7]) * 100 + b"\0"
    assert memory.read(LOW.start, 101) == bytes([7]) * 100 + b"\0"


def test_holes_stay_holes_in_a_copy(memory, fds):
    fill(memory, Range.sized(LOW.start + 2 * PAGE, PAGE), 1)
    memory.copy(LOW, HIGH.start)
    assert allocated_bytes(fds[1]) == PAGE
    assert allocated_bytes(fds[0]) == PAGE
    assert memory.populated(HIGH) == RangeSet([Range.sized(HIGH.start + 2 * PAGE, PAGE)])


def test_stale_pages_under_a_hole_are_given_back(memory, fds):
    fill(memory, HIGH, 0xFF)
    memory.copy(LOW, HIGH.start)
    assert memory.read(HIGH.start, HIGH.size_bytes) == bytes(HIGH.size_bytes)
    assert allocated_bytes(fds[1]) == 0


def test_a_hole_that_ends_within_a_page_spares_the_rest_of_it(memory):
    fill(memory, Range.sized(FAR.start, 3 * PAGE), 0xEE)
    memory.copy(Range.sized(LOW.start, 2 * PAGE), FAR.start + 0x10)
    assert memory.read(FAR.start, 0x11) == b"\xee" * 0x10 + b"\0"
    assert memory.read(FAR.start + 2 * PAGE + 0xF, 2) == b"\0\xee"


def test_whole_pages_between_the_ends_of_a_discarded_range_are_given_back(memory, fds):
    fill(memory, FAR, 0xEE)
    memory.discard(Range(FAR.start + 1, FAR.end - 1))
    assert allocated_bytes(fds[2]) == 2 * PAGE
    assert memory.read(FAR.start, FAR.size_bytes) == b"\xee" + bytes(FAR.size_bytes - 2) + b"\xee"


def test_discarding_does_not_look_for_the_end_of_what_was_populated(memory, monkeypatch):
    # That would take time in all memory behind, for each of many small holes.
    seek = os.lseek

    def no_end(fd, position, whence):
        assert whence == os.SEEK_DATA
        return seek(fd, position, whence)

    fill(memory, RAM, 1)
    monkeypatch.setattr(os, "lseek", no_end)
    memory.discard(Range(LOW.start + 1, LOW.start + 2 * PAGE + 1))
    assert memory.read(LOW.start, 2 * PAGE + 2) == b"\1" + bytes(2 * PAGE) + b"\1"


def test_discarding_part_of_a_hole_leaves_it_a_hole(memory, fds):
    fill(memory, Range.sized(LOW.start + 4 * PAGE, PAGE), 1)
    memory.discard(Range(LOW.start + 1, LOW.start + 3 * PAGE - 1))
    assert allocated_bytes(fds[0]) == PAGE


def test_a_copy_goes_on_where_the_host_wrote_only_a_part(memory, monkeypatch):
    whole = os.pwrite
    monkeypatch.setattr(guest.os, "pwrite", lambda fd, data, offset: whole(fd, data[:1000], offset))
    memory.write(LOW.start, bytes(range(256)) * 16)
    memory.copy(Range.sized(LOW.start, 0x1000), HIGH.start + 1)
    assert memory.read(HIGH.start + 1, 0x1000) == bytes(range(256)) * 16


def test_a_copy_in_many_chunks_misses_no_byte(memory, monkeypatch):
    monkeypatch.setattr(guest, "_COPY_BYTES", 1000)
    fill(memory, Range.sized(RAM.start, 5 * PAGE), 6)
    memory.copy(Range(RAM.start + 1, RAM.start + 5 * PAGE), RAM.start + 5 * PAGE + 17)  # across the segments' border
    assert memory.read(RAM.start + 5 * PAGE + 16, 5 * PAGE + 1) == b"\0" + b"\6" * (5 * PAGE - 1) + b"\0"


def test_a_copy_onto_itself_or_partly_so_is_refused(memory):
    for destination in (LOW.start, LOW.start + 1, LOW.start + PAGE - 1):
        with pytest.raises(ValueError, match="overlap"):
            memory.copy(Range.sized(LOW.start, PAGE), destination)
    assert memory.copy(Range.sized(LOW.start, PAGE), LOW.start + PAGE) == PAGE


def test_a_copy_to_memory_that_is_not_there_changes_nothing(memory):
    fill(memory, Range.sized(RAM.end - PAGE, PAGE), 5)
    with pytest.raises(AddressError):
        memory.copy(LOW, RAM.end - PAGE)
    with pytest.raises(AddressError):
        memory.copy(LOW, -PAGE)
    assert memory.read(RAM.end - PAGE, PAGE) == bytes([5]) * PAGE


places = st.integers(0, RAM.size_bytes)
patches = st.lists(st.tuples(places, st.binary(min_size=1, max_size=64)), max_size=6)


@given(patches, places, places, places, st.sampled_from([64, PAGE + 1, 1 << 20]), st.sampled_from([0, 1, PAGE // 2]))
def test_writing_discarding_and_copying_do_what_a_bytearray_does(written, start, other, destination, chunk, skew):
    # The file is entered at an odd offset, and the border of the segments is not a page's.
    border = RAM.start + 5 * PAGE + 3 * skew
    fd = sparse_memfd(RAM.size_bytes + skew)
    segments = [
        Segment(Range(RAM.start, border), fd, skew),
        Segment(Range(border, RAM.end), fd, skew + border - RAM.start),
    ]
    model = bytearray(RAM.size_bytes)
    with pytest.MonkeyPatch.context() as patch, GuestMemory(segments) as memory:
        patch.setattr(guest, "_COPY_BYTES", chunk)
        os.close(fd)
        for place, patch_bytes in written:
            data = patch_bytes[: RAM.size_bytes - place]
            memory.write(RAM.start + place, data)
            model[place : place + len(data)] = data
        start, end = min(start, other), max(start, other)
        target = Range.sized(destination, end - start)
        if target.end <= RAM.size_bytes and not Range(start, end).overlaps(target):
            memory.copy(Range(RAM.start + start, RAM.start + end), RAM.start + destination)
            model[target.start : target.end] = model[start:end]
        assert memory.read(RAM.start, RAM.size_bytes) == model
        memory.discard(Range(RAM.start + start, RAM.start + end))
        model[start:end] = bytes(end - start)
        assert memory.read(RAM.start, RAM.size_bytes) == model
        outside = RangeSet([RAM]) - memory.populated(RAM)
        assert not any(any(memory.read(hole.start, hole.size_bytes)) for hole in outside)


def test_a_regular_file_serves_as_memory_from_any_offset(tmp_path):
    path = tmp_path / "ram"
    path.write_bytes(b"header" + b"\1" * PAGE + b"tail")
    with path.open("r+b") as file, GuestMemory([Segment(Range(0, PAGE), file.fileno(), 6)]) as memory:
        memory.write(PAGE - 2, b"xy")
        memory.discard(Range(0, 2))
        assert memory.read(0, 3) == b"\0\0\1"
    assert path.read_bytes() == b"header" + b"\0\0" + b"\1" * (PAGE - 4) + b"xy" + b"tail"


def test_memory_on_a_file_system_without_holes_is_copied_all_the_same(memory, monkeypatch):
    def no_holes(_fd, _position, _whence):
        raise OSError(guest.errno.EINVAL, "no holes here")

    monkeypatch.setattr(os, "lseek", no_holes)
    fill(memory, Range.sized(LOW.start + PAGE, 10), 3)
    fill(memory, HIGH, 9)
    assert memory.populated(LOW) == RangeSet([LOW])
    memory.copy(LOW, HIGH.start)
    assert memory.read(HIGH.start, HIGH.size_bytes) == memory.read(LOW.start, LOW.size_bytes)


def test_files_that_cannot_be_written_or_punched_are_copied_and_discarded_through_the_mapping(memory, monkeypatch):
    # hugetlbfs has no write(2), and its pages are larger than those of a hole.
    def refused(*_arguments):
        raise OSError(guest.errno.EINVAL, "not on huge pages")

    class HugePages(mmap.mmap):
        madvise = refused

    fill(memory, LOW, 4)
    fill(memory, HIGH, 9)
    monkeypatch.setattr(guest.os, "pwrite", refused)
    monkeypatch.setattr(guest.mmap, "mmap", HugePages)
    memory.copy(LOW, HIGH.start)
    assert memory.read(HIGH.start, HIGH.size_bytes) == b"\4" * HIGH.size_bytes
    monkeypatch.setattr(guest, "_COPY_BYTES", 1000)
    fd = sparse_memfd(4 * PAGE)
    with GuestMemory([Segment(Range(0, 4 * PAGE), fd, 0)]) as huge:
        os.close(fd)
        fill(huge, Range(0, 4 * PAGE), 1)
        huge.discard(Range(1, 4 * PAGE - 1))
        assert huge.read(0, 4 * PAGE) == b"\1" + bytes(4 * PAGE - 2) + b"\1"


def test_other_errors_of_the_host_are_not_swallowed(memory, monkeypatch):
    def fails(*_arguments):
        raise OSError(guest.errno.EIO, "the disk is broken")

    fill(memory, LOW, 4)
    monkeypatch.setattr(guest.os, "pwrite", fails)
    with pytest.raises(OSError, match="the disk is broken"):
        memory.copy(LOW, HIGH.start)
    monkeypatch.setattr(os, "lseek", fails)
    with pytest.raises(OSError, match="the disk is broken"):
        memory.populated(LOW)


def test_a_file_that_has_become_shorter_is_an_address_error_and_not_a_crash(memory, fds):
    os.ftruncate(fds[2], PAGE)
    assert memory.read(FAR.start, PAGE) == bytes(PAGE)
    with pytest.raises(AddressError):
        memory.read(FAR.start, 2 * PAGE)


def test_a_view_outlives_the_memory_it_came_from(memory):
    memory.write(LOW.start, b"still here")
    view = memory.view(Range.sized(LOW.start, 10))
    memory.close()
    memory.close()
    assert bytes(view) == b"still here"
    assert not memory.ram
    with pytest.raises(AddressError):
        memory.read(LOW.start, 1)


def test_closing_gives_back_every_descriptor_that_was_opened():
    before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208 - the descriptor of the listing itself counts both times
    fd = sparse_memfd(PAGE)
    with GuestMemory([Segment(Range(0, PAGE), fd, 0)]):
        os.close(fd)
    with pytest.raises(ValueError, match="overlap"):
        GuestMemory([Segment(Range(0, PAGE), 0, 0), Segment(Range(PAGE - 1, 2 * PAGE), 0, 0)])
    assert len(os.listdir("/proc/self/fd")) == before  # noqa: PTH208


@pytest.mark.parametrize(
    ("segments", "sentence"),
    [
        ([(Range(0, PAGE), 0), (Range(PAGE - 1, 2 * PAGE), 0)], "0x0.*overlap"),
        ([(Range(0, 0), 0)], "can't be mapped"),
        ([(Range(0, PAGE), -PAGE)], "can't be mapped"),
        ([(Range(0, PAGE), 0), (Range(PAGE, 2 * PAGE), 3 * PAGE + 1)], "needs .* bytes of its file"),
    ],
)
def test_segments_that_cannot_be_memory_are_refused_with_a_reason(segments, sentence):
    fd = sparse_memfd(4 * PAGE)
    try:
        with pytest.raises(ValueError, match=sentence):
            GuestMemory([Segment(range_, fd, offset) for range_, offset in segments])
    finally:
        os.close(fd)


def test_memory_can_be_plugged_and_unplugged(memory):
    place = Range.sized(FAR.end + 16 * PAGE, 2 * PAGE)
    fd = sparse_memfd(2 * PAGE)
    before = memory.ram
    memory.plug(Segment(place, fd, 0))
    os.close(fd)
    memory.write(place.start + 5, b"plugged")
    assert memory.ram == before | RangeSet([place]) and memory.read(place.start + 5, 7) == b"plugged"
    with pytest.raises(ValueError, match="there is memory"):
        memory.plug(Segment(place, fd, 0))
    memory.unplug(place)
    assert memory.ram == before
    with pytest.raises(AddressError):
        memory.read(place.start, 1)

"""The copy holds what the guest's files held, takes no more room than they did, and can't change."""

import errno
import hashlib
import mmap
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fadump.abi.registers import CpuRegisters
from fadump.errors import AddressError, SetupError
from fadump.memory.guest import Segment
from fadump.memory.ranges import Range, RangeSet
from fadump.proof import crash_image
from fadump.proof.crash_image import CrashImage

PAGE = mmap.PAGESIZE
MIB = 1 << 20
GIB = 1 << 30


@pytest.fixture(params=["memfd", "file"])
def new_file(request, tmp_path):
    """Makes sparse files of a size; they are closed at the end."""
    opened = []

    def new(size_bytes):
        path = tmp_path / f"memory-{len(opened)}"
        fd = os.memfd_create(path.name) if request.param == "memfd" else os.open(path, os.O_RDWR | os.O_CREAT)
        os.ftruncate(fd, size_bytes)
        opened.append(fd)
        return fd

    yield new
    for fd in opened:
        os.close(fd)


def test_memory_is_copied_and_holes_stay_holes(new_file):
    fd = new_file(GIB)
    data = hashlib.shake_128(b"guest").digest(3 * PAGE)
    os.pwrite(fd, data, 0)
    os.pwrite(fd, data, GIB // 2 + 5)
    os.pwrite(fd, b"end", GIB - 3)
    with CrashImage.take([Segment(Range.sized(0, GIB), fd, 0)], []) as image:
        assert image.ram == RangeSet([Range(0, GIB)])
        assert image.read(0, 3 * PAGE) == data
        assert image.read(GIB // 2, 3 * PAGE + 10) == bytes(5) + data + bytes(5)
        assert image.read(GIB - 4, 4) == b"\0end"
        assert image.read(PAGE * 1000, PAGE) == bytes(PAGE)
        assert 8 * PAGE <= image.stored_bytes <= os.fstat(fd).st_blocks * 512 + PAGE


def test_zeros_that_take_memory_in_the_guest_take_none_here(new_file):
    fd = new_file(4 * MIB)
    os.pwrite(fd, bytes(4 * MIB), 0)
    os.pwrite(fd, b"x", 3 * MIB - 1)
    with CrashImage.take([Segment(Range.sized(0, 4 * MIB), fd, 0)], []) as image:
        assert image.stored_bytes <= 0x10000
        assert image.read(0, 4 * MIB).strip(b"\0") == b"x"


def test_segments_of_several_files_stand_at_their_addresses(new_file):
    first, second = new_file(8 * PAGE), new_file(8 * PAGE)
    os.pwrite(first, b"node 0", 8 * PAGE - 6)
    os.pwrite(first, b"not guest memory", 0)
    os.pwrite(second, b"node 1", 0)
    os.pwrite(second, b"DIMM", 5 * PAGE)
    dimm = Range.sized(1 << 40, PAGE)
    segments = [
        Segment(dimm, second, 5 * PAGE),
        Segment(Range.sized(0, 7 * PAGE), first, PAGE),
        Segment(Range.sized(7 * PAGE, 5 * PAGE), second, 0),
    ]
    with CrashImage.take(segments, []) as image:
        assert image.ram == RangeSet([Range(0, 12 * PAGE), dimm])
        assert image.read(7 * PAGE - 6, 12) == b"node 0node 1"
        assert image.read(0, PAGE) == bytes(PAGE)
        assert image.read(dimm.start, 5) == b"DIMM\0"
        with pytest.raises(AddressError):
            image.read(12 * PAGE - 1, 2)


@given(
    writes=st.lists(st.tuples(st.integers(0, 20 * PAGE), st.binary(min_size=1, max_size=3 * PAGE)), max_size=5),
    offset=st.integers(0, 3 * PAGE),
    size_bytes=st.integers(0, 20 * PAGE),
    start=st.integers(0, 3 * PAGE),
)
def test_the_copy_equals_the_file(writes, offset, size_bytes, start):
    fd = os.memfd_create("memory")
    try:
        os.ftruncate(fd, 23 * PAGE)
        for at, data in writes:
            os.pwrite(fd, data, at)
        with CrashImage.take([Segment(Range.sized(start, size_bytes), fd, offset)], []) as image:
            assert image.read(start, size_bytes) == os.pread(fd, size_bytes, offset)
    finally:
        os.close(fd)


def test_what_happens_to_the_guest_afterwards_does_not_change_the_copy(new_file):
    fd = new_file(PAGE)
    os.pwrite(fd, b"before", 0)
    values = {"NIA": 1}
    with CrashImage.take([Segment(Range.sized(0, PAGE), fd, 0)], [CpuRegisters(3, values)]) as image:
        os.pwrite(fd, b"after!", 0)
        values["NIA"] = 2
        assert image.read(0, 6) == b"before"
        assert [(cpu.cpu_id, dict(cpu.values)) for cpu in image.cpus] == [(3, {"NIA": 1})]
        with pytest.raises(PermissionError):
            os.pwrite(image._fd, b"x", 0)


@pytest.mark.parametrize(("address", "length"), [(-1, 1), (0, -1), (PAGE, 1), (PAGE - 1, 2), (2**64, 1), (0, 2**64)])
def test_only_memory_can_be_read(new_file, address, length):
    with (
        CrashImage.take([Segment(Range.sized(0, PAGE), new_file(PAGE), 0)], []) as image,
        pytest.raises(AddressError),
    ):
        image.read(address, length)


def test_closing_gives_everything_back(new_file):
    image = CrashImage.take([Segment(Range.sized(0, PAGE), new_file(PAGE), 0)], [])
    fd = image._fd
    image.close()
    image.close()
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(fd)
    with pytest.raises(AddressError):
        image.read(0, 1)


def test_segments_that_overlap_or_end_behind_their_file_are_refused(new_file):
    fd = new_file(2 * PAGE)
    low = Segment(Range(0, 2 * PAGE), fd, 0)
    with pytest.raises(ValueError, match="overlap"):
        CrashImage.take([Segment(Range(PAGE, 2 * PAGE), fd, 0), low], [])
    with pytest.raises(ValueError, match="needs 0x3000 bytes of its file, which has 0x2000"):
        CrashImage.take([Segment(Range(0, 2 * PAGE), fd, PAGE)], [])


def test_a_host_without_room_is_told_apart(new_file, monkeypatch):
    fd = new_file(PAGE)
    os.pwrite(fd, b"data", 0)

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "pwrite", full)
    with pytest.raises(SetupError, match="no room for a copy of guest memory 0x0"):
        CrashImage.take([Segment(Range.sized(0, PAGE), fd, 0)], [])


def test_a_copy_whose_pages_are_still_held_is_sealed_once_they_are_let_go(monkeypatch):
    answers = []

    def held_at_first(fd, command, seals):
        read, write = os.pipe()
        if not answers:
            os.splice(fd, write, PAGE, offset_src=0)  # whose pages a pipe has, Linux finds busy
        try:
            return fcntl(fd, command, seals)
        except OSError as error:
            answers.append(error.errno)
            raise
        finally:
            os.close(read)
            os.close(write)

    fcntl = crash_image.fcntl.fcntl
    monkeypatch.setattr(crash_image.fcntl, "fcntl", held_at_first)
    fd = os.memfd_create("memory")
    os.truncate(fd, PAGE)
    os.write(fd, b"guest")
    try:
        with CrashImage.take([Segment(Range(0, PAGE), fd, 0)], []) as image:
            assert image.read(0, 5) == b"guest"
    finally:
        os.close(fd)
    assert answers == [errno.EBUSY]

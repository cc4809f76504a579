"""In which order a dump reaches the disk, and what is left when that fails."""

import errno
import os
from pathlib import Path

import pytest

from fadump.capture.dmesg import save_dmesg
from fadump.capture.files import HostFiles
from fadump.capture.options import Format, SaveOptions
from fadump.capture.packers import Compression
from fadump.capture.target import SaveError
from fadump.errors import SetupError
from fadump.linux.pages.page_class import DumpLevel
from fadump.linux.system import CrashedSystem
from fadump.vmcore.check import check_dump
from fadump.vmcore.dump import open_dump
from tests.capture.contents import differing_pages
from tests.capture.saving import save_file, save_stream
from tests.capture.test_save import kernel_core
from tests.vmcore.core_builder import Load
from tests.vmcore.dump_helpers import open_bytes

INCOMPLETE, STATUS_AT = 8, 424


class RecordedFiles(HostFiles):
    """The host's files, and what was asked of them, but for the log's."""

    def __init__(self):
        self.calls = []
        self.dump = -1

    def open(self, path, flags, mode):
        fd = super().open(path, flags, mode)
        if path.name == "out.incomplete":
            self.dump = fd
        return fd

    def pwrite(self, fd, data, offset):
        if fd == self.dump:
            self.calls.append(("write", offset, bytes(data)))
        return super().pwrite(fd, data, offset)

    def fsync(self, fd):
        if fd == self.dump:
            self.calls.append(("fsync",))
        super().fsync(fd)

    def rename(self, source, destination):
        self.calls.append(("rename", source.name, destination.name))
        super().rename(source, destination)

    def fsync_directory(self, path):
        self.calls.append(("fsync_directory",))
        super().fsync_directory(path)


class SmallDisk(HostFiles):
    """A disk that takes so many bytes, and a little at a time."""

    def __init__(self, room_bytes, code=errno.ENOSPC):
        self.room_bytes = room_bytes
        self.code = code
        self.size_bytes = 0
        self.calls = 0

    def allocate(self, fd, offset, length):
        self._take(offset + length)
        super().allocate(fd, offset, length)

    def pwrite(self, fd, data, offset):
        self.calls += 1
        if self.calls % 3 == 0:
            raise InterruptedError(errno.EINTR, os.strerror(errno.EINTR))
        data = data[: 1 << 18]
        self._take(offset + len(data))
        return super().pwrite(fd, data, offset)

    def truncate(self, fd, length):
        self.size_bytes = min(self.size_bytes, length)
        super().truncate(fd, length)

    def _take(self, end):
        if end > self.room_bytes:
            raise OSError(self.code, os.strerror(self.code))
        self.size_bytes = max(self.size_bytes, end)


def test_what_is_written_before_a_barrier_is_never_needed_by_what_came_before_it(vmcore, tmp_path):
    files = RecordedFiles()
    with open_dump(vmcore) as source:
        save_file(source, tmp_path / "out", SaveOptions(), files=files)
    calls = files.calls[files.calls.index(("fsync_directory",)) + 1 :]  # the log's name
    writes = [call for call in calls if call[0] == "write"]
    assert writes[0][1] == 0 and writes[0][2][STATUS_AT] & INCOMPLETE
    assert calls[-4:] == [calls[-4], ("fsync",), ("rename", "out.incomplete", "out"), ("fsync_directory",)]
    assert calls[-4][1] == 0 and not calls[-4][2][STATUS_AT] & INCOMPLETE
    assert all(call[1] != 0 for call in writes[1:-1])
    with open_dump(tmp_path / "out") as dump:
        (file,) = dump.files
    descriptors = range(file.header.descriptors_offset, file.data_offset)
    at = [number for number, call in enumerate(calls) if call[0] == "write" and call[1] in descriptors]
    assert at
    for number in at:
        assert calls[number - 1] == ("fsync",)
        assert all(call[1] >= file.data_offset for call in calls[number + 1 : -4] if call[0] == "write")
    assert calls[-5] == ("fsync",)


def test_short_and_interrupted_writes_are_gone_on_with(vmcore, tmp_path):
    with open_dump(vmcore) as source:
        save_file(source, tmp_path / "out", SaveOptions(), files=SmallDisk(1 << 40))
        with open_dump(tmp_path / "out") as dump:
            assert check_dump(dump).whole and differing_pages(dump, source) == []


def test_a_full_disk_leaves_the_pages_so_far_and_says_so(vmcore, tmp_path):
    with open_dump(vmcore) as source:
        with pytest.raises(SaveError, match="No space left on device") as caught:
            save_file(source, tmp_path / "out", SaveOptions(), files=SmallDisk(6 << 20))
        assert "--continue" in str(caught.value)
        assert not (tmp_path / "out").exists()
        with open_dump(tmp_path / "out.incomplete") as dump:
            assert any("incomplete" in str(found) for found in dump.damage)
            assert dump.readable.size_bytes > 4 << 20
            assert differing_pages(dump, source) == []


def test_where_nothing_could_be_begun_nothing_is_left(vmcore, tmp_path):
    """Neither by a library that is missing nor by the last one of many files."""

    class FewFiles(HostFiles):
        def open(self, path, flags, mode):
            if path.name == "out.3.incomplete":
                raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
            return super().open(path, flags, mode)

    with open_dump(vmcore) as dump, pytest.raises(SetupError, match="Too many open files"):
        save_file(dump, tmp_path / "out", SaveOptions(split=3), files=FewFiles())
    assert list(tmp_path.iterdir()) == []


def test_of_a_stream_that_breaks_off_nearly_all_that_came_can_be_read(vmcore, tmp_path):
    path = tmp_path / "flat"
    with open_dump(vmcore) as source, path.open("wb") as file:
        save_stream(source, file.fileno(), SaveOptions(compression=Compression.NONE))
        came = path.stat().st_size // 2
        os.truncate(path, came)
        with open_dump(path) as dump:
            assert not check_dump(dump).whole
            assert differing_pages(dump, source) == []
            assert dump.readable.size_bytes >= came - (6 << 20)


def test_a_disk_that_takes_nothing_is_told_so(vmcore, tmp_path):
    with open_dump(vmcore) as dump, pytest.raises(SaveError, match="nothing is written: make room and try again"):
        save_file(dump, tmp_path / "out", SaveOptions(), files=SmallDisk(0))
    assert list(tmp_path.iterdir()) == []  # nor anything of the log


class RoomForTheLog(HostFiles):
    """A disk with room for a small file."""

    def allocate(self, fd, offset, length):
        if "dmesg" not in Path(f"/proc/self/fd/{fd}").readlink().name:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        super().allocate(fd, offset, length)


def test_where_nothing_of_a_dump_is_written_no_log_is_left(vmcore, tmp_path):
    with open_dump(vmcore) as dump, pytest.raises(SaveError, match="nothing is written: make room and try again"):
        save_file(dump, tmp_path / "out", SaveOptions(format=Format.ELF), files=RoomForTheLog())
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("broken", ["rename", "fsync_directory"])
def test_a_dump_that_is_whole_is_not_called_incomplete(vmcore, tmp_path, monkeypatch, broken):
    files = HostFiles()
    with open_dump(vmcore) as dump:
        save_dmesg(CrashedSystem(dump), tmp_path / "out-dmesg.txt", files)
        monkeypatch.setattr("fadump.capture.save.save_dmesg", lambda *_arguments: None)

        def fail(*_arguments):
            raise OSError(errno.EIO, os.strerror(errno.EIO))

        monkeypatch.setattr(files, broken, fail)
        with pytest.raises(SaveError, match="is whole, but"):
            save_file(dump, tmp_path / "out", SaveOptions(), files=files)
    (left,) = (path for path in tmp_path.iterdir() if "dmesg" not in path.name)
    with open_dump(left) as dump:
        assert check_dump(dump).whole


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG])
def test_a_full_disk_is_tried_again_at_the_next_level(vmcore, tmp_path, code):
    levels = (DumpLevel(1), DumpLevel(31))
    with open_dump(vmcore) as source:
        saved = save_file(source, tmp_path / "out", SaveOptions(levels=levels), files=SmallDisk(6 << 20, code=code))
        assert saved.level == DumpLevel(31) and any("no room" in remark for remark in saved.remarks)
        with open_dump(tmp_path / "out") as dump:
            assert check_dump(dump).whole and differing_pages(dump, source) == []
            assert dump.header.dump_level == 31


def test_descriptors_of_zeros_do_not_pile_up(tmp_path, monkeypatch):
    """A sparse machine has next to no data to write, and as many descriptors as any."""
    monkeypatch.setattr("fadump.capture.kdump_writer.CHECKPOINT_BYTES", 1 << 20)
    files = RecordedFiles()
    with open_bytes(kernel_core([Load(0, bytes(16 << 20))])) as source:
        save_file(source, tmp_path / "out", SaveOptions(), files=files)
    assert sum(call == ("fsync",) for call in files.calls) > 4


class CountedFiles(HostFiles):
    """The host's files, and which bytes of the dump were allocated and sent to the disk early."""

    def __init__(self):
        self.allocated = []
        self.written_out = []

    def allocate(self, fd, offset, length):
        self.allocated.append((offset, length))
        super().allocate(fd, offset, length)

    def write_out(self, fd, offset, length):
        self.written_out.append((offset, length))
        super().write_out(fd, offset, length)


@pytest.mark.parametrize("format_", list(Format))
def test_what_is_written_goes_to_the_disk_as_it_comes(vmcore, tmp_path, monkeypatch, format_):
    piece = 1 << 20
    monkeypatch.setattr("fadump.capture.target._WRITE_OUT_BYTES", piece)
    files = CountedFiles()
    with open_dump(vmcore) as dump:
        options = SaveOptions(levels=(DumpLevel(0),), format=format_, compression=Compression.NONE)
        saved = save_file(dump, tmp_path / "out", options, files=files)
    size_bytes = saved.files[0].stat().st_size
    ends = [0, *(offset + length for offset, length in files.written_out)]
    assert ends == sorted(ends) and size_bytes - ends[-1] < 2 * piece
    assert all(offset <= before for (offset, _length), before in zip(files.written_out, ends[:-1], strict=True))


def test_the_headers_of_an_elf_file_have_disk_space_before_anything_is_written(vmcore, tmp_path):
    files = CountedFiles()
    with open_dump(vmcore) as dump:
        save_file(dump, tmp_path / "out", SaveOptions(levels=(DumpLevel(0),), format=Format.ELF), files=files)
    offset, length = files.allocated[0]
    assert offset == 0 and length >= 4096

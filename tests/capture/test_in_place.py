"""A dump that is saved in its own place is there at any time, as it was or saved."""

from contextlib import suppress

import pytest

from fadump.capture.in_place import save_in_place
from fadump.capture.options import Format, SaveOptions
from fadump.capture.target import SaveError
from fadump.errors import FadumpError
from fadump.linux.pages.page_class import DumpLevel
from fadump.vmcore.contract import Kind
from fadump.vmcore.dump import open_dump
from tests.capture.disk import HARMLESS, Disk, Fault, KilledError, chooser
from tests.capture.judge import Source, in_many_records, read_back
from tests.capture.saving import save_file

CUTS = 3
"""How often power is cut at one operation, each time with something else forgotten."""


@pytest.fixture(scope="module")
def source():
    return Source()


@pytest.fixture(autouse=True)
def many_records(monkeypatch):
    in_many_records(monkeypatch)


def disk_with_vmcore(directory, source):
    directory.mkdir()
    disk = Disk(directory)
    save_file(source.dump, directory / "vmcore", SaveOptions(format=Format.ELF), files=disk)
    disk.plan()
    return disk


def save(disk):
    return save_in_place(disk.directory / "vmcore", SaveOptions(levels=(DumpLevel.ZERO,)), files=disk)


def kind_of_whole(path, source):
    """The format of a dump that is whole, and has the source's bytes."""
    _pages, _states, report = read_back(path, source)
    assert report.whole, report.findings
    with open_dump(path) as dump:
        return dump.kind


def test_the_saved_one_and_its_log_are_all_that_is_left(tmp_path, source):
    disk = disk_with_vmcore(tmp_path / "disk", source)
    (disk.directory / "vmcore.saved.incomplete").write_bytes(b"an earlier try")
    saved = save(disk)
    assert (saved.files, saved.dmesg) == ((disk.directory / "vmcore",), disk.directory / "vmcore-dmesg.txt")
    assert sorted(path.name for path in disk.directory.iterdir()) == ["vmcore", "vmcore-dmesg.txt"]
    assert saved.dmesg.read_text() == source.log
    disk.lose_power(lambda _most: 0)
    assert kind_of_whole(disk.directory / "vmcore", source) is Kind.KDUMP


@pytest.mark.parametrize("fault", [fault for fault in Fault if fault not in HARMLESS])
def test_a_fault_at_each_operation_loses_nothing(tmp_path, source, fault):
    at, done = 0, False
    while not done:
        disk = disk_with_vmcore(tmp_path / f"{at}", source)
        disk.plan((fault, at))
        with suppress(KilledError, FadumpError, OSError):
            save(disk)
            done = not disk.struck
        for cut in range(CUTS):
            if cut:
                disk.lose_power(chooser(at, cut))
            kind = kind_of_whole(disk.directory / "vmcore", source)
            assert kind is Kind.KDUMP or not done
        at += 1
    assert at > 30


@pytest.mark.parametrize("last", [1, 2, 3], ids=["fsync_directory", "rename", "rename of the log"])
def test_a_name_that_cannot_be_given_is_told_in_a_sentence(tmp_path, source, last):
    disk = disk_with_vmcore(tmp_path / "undisturbed", source)
    save(disk)
    count = len(disk.operations)
    disk = disk_with_vmcore(tmp_path / "disk", source)
    disk.plan((Fault.IO_ERROR, count - last))
    with pytest.raises(SaveError, match=r"vmcore is whole, as it was or saved: .*: Input/output error"):
        save(disk)
    assert kind_of_whole(disk.directory / "vmcore", source)


@pytest.mark.parametrize("operation", ["open", "pwrite"])
def test_a_full_disk_is_told_with_what_is_there(tmp_path, source, operation):
    disk = disk_with_vmcore(tmp_path / "undisturbed", source)
    save(disk)
    names = [words.split()[0] for words in disk.operations]
    log_ends = names.index("rename")  # it is written first, and may fail
    at = names.index(operation, log_ends if operation == "pwrite" else 0)
    disk = disk_with_vmcore(tmp_path / "disk", source)
    disk.plan((Fault.NO_SPACE, at))
    with pytest.raises(SaveError, match=r"vmcore is whole and stays as it was: .*: No space left on device$"):
        save(disk)
    assert sorted(path.name for path in disk.directory.iterdir()) == ["vmcore", "vmcore-dmesg.txt"]

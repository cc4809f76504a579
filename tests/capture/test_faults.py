"""Every fault at every operation of a save, one after the other: nothing lost, nothing invented."""

import os

import pytest

from fadump.capture import original as original_module
from fadump.capture.options import Format, SaveOptions
from fadump.capture.packers import Compression
from fadump.capture.selection import select_pages
from fadump.capture.target import FileTarget
from fadump.errors import FadumpError
from fadump.linux.pages.page_class import DumpLevel
from tests.capture.disk import DEADLY, HARMLESS, Disk, Fault, KilledError, chooser
from tests.capture.judge import Source, in_many_records, judge, read_back
from tests.capture.saving import save_file, save_stream

FORMS = pytest.mark.parametrize(
    "form", [{}, {"compression": Compression.NONE}, {"format": Format.ELF}], ids=["zlib", "plain", "elf"]
)
NAME = "out"
LOG_OPERATIONS = 8
"""With which a save begins."""
CUTS = 6
"""How often power is cut at one operation, each time with something else forgotten."""


@pytest.fixture(scope="module")
def source():
    return Source()


@pytest.fixture(autouse=True)
def many_records(monkeypatch):
    in_many_records(monkeypatch)


def save(source, disk, **options):
    return save_file(source.dump, disk.directory / NAME, SaveOptions(**options), files=disk)


def undisturbed(source, directory, **options):
    """The operations of a save that nothing disturbs, and the states of its pages."""
    directory.mkdir()
    disk = Disk(directory)
    save(source, disk, **options)
    disk.check_modes()
    _pages, states, report = read_back(directory / NAME, source)
    assert report.whole and len(disk.operations) > 20
    return disk.operations, states


def attempt(source, disk, **options):
    """Save on a disk that fails; whether it said that all is well."""
    try:
        save(source, disk, **options)
    except (KilledError, FadumpError):
        return False
    return True


@FORMS
@pytest.mark.parametrize("fault", Fault)
def test_one_fault_at_each_operation(tmp_path, source, fault, form):
    operations, states = undisturbed(source, tmp_path / "good", **form)
    struck = 0
    for at in range(len(operations)):
        directory = tmp_path / f"{at}"
        directory.mkdir()
        disk = Disk(directory, (fault, at))
        done = attempt(source, disk, **form)
        struck += disk.struck
        disk.check_modes()
        there = judge(directory, [NAME], source, states)
        assert there or not done
        if fault in HARMLESS:
            assert done
    assert struck > 10


@FORMS
def test_power_is_cut_at_each_operation(tmp_path, source, form):
    operations, states = undisturbed(source, tmp_path / "good", **form)
    for at in range(len(operations) + 1):
        for cut in range(CUTS):
            directory = tmp_path / f"{at}-{cut}"
            directory.mkdir()
            disk = Disk(directory, (sorted(DEADLY)[cut % 2], at))
            done = attempt(source, disk, **form)
            assert done == (at == len(operations))
            disk.lose_power(chooser(at, cut))
            assert judge(directory, [NAME], source, states) or not done


@FORMS
@pytest.mark.parametrize("fault", [Fault.NO_SPACE_ONCE, Fault.IO_ERROR_ONCE])
def test_what_the_disk_never_got_is_not_gone_on_with(tmp_path, source, fault, form):
    """After a failed fsync(2) memory still has what was lost."""
    operations, states = undisturbed(source, tmp_path / "good", **form)
    for at in range(len(operations)):
        directory = tmp_path / f"{at}"
        directory.mkdir()
        disk = Disk(directory, (fault, at))
        if not attempt(source, disk, **form):
            continued = (directory / f"{NAME}.incomplete").exists()
            disk.plan()
            if not (directory / NAME).exists():
                assert attempt(source, disk, continued=continued, **form)
        disk.lose_power(lambda most: most - 1)  # it keeps what it can
        assert judge(directory, [NAME], source, states)


@FORMS
def test_what_the_disk_never_got_is_not_spoken_of_before_power_is_cut(tmp_path, source, form):
    """The first fsync(2) after one that failed says that all is well."""
    operations, states = undisturbed(source, tmp_path / "good", **form)
    for at in range(len(operations)):
        directory = tmp_path / f"{at}"
        directory.mkdir()
        disk = Disk(directory, (Fault.IO_ERROR_ONCE, at))
        done = attempt(source, disk, **form)
        disk.lose_power(lambda most: most - 1)
        assert judge(directory, [NAME], source, states) or not done


def test_power_is_cut_while_the_next_level_is_tried(tmp_path, source, monkeypatch):
    """The next level's bitmap must never be read with the descriptors of the one before."""
    monkeypatch.setattr(original_module, "select_pages", every_third_page_out)
    levels = (DumpLevel(0), DumpLevel(31))
    operations, states = undisturbed(source, tmp_path / "good", levels=levels[1:], compression=Compression.NONE)
    full_at = len(operations) - 8
    first, second = operations[:full_at], operations[LOG_OPERATIONS:]
    for at in range(full_at, len(first) + len(second)):
        for cut in range(CUTS):
            directory = tmp_path / f"{at}-{cut}"
            directory.mkdir()
            disk = Disk(directory, (Fault.NO_SPACE, full_at), (Fault.KILLED_WITHIN, at))
            done = attempt(source, disk, levels=levels, compression=Compression.NONE)
            disk.lose_power(chooser(at, cut))
            assert judge(directory, [NAME], source, states) or not done


def test_headers_of_an_elf_core_are_torn_where_it_hurts_most(tmp_path, monkeypatch):
    """Sectors end within program headers: of the 53rd between the sizes in the file and in memory."""
    source = Source(low_pages=136)

    def many_segments(dump, known, level):
        selection = select_pages(dump, known, level)
        for number in range(1, 104, 2):
            selection.wanted.fill(number, number + 1, value=False)
        return selection

    monkeypatch.setattr(original_module, "select_pages", many_segments)
    operations, states = undisturbed(source, tmp_path / "good", format=Format.ELF)
    for at in range(len(operations) // 2, len(operations) - 10):
        for cut in range(2 * CUTS):
            directory = tmp_path / f"{at}-{cut}"
            directory.mkdir()
            disk = Disk(directory, (Fault.KILLED, at))
            attempt(source, disk, format=Format.ELF)
            disk.lose_power(chooser(at, cut))
            judge(directory, [NAME], source, states)


@pytest.mark.parametrize("fault", Fault)
def test_one_fault_at_each_operation_of_a_stream(tmp_path, source, fault):
    _operations, states = undisturbed(source, tmp_path / "good")
    for at in range(1, 40):
        path = tmp_path / f"{at}"
        path.mkdir()
        disk = Disk(path, (fault, at))
        fd = disk.open(path / NAME, os.O_WRONLY | os.O_CREAT, 0o600)
        try:
            save_stream(source.dump, fd, SaveOptions(), files=disk)
        except (KilledError, FadumpError):
            assert disk.struck and fault not in HARMLESS
            judge(path, [], source, states)
        else:
            judge(path, [NAME], source, states)
        disk.revive()


@pytest.mark.parametrize("there", [f"{NAME}-dmesg.txt", f"{NAME}-dmesg.txt.incomplete"])
def test_the_log_is_a_file_of_ours_whatever_was_there(tmp_path, source, there):
    log = tmp_path / f"{NAME}-dmesg.txt"
    others = tmp_path / "others"
    others.write_text("kept")
    others.chmod(0o644)
    (tmp_path / there).symlink_to(others)
    save(source, Disk(tmp_path))
    assert (log.is_symlink(), log.stat().st_mode & 0o777, log.read_text()) == (False, 0o600, source.log)
    assert others.read_text() == "kept"


def every_third_page_out(dump, known, level):
    """Stands for page classes, which the small dump doesn't have."""
    selection = select_pages(dump, known, level)
    if level:
        for number in range(0, selection.pages, 3):
            selection.wanted.fill(number, number + 1, value=False)
    return selection


def test_a_writer_without_barriers_is_found_out(tmp_path, source, monkeypatch):
    """The disk forgets enough, and the judge looks closely enough."""
    monkeypatch.setattr(FileTarget, "barrier", lambda _self: None)
    operations, states = undisturbed(source, tmp_path / "good", compression=Compression.NONE)
    found_out = 0
    for seed in range(20):
        directory = tmp_path / f"{seed}"
        directory.mkdir()
        disk = Disk(directory, (Fault.KILLED, len(operations) - 2))
        attempt(source, disk, compression=Compression.NONE)
        disk.lose_power(chooser(seed))
        try:
            judge(directory, [NAME], source, states)
        except AssertionError:
            found_out += 1
    assert found_out > 5

"""A capture of a dump that another service has saved: proven where it lies, and saved anew only if it isn't whole."""

import shutil
from dataclasses import replace

import pytest

from fadump.capture.destination import Destination
from fadump.capture.options import SaveOptions
from fadump.capture.save import save_dump
from fadump.linux.pages.page_class import DumpLevel
from fadump.linux.system import open_system
from fadump.service.capture import capture
from fadump.service.config import Config, KeepSettings, Priority, SaveSettings
from fadump.service.dumps import find_dumps
from fadump.service.result import Result
from fadump.service.targets.directory import DirectorySettings

FAST = SaveSettings(priority=Priority.NORMAL)
KDUMP_TOOLS = "202611291605/vmcore.202611291605"
KDUMP_UTILS = "127.0.0.1-2026-11-29-16:05:34/vmcore"


@pytest.fixture
def crash_directory(tmp_path):
    path = tmp_path / "crash"
    path.mkdir()
    return path


@pytest.fixture
def settings(crash_directory):
    return Config(save=FAST, targets=(DirectorySettings(crash_directory),))


@pytest.fixture
def saved(machine, crash_directory):
    """Saves the dump in another service's place, under its name."""

    def save(name, level=31):
        path = crash_directory / name
        path.parent.mkdir(parents=True)
        (path.parent / "dmesg.202611291605").touch()
        options = SaveOptions(levels=[DumpLevel(level)])
        with open_system(machine.path("/proc/vmcore")) as system:
            save_dump(system, Destination.take(path, options), options)
        for more in path.parent.glob("*-dmesg.txt"):
            more.unlink()
        return path

    return save


@pytest.mark.parametrize("name", [KDUMP_TOOLS, KDUMP_UTILS, "2026-11-29-16-05/vmcore"])
def test_it_is_proven_and_released_and_not_saved_once_more(machine, root, settings, crash_directory, saved, name):
    dump = saved(name)
    captured = capture(root, settings, saved_in=crash_directory)
    assert (captured.result, captured.error, captured.where) == (Result.SAVED, None, str(dump))
    assert (captured.already, captured.released, captured.registered) == (True, True, True)
    assert captured.proof == "every page"
    assert not machine.path("/proc/vmcore").exists()
    assert [path.name for path in crash_directory.iterdir()] == [dump.parent.name]


def test_a_mere_copy_is_proven_too(machine, root, settings, crash_directory):
    copy = crash_directory / "vmcore"
    shutil.copyfile(machine.path("/proc/vmcore"), copy)
    captured = capture(root, settings, saved_in=crash_directory)
    assert (captured.result, captured.where, captured.already) == (Result.SAVED, str(copy), True)
    assert [path.name for path in crash_directory.iterdir()] == ["vmcore"]


def test_one_that_was_proven_says_so_and_is_still_their_own(root, settings, crash_directory, saved):
    saved(KDUMP_TOOLS)
    capture(root, settings, saved_in=crash_directory)
    (found,) = find_dumps(crash_directory)
    assert (found.made_by, found.whole, found.proven) == ("kdump-tools", True, True)


def test_the_dump_of_another_crash_is_none(machine, root, settings, crash_directory, saved):
    saved(KDUMP_UTILS)
    capture(root, settings, saved_in=crash_directory)
    machine.crash()
    captured = capture(root, settings, saved_in=crash_directory)
    (attempt,) = captured.attempts
    assert (attempt.target, attempt.error) == (str(crash_directory), "it has no dump of this crash")
    assert (captured.already, captured.released) == (False, True)
    assert captured.where == f"{crash_directory}/{captured.crash.name(0)}/vmcore"


def test_one_that_is_not_whole_is_saved_anew(root, settings, crash_directory, saved):
    dump = saved(KDUMP_UTILS)
    with dump.open("r+b") as file:
        file.truncate(dump.stat().st_size - (1 << 20))
    captured = capture(root, settings, saved_in=crash_directory)
    (attempt,) = captured.attempts
    assert attempt.error.startswith(f"{dump} is not whole: ")
    assert (captured.result, captured.already, captured.released) == (Result.SAVED, False, True)
    assert captured.where != str(dump) and dump.exists()


def test_one_that_was_not_finished_is_saved_anew(root, settings, crash_directory, saved):
    saved("202611291605/dump-incomplete")
    captured = capture(root, settings, saved_in=crash_directory)
    assert captured.attempts[0].error == f"{crash_directory}/202611291605/dump-incomplete was not finished"
    assert (captured.result, captured.already, captured.released) == (Result.SAVED, False, True)


def test_a_directory_that_is_not_there_keeps_nobody_from_saving(root, settings, tmp_path):
    captured = capture(root, settings, saved_in=tmp_path / "nowhere")
    assert (captured.result, captured.attempts[0].error) == (Result.SAVED, "it is no directory")


def test_older_ones_are_removed_as_keep_says_once_they_were_proven(machine, root, settings, crash_directory, saved):
    keeping = replace(settings, keep=KeepSettings(dumps=1))
    never_proven = saved("202611291500/vmcore.202611291500")
    capture(root, keeping, saved_in=crash_directory / "nowhere")
    machine.crash()
    proven = saved(KDUMP_TOOLS)
    capture(root, keeping, saved_in=crash_directory)
    machine.crash()
    newest = saved("202611291606/vmcore.202611291606")
    assert capture(root, keeping, saved_in=crash_directory).removed == [str(proven.parent)]
    assert never_proven.exists() and newest.exists() and not proven.exists()


def test_a_record_that_cannot_be_written_is_no_reason_to_save_once_more(root, settings, crash_directory, saved):
    dump = saved(KDUMP_UTILS)
    (dump.parent / "fadump.json").mkdir()
    captured = capture(root, settings, saved_in=crash_directory)
    assert (captured.where, captured.already, captured.released) == (str(dump), True, True)

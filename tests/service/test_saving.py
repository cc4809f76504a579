"""Several targets: a dump is at one of them, whole, and nothing of it anywhere else, however attempts before ended."""

import json
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from fadump.service.capture import capture
from fadump.service.config import Config, Priority, SaveSettings
from fadump.service.result import Result
from fadump.service.targets.directory import DirectorySettings
from fadump.vmcore.check import check_dump
from fadump.vmcore.dump import open_dump
from tests.real_linux.fadump_command import COMMAND
from tests.service.spoiling import Spoiling, spoil
from tests.small_disk import run_on_a_small_disk

FAST = SaveSettings(priority=Priority.NORMAL)


@pytest.fixture
def first(tmp_path):
    return DirectorySettings(tmp_path / "first")


@pytest.fixture
def second(tmp_path):
    return DirectorySettings(tmp_path / "second")


@pytest.fixture
def by_hand(root, vmcore, tmp_path):
    """Has a dump saved, of which nothing is released."""

    def save(*targets):
        return capture(replace(root, proc=tmp_path), Config(save=FAST, targets=targets), vmcore)

    return save


def files(target):
    """What is in a target's directories."""
    return sorted(path.name for path in target.path.glob("*/*"))


WHOLE = ["fadump.json", "vmcore", "vmcore-dmesg.txt"]


def test_a_dump_that_lies_at_the_second_target_is_found_there_and_released(machine, root, first, second, tmp_path):
    """As after a power cut before the release, in a boot in which the first one works again."""
    targets = Config(save=FAST, targets=(first, second))
    before = capture(replace(root, proc=tmp_path), replace(targets, targets=(second,)), machine.path("/proc/vmcore"))
    captured = capture(root, targets)
    assert (captured.result, captured.where, captured.already) == (Result.SAVED, before.where, True)
    assert captured.released and captured.registered and not captured.attempts and not captured.remarks
    assert (files(first), files(second)) == ([], WHOLE)


def test_one_that_lies_there_damaged_is_replaced_by_a_whole_one_at_the_first(by_hand, first, second):
    spoil(Path(by_hand(second).where))
    captured = by_hand(first, second)
    assert (captured.target, captured.already) == (str(first.path), False)
    assert (files(first), files(second)) == (WHOLE, []) and len(captured.removed) == 1


def test_what_the_first_target_has_not_kept_is_no_longer_there(by_hand, tmp_path, second):
    bad = Spoiling(tmp_path / "bad")
    captured = by_hand(bad, second)
    (attempt,) = captured.attempts
    assert attempt.target == str(bad.path) and "not what was written" in attempt.error
    assert (captured.target, files(bad), files(second)) == (str(second.path), [], WHOLE)
    assert captured.removed == [f"{bad.path}/{Path(captured.where).parent.name}"] and not captured.remarks
    assert f"removed: {captured.removed[0]}" in captured.text()


def test_what_is_not_whole_does_not_look_it_where_nobody_else_has_taken_the_dump(by_hand, tmp_path):
    bad = Spoiling(tmp_path / "bad")
    assert by_hand(bad).result is Result.FAILED
    assert files(bad) == ["fadump.json", "vmcore-dmesg.txt", "vmcore.incomplete"]


def test_a_part_with_somebodys_own_file_beside_it_is_named(by_hand, tmp_path, second):
    bad = Spoiling(tmp_path / "bad")
    by_hand(bad)
    (directory,) = bad.path.iterdir()
    (directory / "notes").touch()
    captured = by_hand(second, bad)
    assert captured.remarks == [f"{directory} stays, as notes in it is none of ours"] and not captured.removed
    assert "notes" in files(bad) and "vmcore" not in files(bad)


def test_a_target_that_was_not_needed_and_cannot_be_used_is_a_remark(by_hand, first, tmp_path):
    (tmp_path / "file").touch()
    captured = by_hand(first, DirectorySettings(tmp_path / "file"))
    assert (captured.result, captured.attempts) == (Result.SAVED, [])
    assert captured.remarks[0].startswith(f"{tmp_path}/file was not needed, and can't be used: {tmp_path}/file is no ")


def test_each_target_that_has_not_taken_it_is_named_in_their_order(by_hand, tmp_path):
    (tmp_path / "file").touch()
    captured = by_hand(Spoiling(tmp_path / "bad"), DirectorySettings(tmp_path / "file"))
    assert [attempt.target for attempt in captured.attempts] == [str(tmp_path / "bad"), str(tmp_path / "file")]
    assert captured.error.count(f"{tmp_path}/file") == 1


def test_a_full_disk_has_its_room_again_once_another_one_has_the_dump(vmcore, tmp_path, second):
    (tmp_path / "disk").mkdir()
    (tmp_path / "config").write_text(
        "".join(f'[[target]]\ntype = "directory"\npath = "{path}"\n' for path in (tmp_path / "disk", second.path))
    )
    words = ["capture", "--config", str(tmp_path / "config"), "--vmcore", str(vmcore)]
    status, told, left = run_on_a_small_disk(tmp_path / "disk", "size=2m", *words)
    assert (status, told["result"], left) == (0, "saved", {})
    assert "No space left on device" in told["attempts"][0]["error"]
    with open_dump(told["where"]) as dump:
        assert check_dump(dump).whole


IN_MEMORY = """
mount -t tmpfs tmpfs "$1"
echo c >/proc/sysrq-trigger
shift
"$@"
"""


def test_memory_that_a_reboot_clears_is_no_target_for_what_is_released_then(tmp_path, second):
    (tmp_path / "memory").mkdir()
    (tmp_path / "config").write_text(
        "".join(f'[[target]]\ntype = "directory"\npath = "{path}"\n' for path in (tmp_path / "memory", second.path))
    )
    capturing = [*COMMAND, "capture", "--config", tmp_path / "config", "--json"]
    command = [*COMMAND, "shell", "--memory", "1G", "--", "sh", "-c", IN_MEMORY, "sh", tmp_path / "memory", *capturing]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    told = json.loads(done.stdout)
    assert told["attempts"] == [
        {"target": str(tmp_path / "memory"), "error": IT_IS_MEMORY},
    ]
    assert (told["target"], told["released"]) == (str(second.path), True)


IT_IS_MEMORY = "it is tmpfs, memory that the next reboot clears: name a place on a disk"


def test_what_a_large_file_of_zeros_takes_is_said(by_hand, first, tmp_path, monkeypatch):
    """Of much memory; to a directory and to a stream."""
    monkeypatch.setattr("fadump.capture.formats.MUCH_BYTES", 1 << 10)
    (tmp_path / "raw").write_bytes(bytes(64 << 20))
    (said,) = by_hand(first).remarks
    assert "pages are known to be zeros, and a kdump-compressed file takes" in said
    assert said.endswith(" to say so: an ELF core (format elf) takes nothing")

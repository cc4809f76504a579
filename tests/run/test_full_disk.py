"""Runs on a disk that is full, or gets full."""

import pytest

from tests.small_disk import run_on_a_small_disk

RUN = ("run", "--memory", "1G", "--out", "new/out")
LOGS = {"new/out/console.log", "new/out/firmware.log", "new/out/timeline.json"}


@pytest.mark.parametrize("inodes", range(1, 6))
def test_a_disk_that_is_full_before_power_on_is_a_failure_and_stays_as_it_was(tmp_path, inodes):
    status, told, left = run_on_a_small_disk(tmp_path, f"size=64m,nr_inodes={inodes}", *RUN)
    assert (status, told["phase"], left) == (1, "power_on", {})
    assert told["error"].startswith("can't ") and "No space left on device" in told["error"]


def test_a_disk_that_gets_full_is_told_with_the_file(tmp_path):
    status, told, _left = run_on_a_small_disk(tmp_path, "size=64m,nr_inodes=6", *RUN)
    assert (status, told["phase"]) == (1, "registered")
    full = "the disk of new/out is full: make room there, or name another --out"
    assert told["error"] == f"{full} (new/out/timeline.json: No space left on device)"


@pytest.fixture(scope="module")
def dump_bytes(tmp_path_factory):
    """What the dump of each cycle takes of the disk."""
    directory = tmp_path_factory.mktemp("disk")
    _status, _told, left = run_on_a_small_disk(directory, "size=512m", *RUN, "--cycles", "3")
    return [left[f"new/out/vmcore.{number}"] for number in (1, 2, 3)]


@pytest.mark.parametrize("full_in", [1, 2])
def test_a_disk_that_is_full_when_a_dump_is_kept_has_that_and_the_earlier_ones(tmp_path, dump_bytes, full_in):
    """There is room for the dumps so far, one of them on the guest's disk, and half of a copy of that."""
    size_bytes = sum(dump_bytes[:full_in]) + dump_bytes[full_in - 1] // 2
    dumps = [f"new/out/vmcore.{number}" for number in range(1, full_in + 1)]
    status, told, left = run_on_a_small_disk(tmp_path, f"size={size_bytes}", *RUN, "--cycles", "3", whole=dumps)
    assert (status, told["phase"]) == (1, "production")
    assert f"make room there, or name another --out ({dumps[-1]}: No space left on device)" in told["error"]
    assert set(left) == LOGS | set(dumps)

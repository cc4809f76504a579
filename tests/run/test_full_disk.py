"""Runs on a disk that is full, or gets full."""

import pytest

from tests.small_disk import run_on_a_small_disk


@pytest.mark.parametrize("inodes", range(1, 4))
def test_a_disk_that_is_full_before_power_on_is_a_failure(tmp_path, inodes):
    words = ("run", "--memory", "1G", "--out", "new/out")
    status, told, left = run_on_a_small_disk(tmp_path, f"size=64m,nr_inodes={inodes}", *words)
    assert (status, told["phase"], left) == (1, "power_on", {})
    assert told["error"].startswith("can't ") and "No space left on device" in told["error"]

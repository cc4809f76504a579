"""A dump reader of one's own, memory_by_class.py, on dumps of machines that have just crashed."""

import subprocess
import sys
from pathlib import Path

import pytest

READER = Path(__file__).with_name("memory_by_class.py")


@pytest.mark.parametrize(
    "dump", [{}, {"platform": "powernv"}, {"kernel_version": "6.1", "page_size": "4K"}], indirect=True
)
def test_memory_of_every_machine_is_drawn(dump):
    done = subprocess.run([sys.executable, READER, dump], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert "#" in done.stdout and "MiB" in done.stdout

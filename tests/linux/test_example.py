"""The worked example of the Python API, and what fadump.open raises."""

import subprocess
import sys
from pathlib import Path

import pytest

import fadump
from tests.linux.crashed_kernel import crashed_kernel

EXAMPLE = Path(__file__).parents[2] / "examples" / "memory_by_class.py"


def run(path):
    return subprocess.run([sys.executable, EXAMPLE, path], capture_output=True, text=True, check=False)


def test_memory_is_drawn_by_class(tmp_path):
    path = tmp_path / "dump"
    path.write_bytes(crashed_kernel().core())
    done = run(path)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("kernel               0.9 MiB  ######")


@pytest.mark.parametrize("data", [b"text", None])
def test_what_can_not_be_read_is_one_sentence(tmp_path, data):
    path = tmp_path / "dump"
    if data is not None:
        path.write_bytes(data)
    done = run(path)
    assert done.returncode == 1 and done.stdout == ""
    assert str(path) in done.stderr and done.stderr.count("\n") == 1


def test_an_error_is_fadumps_own(tmp_path):
    path = tmp_path / "dump"
    path.write_bytes(b"text")
    with pytest.raises(fadump.FadumpError, match="not a dump file"):
        fadump.open(path)

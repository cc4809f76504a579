"""Packages that may be missing: make test has them all, and without them each command does what it does with them.

Debian's own packages are tried without them by make test-install.
"""

import json
import re
import subprocess
import sys
from importlib.util import find_spec

import pytest

import fadump
from tests.linux.crashed_kernel import crashed_kernel

OPTIONAL = ("cramjam", "elftools", "isal", "mfusepy", "qemu")
WITHOUT = f"import sys; sys.modules.update(dict.fromkeys({OPTIONAL})); from fadump.cli import main; sys.exit(main())"


@pytest.mark.parametrize("name", OPTIONAL)
def test_every_optional_package_is_here_for_the_tests(name):
    assert find_spec(name)


def without(*words):
    command = [sys.executable, "-c", WITHOUT, *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def vmcore(tmp_path_factory):
    path = tmp_path_factory.mktemp("dump") / "vmcore"
    path.write_bytes(crashed_kernel().core())
    return path


@pytest.mark.parametrize("compression", ["zlib", "snappy"])
def test_without_them_a_dump_is_saved_checked_and_read(vmcore, tmp_path, compression):
    saved = tmp_path / "saved"
    assert without("save", vmcore, saved, "--compress", compression).returncode == 0
    done = without("check", saved, "--json")
    assert '"whole"' in done.stdout, done.stderr
    assert without("dmesg", saved).stdout == without("dmesg", vmcore).stdout != ""
    assert "sysrq" in without("show", saved).stdout


def test_without_them_a_whole_cycle_is_run(tmp_path):
    done = without("run", "--verify", "--memory", "1G", "--out", tmp_path / "run")
    assert (done.returncode, "verified" in done.stdout) == (0, True), done.stderr


@pytest.mark.parametrize(
    "words",
    ["run --machine qemu", "compare --count 1", "vm --disk disk", "rehearse --disk disk", "mount there", "shell"],
)
def test_a_command_that_needs_one_says_which_and_how_to_get_it(tmp_path, monkeypatch, words):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "disk").write_bytes(bytes(1 << 20))
    (tmp_path / "there").mkdir()
    done = without(*words.split())
    assert done.returncode == 125 and "Traceback" not in done.stderr
    assert re.search(r"^fadump: .* needs the Python package \S+: install fadump\[\w+\]$", done.stderr, re.MULTILINE)


def test_the_version_says_what_stands_in_for_them():
    done = subprocess.run(
        [sys.executable, "-m", "fadump", "version", "-v", "--json"], capture_output=True, text=True, check=True
    )
    here = {"zlib": "isal", "lzo": "liblzo2.so.2", "snappy": "cramjam", "zstd": "zstandard"}
    assert json.loads(done.stdout)["codecs"] == here
    instead = here | {"zlib": "zlib", "snappy": "libsnappy.so.1"}
    assert json.loads(without("version", "-v", "--json").stdout)["codecs"] == instead
    lines = without("version", "-v").stdout.splitlines()
    assert lines[0] == f"fadump {fadump.__version__}" and lines[2:] == [
        f"{name:6} {by}" for name, by in instead.items()
    ]

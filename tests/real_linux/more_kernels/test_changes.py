"""Memory and CPUs come and go before real Linux crashes: the dump has what was there, and who was online.

`make test-kernels`; tests/run/test_changes.py has the same of the model.
"""

import re
import subprocess

import pytest

from fadump.kit.kernel import build_kernel
from tests.real_linux.fadump_command import fadump_run

GIB = 1 << 30
NEWEST = ("--qemu", "newest")  # 7.2 ends once a CPU has gone
MOVES = ("--dimm", "256M@4G", "--unplug", "256M@4G", "--plug", "512M@8G")


@pytest.mark.parametrize(
    ("series", "options", "cpus"),
    [
        ("6.12", (*MOVES, "--plug", "cpu3", "--offline", "cpu1", "--crash-cpu", "3"), 3),
        ("6.1", (*MOVES, *NEWEST, "--unplug", "cpu2", "--crash-by", "nmi"), 2),
        ("7.2", ("--offline", "cpu0", "--plug", "cpu3", "--crash-by", "platform"), 3),
        ("6.12", ("--platform", "powernv", "--offline", "cpu1"), 3),  # OPAL reports all
    ],
)
def test_the_dump_is_the_machine_at_its_crash(tmp_path, series, options, cpus):
    kernel = build_kernel(series, "64K").bootable
    done = fadump_run(tmp_path / "out", "--kernel", str(kernel), "--cpus", "3", "--verify", *options)
    assert done.status == 0, f"{done.stderr}\nfiles are in {done.out}"
    assert done.json["verified"]["bytes_different"] == 0
    assert done.json["verified"]["registers_different"] == []
    shown = subprocess.run(
        ["readelf", "-lnW", done.json["vmcore"]], capture_output=True, text=True, check=True, env={"LC_ALL": "C"}
    ).stdout
    assert (done.json["cpus"], shown.count("NT_PRSTATUS")) == (cpus, cpus)
    segments = re.findall(r"LOAD +0x\w+ 0x\w+ 0x(\w+) 0x\w+ 0x(\w+)", shown)
    places = [(int(start, 16), int(start, 16) + int(size, 16)) for start, size in segments]
    if "--dimm" in options:
        assert (8 * GIB, 8 * GIB + GIB // 2) in places
        assert not [start for start, end in places if start < 5 * GIB and end > 4 * GIB]


def test_a_qemu_that_does_not_live_without_a_cpu_is_told(tmp_path):
    said = subprocess.run(["qemu-system-ppc64", "--version"], capture_output=True, text=True, check=True).stdout
    is_old = int(re.search(r"version (\d+)", said)[1]) < 8
    done = fadump_run(tmp_path / "out", "--unplug", "cpu1")
    assert done.status == (125 if is_old else 0)
    assert ("ends by SIGSEGV once a CPU has been unplugged: give --qemu newest" in done.stderr) is is_old

"""What ``fadump size`` predicts for other machines, against what their capture boots do; other pages, and powernv.

The oracle is whether a real capture boot has saved its dump: with 15 % more than is predicted it does, with 15 % less
it doesn't. So the edge of that machine, wherever it is, is within 15 % of the prediction.
"""

import json
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

from fadump.kernel.traits import least_boot_memory_bytes
from fadump.kit.kernel import build_kernel
from fadump.systems.rehearse import RehearsalOptions
from fadump.systems.size.measure import tried_with
from fadump.systems.size.probe import ProbeResult, try_boot_memory
from fadump.systems.vm import VmOptions
from tests.real_linux import mini_system

MIB, GIB = 1 << 20, 1 << 30
SECONDS = 3600
SAVE = "/usr/bin/makedumpfile -d 31 /proc/vmcore /var/crash/today/vmcore"
LARGER = {"64K": ("64G", "160G"), "4K": ("16G",)}
"""The machines that are predicted, by the page's size."""


@pytest.fixture(scope="module")
def image(tmp_path_factory, makedumpfile):
    return mini_system.build(tmp_path_factory.mktemp("size"), save=SAVE, program=makedumpfile)


@pytest.fixture(scope="module")
def measured(tmp_path_factory, image):
    """What is measured of 4 GiB with pages of such a size, and the kernel; each once."""

    @cache
    def once(page_size):
        kernel = build_kernel(page_size=page_size).bootable
        larger = [word for memory in LARGER[page_size] for word in ("--for", memory)]
        out = tmp_path_factory.mktemp("out") / "out"
        return size_of(image, "--memory", "4G", "--kernel", kernel, "--out", out, *larger), kernel

    return once


@pytest.mark.parametrize(("page_size", "memory_bytes"), [("64K", 64 * GIB), ("64K", 160 * GIB), ("4K", 16 * GIB)])
def test_a_larger_machine_needs_what_is_predicted(measured, image, tmp_path, page_size, memory_bytes):
    told, kernel = measured(page_size)
    (predicted,) = [size for size in told["predicted"] if size["memory_bytes"] == memory_bytes]
    needed = sum(predicted["model"].values())
    assert predicted["recommended_bytes"] >= needed * 115 // 100
    results = {
        percent: tried(image, kernel, tmp_path / str(percent), memory_bytes, needed * percent // 100)
        for percent in (115, 85)
    }
    assert results[115].result is ProbeResult.SAVED, results
    assert results[85].result is not ProbeResult.SAVED, results


def test_powernv_is_measured_below_what_linux_takes(image, tmp_path):
    kernel = build_kernel().bootable
    told = size_of(image, "--platform", "powernv", "--memory", "4G", "--kernel", kernel, "--out", tmp_path / "out")
    results = {probe["boot_memory_bytes"]: probe["result"] for probe in told["measured"]}
    saved = [size for size, result in results.items() if result == "saved"]
    assert min(saved) == told["needed_bytes"] < told["minimum_bytes"] == 768 * MIB
    assert 0 < min(saved) - max(size for size in results if size not in saved) <= 16 * MIB


def size_of(image: Path, *options: object):
    """What ``fadump size`` says of the small system."""
    command = [sys.executable, "-m", "fadump", "size", "--json", "--disk", image, "--cmdline", mini_system.CMDLINE]
    done = subprocess.run([*command, *options], capture_output=True, text=True, timeout=SECONDS, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def tried(image: Path, kernel: Path, out: Path, memory_bytes: int, size_bytes: int):
    """A try of the same system with so much memory and boot memory."""
    vm = VmOptions(disks=(image,), memory_bytes=memory_bytes, kernel=kernel, cmdline=mini_system.CMDLINE)
    options = RehearsalOptions(vm=vm, out=out)
    return try_boot_memory(options, tried_with(size_bytes // MIB * MIB, least_boot_memory_bytes(vm.platform)))

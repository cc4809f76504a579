"""``fadump size`` on a system with a disk and a service of its own: the least boot memory that saves its dump."""

import hashlib
import json
import re
import subprocess
import sys

import pytest

from tests.real_linux import mini_system

MIB = 1 << 20
SECONDS = 1800
MOST_TRIES = 9
SAVE = """
    while :; do grep MemAvailable /proc/meminfo; usleep 200000; done &
    /usr/bin/makedumpfile -d 31 /proc/vmcore /var/crash/today/vmcore
    kill $!"""


@pytest.fixture(scope="module")
def measured(tmp_path_factory, kernel, makedumpfile):
    """What is said of that system with 1280 MiB, its object, and where its files are."""
    directory = tmp_path_factory.mktemp("size")
    image, out = mini_system.build(directory, save=SAVE, program=makedumpfile), directory / "out"
    before = hashlib.sha256(image.read_bytes()).digest()
    command = [sys.executable, "-m", "fadump", "size", "--json", "--disk", image, "--kernel", kernel.bootable]
    command += ["--cmdline", f"{mini_system.CMDLINE} crashkernel=1G", "--memory", "1280M", "--for", "64G", "--out", out]
    done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=False)
    assert hashlib.sha256(image.read_bytes()).digest() == before, "the user's disk has been written to"
    assert done.returncode == 0, done.stderr
    return done.stderr, json.loads(done.stdout), out


def test_the_edge_is_between_a_size_that_saves_and_one_that_does_not(measured):
    said, told, _out = measured
    tries = {probe["boot_memory_bytes"]: probe["result"] for probe in told["measured"]}
    saved = [size for size, result in tries.items() if result == "saved"]
    lost = [size for size, result in tries.items() if result != "saved"]
    assert len(tries) == len(told["measured"]) <= MOST_TRIES, told
    assert min(saved) == told["needed_bytes"] > max(lost), told
    assert min(saved) - max(lost) <= 8 * MIB
    assert set(tries.values()) <= {"saved", "out-of-memory", "hang", "lost"}, told
    assert (
        f"measured: {told['needed_bytes'] // MIB} MiB of boot memory is enough, {max(lost) // MIB} MiB is not" in said
    )


def test_what_linux_takes_at_least_is_the_minimum(measured):
    _said, told, _out = measured
    assert told["needed_bytes"] < told["minimum_bytes"] == told["recommended_bytes"] == 320 * MIB
    assert told["recommended_crashkernel"] == "320M"
    assert {probe["crashkernel_bytes"] for probe in told["measured"]} == {320 * MIB}


def test_a_capture_kernel_has_no_more_than_it_is_given(measured):
    _said, told, _out = measured
    saved = [probe for probe in told["measured"] if probe["result"] == "saved"]
    for probe in saved:
        assert 10 * MIB < probe["available_bytes"] < probe["boot_memory_bytes"]
        assert probe["boot_memory_bytes"] - probe["available_bytes"] < 60 * MIB
        assert 10 * MIB < probe["touched_bytes"] <= probe["boot_memory_bytes"]


def test_the_least_available_is_what_the_guest_says_itself(measured):
    """Up to 12 pages a CPU are counted apart, for each of four counters; and it says them a moment later."""
    _said, told, out = measured
    for number, probe in enumerate(told["measured"], 1):
        console = (out / f"try-{number}" / "console.log").read_text(errors="replace")
        available = [int(kib) << 10 for kib in re.findall(r"MemAvailable: +(\d+) kB", console)]
        if probe["result"] == "saved":
            assert abs(probe["least_available_bytes"] - min(available)) < 8 * MIB, probe
            assert probe["least_available_bytes"] < probe["available_bytes"]


def test_larger_machines_are_predicted_from_that(measured):
    _said, told, _out = measured
    assert sum(told["model"].values()) == pytest.approx(told["needed_bytes"], abs=MIB)
    (larger,) = told["predicted"]
    assert larger["model"]["struct_pages_bytes"] == 64 * MIB
    assert told["model"]["struct_pages_bytes"] == 1280 * 1024
    assert larger["model"]["user_space_bytes"] == told["model"]["user_space_bytes"]


def test_of_each_try_only_the_console_is_kept(measured):
    _said, told, out = measured
    names = {str(path.relative_to(out)) for path in out.rglob("*") if path.is_file()}
    assert names == {f"try-{number + 1}/console.log" for number in range(len(told["measured"]))}
    console = (out / "try-1/console.log").read_text(errors="replace")
    assert (
        "crashkernel=320M" in console and "Kernel command line: console=hvc0 root=/dev/vda fadump=on panic=5" in console
    )

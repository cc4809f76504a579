"""Not one wrong byte: dumps of other machines, and the two controls that must find differences."""

import json
import re
import subprocess

import pytest

from tests.real_linux.fadump_command import COMMAND, fadump_run


def p_filesz_sum(result):
    verified = result["verified"]
    return verified["bytes_compared"] + verified["bytes_excluded"]


@pytest.mark.parametrize(
    "options",
    [
        ["--cpu-model", "POWER8", "--crash-cpu", "1", "--node", "1G", "--node", "1G", "--hpte-size", "16M"],
        ["--cpu-model", "POWER10", "--cpus", "4", "--crash-cpu", "2", "--memory", "2G", "--dimm", "1G@4G"],
        ["--cpu-model", "POWER9", "--cpus", "3", "--max-cpus", "5", "--cmdline", "maxcpus=2"],
    ],
    ids=["POWER8, hash, two nodes", "POWER10, radix, a DIMM above a hole", "POWER9, offline and unplugged CPUs"],
)
def test_a_dump_is_the_machine_at_its_crash(tmp_path, kernel, options):
    done = fadump_run(tmp_path / "out", "--verify", *options)
    assert done.status == 0, done.stderr
    result = done.json
    assert result["result"] == "saved"
    assert (result["verified"]["bytes_different"], result["verified"]["bytes_excluded"]) == (0, 0)
    assert result["verified"]["registers_different"] == []
    assert p_filesz_sum(result) > 0.99 * result["vmcore_bytes"]
    table = result["verified"].get("hash_table")
    if "POWER8" in options:
        assert table == {"bytes_compared": 16 << 20, "bytes_different": 0, "not_compared": None}
        shown = show(done.out / "hpte")
        assert shown["kind"] == "hash page table"
        assert len(shown["entries"]) > 1000  # the kernel's and the processes'
    else:
        assert table is None and not (done.out / "hpte").exists()


@pytest.mark.parametrize("fault", ["no-put-back", "no-reserved-ranges"])
def test_the_comparison_can_fail(tmp_path, kernel, fault):
    done = fadump_run(tmp_path / "out", "--verify", "--fault", fault)
    assert done.status == 1
    assert done.json["result"] == "different"
    assert done.json["verified"]["bytes_different"] > 0


@pytest.mark.parametrize(
    ("platform", "sentence"),
    [
        ("pseries", "this QEMU can't emulate more than one thread per core: give --qemu newest, or leave out --smt"),
        ("powernv", "hangs with more than one thread per core: give --qemu newest, or leave out --smt"),
    ],
)
def test_threads_are_refused_where_qemu_does_not_run_them(tmp_path, kernel, platform, sentence):
    """Debian 12's QEMU, 7.2, doesn't."""
    done = fadump_run(tmp_path / "out", "--platform", platform, "--cpus", "4", "--smt", "2")
    if qemu_major_version() < 8:
        assert done.status == 125
        assert sentence in done.json["error"]
    else:
        assert (done.status, done.json["cpus"]) == (0, 4)


def show(path):
    command = [*COMMAND, "show", str(path), "--json"]
    return json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def qemu_major_version():
    told = subprocess.run(["qemu-system-ppc64", "--version"], capture_output=True, text=True, check=True).stdout
    return int(re.search(r"version (\d+)", told)[1])

"""Larger machines, every CPU model, crash after crash; and powernv with a newer QEMU, for threads."""

import pytest

from fadump.kit.kernel import build_kernel
from tests.real_linux.fadump_command import fadump_run


@pytest.fixture(scope="module", autouse=True)
def kernel():
    """The default kernel."""
    return build_kernel()


@pytest.mark.parametrize(
    "options",
    [
        ["--cpu-model", "POWER8", "--cpus", "4", "--memory", "4G", "--cycles", "3"],
        ["--cpu-model", "POWER9", "--cpus", "4", "--memory", "4G", "--cycles", "3"],
        ["--cpu-model", "POWER10", "--cpus", "4", "--memory", "4G", "--cycles", "3"],
        ["--memory", "8G"],
        ["--memory", "16G"],
        ["--cpus", "32", "--crash-cpu", "17"],
        ["--platform", "powernv", "--memory", "8G", "--cycles", "2", "--cpu-model", "POWER10"],
        ["--platform", "powernv", "--qemu", "newest", "--cpus", "4", "--smt", "2", "--crash-cpu", "3"],
        [
            *("--platform", "powernv", "--qemu", "newest", "--cpu-model", "POWER11"),
            *("--cpus", "4", "--smt", "4", "--crash-cpu", "3"),
        ],
        ["--platform", "powernv", "--cpus", "1"],
    ],
    ids=" ".join,
)
def test_a_dump_of_this_machine_is_right(tmp_path, options):
    done = fadump_run(tmp_path / "out", "--verify", *options)
    assert done.status == 0, f"{done.stderr}\nfiles are in {done.out}"
    cycles = done.json.get("cycles", [done.json])
    assert [cycle["result"] for cycle in cycles] == ["saved"] * len(cycles)
    assert [cycle["verified"]["bytes_different"] for cycle in cycles] == [0] * len(cycles)
    assert all(cycle["verified"]["registers_different"] == [] for cycle in cycles)
    if "powernv" not in options:
        assert all(cycle["verified"]["bytes_excluded"] == 0 for cycle in cycles)

"""Every CPU model that the newest QEMU has for FADump, with old and new kernels, threads among them: rows of the table
in docs/firmware.md, such that each model meets an older or the newest kernel on each platform that it is of."""

import pytest

from fadump.kit.kernel import NEWEST_SERIES, build_kernel, newest_series
from tests.real_linux.fadump_command import fadump_run

PSERIES = ("--memory", "1G")
POWERNV = ("--platform", "powernv")


@pytest.mark.parametrize(
    ("series", "model", "options"),
    [
        ("6.1", "POWER8", (*PSERIES, "--cpus", "4", "--smt", "2")),
        (NEWEST_SERIES, "POWER8", PSERIES),
        (NEWEST_SERIES, "POWER10", PSERIES),
        ("6.1", "POWER11", (*PSERIES, "--cpus", "4", "--smt", "2", "--crash-cpu", "3")),
        (NEWEST_SERIES, "POWER11", (*PSERIES, "--cpus", "8", "--smt", "8", "--crash-cpu", "5")),
        (NEWEST_SERIES, "POWER9", (*POWERNV, "--cpus", "4", "--smt", "2")),
        ("6.1", "POWER10", POWERNV),
        (NEWEST_SERIES, "POWER11", (*POWERNV, "--cpus", "4", "--smt", "4", "--crash-cpu", "3")),
    ],
)
def test_a_dump_on_this_model_is_right(tmp_path, series, model, options):
    kernel = build_kernel(newest_series() if series == NEWEST_SERIES else series)
    machine = ["--qemu", "newest", "--cpu-model", model, "--kernel", str(kernel.bootable), *options]
    done = fadump_run(tmp_path / "out", "--verify", *machine)
    assert done.status == 0, f"{done.stderr}\nfiles are in {done.out}"
    verified = done.json["verified"]
    assert (done.json["result"], done.json["kernel_release"]) == ("saved", kernel.release)
    assert (verified["bytes_different"], verified["registers_different"]) == (0, [])
    assert verified["bytes_compared"] > 500 << 20

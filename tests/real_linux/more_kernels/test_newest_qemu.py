"""What only a newer QEMU can do, with one from a later Debian suite: SMT, POWER11, and a FADump of its own; and what it
does otherwise."""

import pytest

from fadump.kit.kernel import build_kernel
from fadump.kit.qemu import fetch_qemu
from tests.machine.qemu.gdb_script import served, stops_at_reads
from tests.machine.qemu.small_kernel import ARGUMENTS, HOLD, PAGE
from tests.machine.qemu.small_kernel import build_kernel as build_small_kernel
from tests.real_linux.fadump_command import fadump_run

CYCLE = ["--qemu", "newest", "--verify"]


@pytest.fixture(scope="module", autouse=True)
def kernel():
    """The default kernel."""
    return build_kernel()


@pytest.mark.parametrize(
    "options",
    [
        ["--smt", "2", "--crash-cpu", "3"],
        ["--smt", "8", "--crash-cpu", "5", "--cpu-model", "POWER11", "--memory", "1G"],
    ],
    ids=" ".join,
)
def test_every_thread_of_an_smt_guest_is_in_its_dump(tmp_path, options):
    done = fadump_run(tmp_path / "out", *CYCLE, "--cpus", "8", *options)
    assert done.status == 0, f"{done.stderr}\nfiles are in {done.out}"
    assert (done.json["result"], done.json["cpus"]) == ("saved", 8)
    assert done.json["verified"]["bytes_different"] == 0
    assert done.json["verified"]["registers_different"] == []


def test_what_qemus_own_dump_gets_wrong_is_found(tmp_path):
    """Nobody puts back what SLOF overwrites, near the top of RAM; and QEMU 11.1 loses LR, CTR and XER."""
    done = fadump_run(tmp_path / "out", *CYCLE, "--firmware", "qemu")
    assert (done.status, done.json["result"], done.json["reboots"]) == (1, "different", 1)
    assert done.json["verified"]["bytes_different"] > 1 << 20
    assert "passed through: dump triggered by os-term" in done.file("firmware.log")


@pytest.mark.parametrize(
    ("watched", "told"), [([ARGUMENTS], f"rwatch:{ARGUMENTS:016x};"), ([ARGUMENTS, HOLD + 8], "")], ids=["one", "two"]
)
def test_a_watchpoint_that_qemu_does_not_tell_of_is_gdbs(tmp_path, watched, told):
    with served(build_small_kernel(tmp_path), qemu=str(fetch_qemu().path)) as (firmware, port):
        while not firmware.calls:
            firmware.serve()
        hits = firmware.while_running(stops_at_reads, port, *watched)
        assert hits == [(f"T05thread:p01.01;{told}", PAGE + 4)] * 3
        assert firmware.machine.served.foreign_stops == 0

"""What a run says that has ended under kdump. One is in tests/real_linux/more_kernels/test_kdump.py."""

import io
from argparse import Namespace
from dataclasses import replace

import pytest

from fadump.cli.run import _as_json, _wrong
from fadump.cli.run_view import RunView, verified_text
from fadump.look import Look
from fadump.machine.channel import KdumpLoaded
from fadump.memory.ranges import Range, RangeSet
from fadump.observer import Milestone
from fadump.proof.compare import Comparison
from fadump.proof.verify import Verdict
from fadump.run.faults import never_struck, parse_faults
from fadump.run.options import RunOptions
from fadump.run.parts import make_firmware
from fadump.run.run import RunResult, run

REASON = "fadump: Can't enable fadump with boot memory size (0x10000000) less than 0x14000000"
KDUMP = KdumpLoaded(Range(0x2000_0000, 0x3000_0000), REASON)
FELL_BACK = f"Linux has not registered: it has reserved 256 MiB for kdump instead ({REASON})"
SAME = Comparison(2_000_000, 0, 0, (), (), 0, RangeSet())


@pytest.fixture
def result(tmp_path):
    """A run's result, as if kdump had saved its dump."""
    (judged,) = run(RunOptions(tmp_path / "out", memory_bytes=1 << 30), RunView(Look(io.StringIO()))).cycles
    cycle = replace(judged.cycle, dump=None, kdump=KDUMP, reboots=0, memory_released=0, reserved_bytes=None)
    return RunResult([replace(judged, cycle=cycle, freed=())], None)


def test_programs_are_told(result):
    shown = _as_json(Namespace(machine="qemu", platform="pseries", fault=[]), result)
    assert (shown["result"], shown["phase"]) == ("not-registered", "registered")
    assert shown["kdump"] == {"start": 0x2000_0000, "reserved_bytes": 256 << 20, "reason": REASON}
    assert (shown["boot_memory_bytes"], shown["reserved_bytes"], shown["reboots"]) == (None, None, 0)


def test_it_is_a_failure_that_says_why_and_where_the_dump_is(result):
    assert list(_wrong(Namespace(strict=True), result)) == [f"{FELL_BACK}; kdump has saved {result.cycles[0].vmcore}"]


def test_a_dump_that_differs_is_different_all_the_same(result):
    verdict = Verdict(replace(SAME, bytes_different=1, difference_count=1, differences=(Range(0, 1),)), None)
    wrong = RunResult([replace(result.cycles[0], verdict=verdict)], None)
    shown = _as_json(Namespace(machine="qemu", platform="pseries", fault=[]), wrong)
    assert shown["result"] == "different"
    assert next(_wrong(Namespace(strict=False), wrong)).endswith(
        "different from the machine at its crash: 1 byte of 2,000,000"
    )


def test_people_are_told_what_was_compared():
    compared = "2,000,000 bytes of memory are as they were when the crash kernel began"
    assert verified_text(Verdict(SAME, None)) == f"verified: {compared}; registers were not compared"


def test_people_see_it_as_it_happens_and_at_the_end(result):
    stream = io.StringIO()
    view = RunView(Look(stream))
    view.report(KDUMP)
    view.milestone(Milestone.CRASH, 1.0)
    view.milestone(Milestone.CAPTURE_BOOT, 1.0)
    view.summary(result)
    loaded, crash, entered, _empty, summary, *_rest = stream.getvalue().splitlines()
    assert loaded.strip() == f"{FELL_BACK}; a crash kernel is loaded"
    assert crash.endswith("crash: the kernel starts its crash kernel, without the firmware")
    assert entered.endswith("the crash kernel is entered, without a reset")
    release = result.cycles[0].cycle.kernel_release
    assert summary == (f"Linux {release} crashed with 2 CPUs, and was dumped by kdump, not by FADump: {FELL_BACK}.")


def test_a_fault_of_a_firmware_assisted_dump_has_not_struck(result, tmp_path):
    faults = parse_faults(["second-crash", "release-twice"], RunOptions(tmp_path).platform)
    found = never_struck(faults, make_firmware(RunOptions(tmp_path)), [result.cycles[0].cycle])
    assert [str(fault) for fault in found] == [
        f"--fault {name} never struck: Linux has fallen back to kdump" for name in faults.names
    ]

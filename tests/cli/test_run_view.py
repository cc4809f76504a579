"""What is said at the end of a run: the verdict in plain words, and hints that can be typed."""

import io
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from fadump.cli.run_view import RunView, different_text, hints, verified_text
from fadump.firmware.contract import Answer, FirmwareCall
from fadump.look import Look
from fadump.machine.channel import Saving, SavingProgress
from fadump.memory.ranges import Range, RangeSet
from fadump.observer import Milestone
from fadump.proof.compare import Comparison, Exclusion, OpalComparison
from fadump.proof.hash_table import HashTableComparison
from fadump.proof.verify import Verdict
from fadump.run.console import Panics
from fadump.run.options import RunOptions
from fadump.run.run import run

SAME = Comparison(2_000_000, 0, 0, (), (), 0, RangeSet())


def wrong(count):
    return replace(SAME, bytes_different=count, differences=(Range(0, count),), difference_count=1)


@pytest.mark.parametrize(
    ("verdict", "text"),
    [
        (Verdict(SAME, ()), "2,000,000 bytes of memory and all registers are as they were at the crash"),
        (
            Verdict(replace(SAME, bytes_excluded=1, excluded=(Exclusion(Range(0, 1), "firmware's"),)), ()),
            "2,000,000 bytes of memory and all registers are as they were at the crash; 1 byte not compared",
        ),
        (
            Verdict(SAME, (), OpalComparison(3000, 0)),
            "2,000,000 bytes of memory, 3,000 bytes of OPAL's core and all registers are as they were at the crash",
        ),
        (
            Verdict(SAME, (), hash_table=HashTableComparison(8, 0)),
            "2,000,000 bytes of memory, 8 bytes of the hash page table and all registers are as they were at the crash",
        ),
    ],
)
def test_a_dump_that_is_the_machines_is_said_to_be(verdict, text):
    assert verified_text(verdict) == f"verified: {text}"


@pytest.mark.parametrize(
    ("verdict", "text"),
    [
        (Verdict(wrong(1), ()), "1 byte of 2,000,000"),
        (Verdict(wrong(5000), ("a",)), "5,000 bytes of 2,000,000, 1 difference in registers"),
        (Verdict(SAME, ("a", "b")), "2 differences in registers"),
        (Verdict(SAME, (), OpalComparison(3000, 16)), "16 bytes of 3,000 in OPAL's core"),
        (Verdict(SAME, (), hash_table=HashTableComparison(4096, 1)), "1 byte of 4,096 in the hash page table"),
    ],
)
def test_a_dump_that_is_not_is_never_said_to_be_verified(verdict, text):
    assert different_text(verdict) == f"different from the machine at its crash: {text}"


def test_the_verdict_is_the_first_line_and_what_differs_follows(tmp_path):
    stream = io.StringIO()
    view = RunView(Look(stream))
    result = run(RunOptions(tmp_path / "out", memory_bytes=1 << 30), view)
    verdict = Verdict(replace(wrong(5000), difference_count=2), ("CPU 0: nip is 0x1, it was 0x2",))
    stream.truncate(0)
    view.summary(replace(result, cycles=[replace(result.cycles[0], verdict=verdict)]))
    lines = stream.getvalue().splitlines()
    first = next(number for number, line in enumerate(lines) if line.startswith("different from the machine"))
    assert lines[first + 1 : first + 4] == [
        "  different: 0x0..0x1388",
        "  and 1 more range",
        "  CPU 0: nip is 0x1, it was 0x2",
    ]


def test_hints_can_be_typed_any_number_of_times(tmp_path):
    result = run(RunOptions(tmp_path / "o u t", memory_bytes=1 << 30), RunView(Look(io.StringIO())))
    lines = list(hints(replace(result, vmlinux=Path("vmlinux"))))
    assert [line.split(":")[0] for line in lines] == ["look at it", "with drgn"]
    assert shutil.which("drgn") is None or " && drgn -c " in lines[1]
    for line in [*lines, *lines]:
        words = line.partition(":")[2].rpartition(" && ")[0] or line.partition(":")[2]  # all but drgn itself
        done = subprocess.run(["sh", "-c", words], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
    assert (tmp_path / "o u t" / "vmcore.kdump").exists()


def asked_again(calls):
    """What a view says of calls (seconds, token, outcome)."""
    stream = io.StringIO()
    view = RunView(Look(stream))
    for at_seconds, token, outcome in calls:
        view.firmware_call(FirmwareCall(0, token, (1,), 1, 0x1000), outcome, at_seconds)
    return stream.getvalue().splitlines()


BUSY = Answer(-2, reason="this status was asked for")


def test_a_kernel_that_asks_a_busy_firmware_again_and_again_is_seen_to():
    """A line in ten seconds, as all progress is told where there is no terminal."""
    lines = asked_again((number / 100, 0x202D, BUSY) for number in range(2500))
    call = "CPU 0 token 0x202d (0x1) -> status -2: this status was asked for"
    assert lines == [
        f"   10.00 s  the kernel asks the firmware again: 1,001 times by now, of at most 100,000: {call}",
        f"   20.00 s  the kernel asks the firmware again: 2,001 times by now, of at most 100,000: {call}",
    ]


def test_calls_that_are_served_or_differ_are_not_told():
    assert asked_again((number, 0x202D, Answer(0)) for number in range(40)) == []
    assert asked_again((number, number % 2, BUSY) for number in range(40)) == []
    assert asked_again([(0, 1, BUSY), (5, 1, Answer(0)), (11, 1, BUSY), (20, 1, BUSY)]) == []


def test_a_run_tells_the_panic_and_with_verbose_the_dumps_memory_map(tmp_path):
    """The words are the kernel's own, in the console's log."""
    log = tmp_path / "out" / "console.log"
    told = {}
    for verbose in (False, True):
        stream = io.StringIO()
        view = RunView(Look(stream), verbose=verbose, panic=Panics(log).new)
        run(RunOptions(tmp_path / "out", memory_bytes=1 << 30, cycles=2), view)
        told[verbose] = stream.getvalue().splitlines()
        panics = [number for number, line in enumerate(told[verbose]) if "panic: sysrq triggered crash" in line]
        assert len(panics) == 2
        assert all("crash: the firmware takes over" in told[verbose][number - 1] for number in panics)
    rows = [line for line in told[True] if "copy of boot memory" in line]
    assert [row.split()[2:6] for row in rows] == [["0x0028010000", "320", "MiB", "copy"]] * 2
    assert not [line for line in told[False] if "memory map" in line or " .. " in line]


def test_a_panic_is_told_once_and_of_the_log_that_is_there(tmp_path):
    log = tmp_path / "console.log"
    panics = Panics(log)
    assert panics.new() is None
    log.write_bytes(b"boot\r\nKernel panic - not syncing: one\r\nKernel panic - not syncing: tw")
    assert [panics.new(), panics.new()] == ["one", None]
    with log.open("ab") as file:
        file.write(b"o\r\n")
    assert [panics.new(), panics.new()] == ["two", None]
    log.write_bytes(b"Kernel panic - not syncing: 3\n")
    assert panics.new() == "3"


def test_what_is_being_saved_is_measured_in_bytes():
    look = Look(io.StringIO())
    view = RunView(look)
    view.report(Saving(4 << 20))  # which is what makes it a milestone
    view.milestone(Milestone.VMCORE_READY, 1.0)
    view.report(SavingProgress(1 << 20))
    assert look.waited_for.startswith("/proc/vmcore is saved: 1.0 MiB of 4.0 MiB")
    view.milestone(Milestone.SAVED, 2.0)
    assert look.waited_for.startswith("the preserved memory is released: ")

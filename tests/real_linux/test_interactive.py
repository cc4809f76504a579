"""``fadump run --interactive``: somebody is in the guest, before its crash and before the dump is saved."""

import json
import sys

import pexpect
import pytest

SECONDS = 240
FIRST, CAPTURE = "first kernel # ", "capture kernel # "


@pytest.fixture
def run(tmp_path, kernel):
    words = ["-m", "fadump", "run", "--machine", "qemu", "--interactive"]
    words += ["--cycles", "2", "--out", str(tmp_path / "out")]
    with (tmp_path / "terminal.log").open("wb") as log:
        child = pexpect.spawn(sys.executable, words, logfile=log, timeout=SECONDS, dimensions=(24, 200))
        yield child
        child.close(force=True)


def answer(run, prompt, command):
    """What a shell with this prompt answers; the next prompt is left to be read."""
    run.expect_exact(prompt)
    run.sendline(command)
    run.expect_exact(f"{command}\r\n")
    run.expect("[^\n]*\n")
    return run.after.decode().strip()


def test_whoever_is_in_the_guest_looks_around_and_the_run_goes_on(run, tmp_path):
    assert answer(run, FIRST, "cat /sys/kernel/fadump/registered") == "1"
    run.expect_exact(FIRST)
    run.send("\x01c")
    run.expect_exact("fadump: a kernel has registered with the firmware")
    run.sendline("exit")
    assert answer(run, CAPTURE, "ls -l /proc/vmcore").endswith(" /proc/vmcore")
    run.expect_exact(CAPTURE)
    run.send("\x04")
    run.expect_exact("cycle 2 of 2")
    run.expect_exact(FIRST)
    run.sendline("echo c >/proc/sysrq-trigger")
    assert answer(run, CAPTURE, "cat /sys/kernel/fadump/registered") == "0"
    run.expect_exact(CAPTURE)
    run.sendline("exit")
    run.expect_exact("crashed 2 times with 2 CPUs, was dumped and is in production again")
    run.expect(pexpect.EOF)
    run.close()
    assert run.exitstatus == 0
    timeline = [entry["event"] for entry in json.loads((tmp_path / "out/timeline.json").read_text())]
    assert timeline.count("saved") == timeline.count("production") == 2

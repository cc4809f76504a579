import json
import os
import select
import subprocess
import sys
import threading

import pytest

from fadump.campaign.execute import execute
from fadump.campaign.job import artifact_of
from fadump.campaign.outcome import Outcome
from fadump.kit.cache import cache_directory
from tests.campaign.runs import LOSING, SAVING, job


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """A cache of its own, which a run leaves empty."""
    monkeypatch.setenv("FADUMP_CACHE", str(tmp_path / "cache"))
    yield
    assert not list((cache_directory() / "campaign").glob("*"))


def test_a_good_run_leaves_nothing_behind():
    run = execute(job(words=SAVING))
    assert (run.outcome, run.exit_code, run.error, run.files) == (Outcome.SAVED, 0, None, {})
    assert run.cost.cpu_seconds > 0 and run.cost.seconds > 0 and run.cost.memory_bytes > 20 << 20


def test_a_failure_keeps_its_reason_and_its_logs():
    run = execute(job(words=LOSING))
    assert (run.outcome, run.exit_code, run.phase) == (Outcome.LOST, 1, "vmcore_ready")
    assert "Unable to read CPU state data" in run.error and "\n" not in run.error
    assert json.loads(run.files["answer.json"])["error"].startswith(run.error)
    assert b"Firmware-assisted dump is active" in run.files["console.log"]
    assert b"token 0x202d" in run.files["firmware.log"]
    assert b"the console is in console.log\n" in run.files["stderr"]  # not where it was, as that is gone
    assert not [name for name, content in run.files.items() if b"/.run-" in content]


def test_what_takes_too_long_is_ended():
    run = execute(job(words=SAVING, timeout_seconds=0.3))
    assert run.outcome is Outcome.TOO_LONG
    assert run.error.startswith("not done within 0.3 seconds")


def test_what_is_unwanted_is_ended():
    unwanted = threading.Event()
    unwanted.set()
    assert execute(job(words=SAVING), unwanted.is_set).outcome is not Outcome.SAVED


def test_what_can_not_be_tried_says_why():
    run = execute(job(words=["run", "--machine=qemu", "--kernel=/nothing"]))
    assert (run.outcome, run.exit_code) == (Outcome.NOT_TRIED, 125)
    assert "/nothing" in run.error


def test_a_program_that_is_missing_is_named(monkeypatch):
    monkeypatch.setenv("PATH", "/nowhere")
    ran = execute(job())
    assert (ran.outcome, ran.error) == (Outcome.NOT_TRIED, "no setpriv on this machine: install util-linux")


def test_a_command_that_is_killed_is_broken(tmp_path, monkeypatch):
    """As by the kernel, for want of memory."""
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    (tmp_path / "sitecustomize.py").write_text("import os, signal\nos.kill(os.getpid(), signal.SIGKILL)")
    run = execute(job(words=SAVING))
    assert (run.outcome, run.exit_code) == (Outcome.BROKEN, -9)
    assert run.error == "ended by signal 9 without a reason"


def test_a_file_that_has_changed_is_not_run(tmp_path):
    file = tmp_path / "map"
    file.write_text("old")
    artifact = artifact_of(file)
    file.write_text("new")
    run = execute(job(words=["run", f"--kernel={file}"], artifacts=[artifact]))
    assert run.outcome is Outcome.NOT_TRIED
    assert run.error == f"{file} is not here, or has changed since the campaign began"


def test_a_file_that_was_sent_takes_the_place_of_the_one_that_is_not_here(tmp_path):
    file = tmp_path / "kernel"
    file.write_bytes(os.urandom(5 << 20))
    artifact = artifact_of(file)
    pieces = list(artifact.pieces())
    file.unlink()
    assert artifact.find() is None
    for offset, data in pieces:
        assert artifact.find() is None
        artifact.receive(offset, data)
    assert job(words=["run", f"--kernel={file}", "--cpus=1"], artifacts=[artifact]).local_words() == [
        "run", f"--kernel={artifact.copy}", "--cpus=1",
    ]  # fmt: skip
    assert len(pieces) == 2


BEGINS = """
import sys
from fadump.campaign.execute import execute
from tests.campaign.runs import job
print(flush=True)
execute(job(words=["run", "--memory=1G", "--cycles=1000"]))
"""


def test_a_run_ends_with_the_campaign_that_was_killed(tmp_path):
    """Its process is gone; what it has left in the cache goes with the next run."""
    campaign = subprocess.Popen([sys.executable, "-c", BEGINS], stdout=subprocess.PIPE)
    campaign.stdout.readline()
    child = None
    while child is None:
        children = subprocess.run(["pgrep", "-P", str(campaign.pid)], capture_output=True, text=True, check=False)
        child = next(map(int, children.stdout.split()), None)
    campaign.kill()
    campaign.wait()
    campaign.stdout.close()
    fd = os.pidfd_open(child)
    has_ended, _, _ = select.select([fd], [], [], 60)
    os.close(fd)
    assert has_ended
    execute(job(words=SAVING))

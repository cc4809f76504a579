"""Whatever is killed, and whenever: one sentence, and no process, socket or half file that looks whole."""

import os
import signal

import pytest

from tests.real_linux.fadump_command import StartedRun, fadump_run, wait_until_gone

MOMENTS = ["power on", "registered with the firmware", "vmcore is there"]


def no_vmcore(out):
    """Whether nothing in a run's directory looks like a dump that is whole."""
    return {path.name for path in out.iterdir()} <= {
        "console.log", "firmware.log", "timeline.json", "vmcore.incomplete",
    }  # fmt: skip


@pytest.mark.parametrize("moment", MOMENTS)
def test_kill_9_leaves_no_process_and_no_vmcore(tmp_path, kernel, moment):
    with StartedRun(tmp_path) as run:
        run.wait_for(moment)
        children = run.children()
        assert children
        run.send(signal.SIGKILL)
        run.end()
        wait_until_gone(children)
    assert no_vmcore(tmp_path)


@pytest.mark.parametrize(("signal_number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupted_run_cleans_up(tmp_path, kernel, signal_number, status):
    with StartedRun(tmp_path) as run:
        run.wait_for("power on")
        children = run.children()
        run.send(signal_number)
        ended, stderr = run.end()
        assert ended == status
        assert "Traceback" not in stderr
        wait_until_gone(children)
    assert not list(tmp_path.glob("vmcore*"))


def test_a_run_that_is_out_of_time_cleans_up(tmp_path, kernel):
    with StartedRun(tmp_path, "--timeout", "12") as run:
        run.wait_for("power on")
        children = run.children()
        status, stderr = run.end()
        booted = "] Linux version " in (tmp_path / "console.log").read_text(errors="replace")
        assert status == (1 if booted else 125)
        assert "not done within the 12 seconds of --timeout\n" in stderr
        wait_until_gone(children)
    assert no_vmcore(tmp_path)


def test_a_killed_qemu_is_one_sentence(tmp_path, kernel):
    with StartedRun(tmp_path) as run:
        run.wait_for("power on")
        (qemu,) = run.children()
        os.kill(qemu, signal.SIGKILL)
        status, stderr = run.end()
    assert status == 125
    assert "fadump: Linux has not come to its console, so it could not be tried: while waiting for the guest" in stderr
    assert "to report 'hello': QEMU was killed by SIGKILL: by somebody" in stderr
    assert "Traceback" not in stderr


def test_two_runs_do_not_share_a_directory(tmp_path, kernel):
    with StartedRun(tmp_path) as run:
        run.wait_for("power on")
        second = fadump_run(tmp_path)
    assert second.status == 125
    assert "another run is writing to" in second.stderr

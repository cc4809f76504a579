"""How a command is ended from outside, or by the time that it was given."""

import json
import signal
import sys
import threading

import pytest

from fadump.cli import main
from fadump.signals import EndedBySignal, OutOfTime, raising, time_limit

FOREVER_SECONDS = 60


def test_what_is_not_done_in_its_time_is_ended():
    with pytest.raises(OutOfTime, match=r"^not done within the 0.1 seconds of --timeout$"), time_limit(0.1):
        threading.Event().wait(FOREVER_SECONDS)
    assert signal.getitimer(signal.ITIMER_REAL) == (0, 0)


@pytest.mark.parametrize("seconds", [None, FOREVER_SECONDS])
def test_what_is_done_in_its_time_is_left_alone(seconds):
    before = signal.getsignal(signal.SIGALRM)
    with time_limit(seconds):
        pass
    assert signal.getitimer(signal.ITIMER_REAL) == (0, 0)
    assert signal.getsignal(signal.SIGALRM) == before


def test_a_run_that_is_out_of_time_is_a_failure_in_one_sentence(tmp_path, capsys):
    status = main(["run", "--json", "--cycles", "1000", "--timeout", "1.5", "--out", str(tmp_path / "out")])
    captured = capsys.readouterr()
    said = json.loads(captured.out)
    assert (status, said["result"]) == (1, "failed")
    assert said["error"] == "not done within the 1.5 seconds of --timeout"
    assert "fadump: not done within the 1.5 seconds of --timeout" in captured.err.splitlines()[-3:]


@pytest.mark.parametrize("seconds", ["0", "-1", "nan", "inf", "1e10", "soon", ""])
def test_a_time_is_a_number_of_seconds(capsys, seconds):
    assert main(["run", "--timeout", seconds]) == 2
    assert "write seconds, from 0.001 to 1000000000" in capsys.readouterr().err


class Gone:
    """Is sent a signal when it goes, where no exception gets out of."""

    def __del__(self):
        signal.raise_signal(signal.SIGTERM)


def let_one_go():
    Gone()
    for _turn in range(10):
        pass


def test_a_signal_that_comes_where_no_exception_gets_out_of_is_not_lost():
    before = sys.gettrace(), sys.unraisablehook
    with pytest.raises(EndedBySignal, match="ended by SIGTERM"), raising():
        let_one_go()
    assert (sys.gettrace(), sys.unraisablehook) == before

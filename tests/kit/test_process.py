"""The distribution's tools: nothing of them outlives us, and what went wrong is one sentence."""

import pytest

from fadump.errors import SetupError
from fadump.kit.process import log_path, run, telling_lines
from tests.kit.conftest import is_alive, wait_until


@pytest.fixture
def log():
    return log_path("test")


def test_output_goes_to_the_log_and_to_whoever_counts_it(log):
    lines = []
    run(["sh", "-c", "echo out; echo err >&2; cat"], what="the test", log=log, on_line=lines.append)
    assert lines == ["out", "err"]
    assert log.read_text() == "out\nerr\n"
    assert log.stat().st_mode & 0o777 == 0o600


def test_a_failure_is_a_sentence_with_the_lines_that_tell_most(log):
    script = "echo cc1: fatal error: no foo.h; echo make: '***' [x] Error 1; echo make: Leaving directory; exit 7"
    with pytest.raises(SetupError) as caught:
        run(["sh", "-c", script], what="building", log=log)
    told = "cc1: fatal error: no foo.h | make: *** [x] Error 1"
    assert str(caught.value) == f"building failed with exit status 7: {told}; the log is {log}"


def test_a_command_that_is_killed_is_told_apart(log):
    with pytest.raises(SetupError, match="failed with signal 9: it said nothing"):
        run(["sh", "-c", "kill -9 $$"], what="building", log=log)


def test_a_command_that_is_not_there(log):
    with pytest.raises(SetupError, match=r"building failed: no-such-command can't be started"):
        run(["no-such-command"], what="building", log=log)


def test_without_an_error_the_last_lines_are_shown():
    assert telling_lines(["one", "two", "", "three", "four"]) == "two | three | four"
    assert telling_lines(["dpkg: error at mine.deb:", " no name", "done"]) == "dpkg: error at mine.deb: no name"


@pytest.mark.parametrize("ignored", ["", "trap '' TERM;"])
def test_nothing_that_a_command_started_outlives_an_interruption(log, ignored, monkeypatch):
    monkeypatch.setattr("fadump.kit.process._GRACE_SECONDS", 0.2)
    pids = []

    def interrupt(line):
        pids.extend(int(pid) for pid in line.split())
        raise KeyboardInterrupt

    script = f"{ignored} sleep 1000 & echo $$ $!; wait"
    with pytest.raises(KeyboardInterrupt):
        run(["sh", "-c", script], what="the test", log=log, on_line=interrupt)
    assert len(pids) == 2
    wait_until(lambda: not any(is_alive(pid) for pid in pids))

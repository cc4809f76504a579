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
    assert str(caught.value) == f"building failed with exit status 7: cc1: fatal error: no foo.h; the log is {log}"


def test_of_a_build_the_compilers_error_is_told_however_many_makes_end_after_it():
    makes = [
        "make[3]: *** [scripts/Makefile.build:234: a.o] Error 1",
        "make[2]: *** Waiting for unfinished jobs....",
        "  CC      b.o",
        "make[2]: *** [scripts/Makefile.build:471: kernel] Error 2",
        "make[1]: *** [Makefile:236: __sub-make] Error 2",
        "make: *** [Makefile:236: __sub-make] Error 2",
    ]
    compilers = ["a.c: In function 'f':", "a.c:1:9: error: implicit declaration of function 'g'", "    1 |  g();"]
    assert telling_lines([*compilers, *makes]) == compilers[1]
    assert telling_lines(makes) == " | ".join(makes[3:])
    assert telling_lines(["make: *** No rule to make target 'x'.  Stop."]).startswith("make: *** No rule")


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

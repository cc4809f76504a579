"""``fadump campaign`` on the embedded machine: what it prints, keeps and ends with."""

import functools
import itertools
import json
import re
import shlex
import signal
import sqlite3
import subprocess
import sys
import threading

import pexpect
import pytest

from fadump import cli
from fadump.campaign.outcome import Outcome
from fadump.campaign.results import Plan, Planned, Results
from fadump.cli import campaign_run
from fadump.errors import SetupError
from fadump.progress import Step
from tests.campaign.runs import run as kept_run

FADUMP = [sys.executable, "-m", "fadump"]
THREE = '[factors]\nfault = ["", "registers=no-end", "power-cut=99999"]\n[always]\nmemory = "1G"\n'


@pytest.fixture
def campaign(tmp_path, monkeypatch, capsys):
    """Runs the command in an empty directory with a campaign there; its exit code, its object and stderr."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FADUMP_CACHE", str(tmp_path / "cache"))
    (tmp_path / "three.toml").write_text(THREE)

    def campaign(*words):
        code = cli.main(["campaign", *map(str, words), "--json"])
        out, err = capsys.readouterr()
        return code, json.loads(out), err

    return campaign


def counted(path):
    with sqlite3.connect(path) as database:
        rows = database.execute("SELECT number, outcome FROM runs ORDER BY number").fetchall()
    database.close()
    return rows


def test_a_campaign_from_its_file_to_its_reports(campaign, tmp_path):
    code, told, err = campaign("run", "three.toml")
    assert (code, told["result"], told["error"]) == (1, "failed", "2 of 3 runs failed")
    assert told["outcomes"] == {"saved": 1, "never-struck": 1, "lost": 1}
    assert counted("three.results") == [(1, "saved"), (2, "lost"), (3, "never-struck")]
    assert re.search(r"^ +\d+\.\d\d s  3 of 3  ", err, re.MULTILINE)  # as a run tells its milestones
    assert "Unable to read CPU state data" in err

    code, again, err = campaign("run", "three.toml")  # nothing is run twice
    assert (code, again["outcomes"]) == (1, told["outcomes"])
    assert "3 of them are in three.results" in err and "of 3  " not in err

    code, status, _err = campaign("status", "three.results")
    assert (code, status["runs"], status["left"]) == (0, 3, 0)

    code, report, _err = campaign("report", "three.results", "--out", "three.html")
    assert (code, report["report"]) == (0, "three.html")
    lost = next(failure for failure in report["failures"] if failure["outcome"] == "lost")
    page = (tmp_path / "three.html").read_text()
    assert lost["command"] in page and "Unable to read CPU state data" in page

    pasted = subprocess.run([*shlex.split(lost["command"]), "--json"], capture_output=True, text=True, check=False)
    assert json.loads(pasted.stdout)["error"].splitlines()[0] == lost["error"]

    code, refused, _err = campaign("report", "three.results", "--out", "three.results")
    assert (code, refused["error"]) == (2, "--out three.results holds the campaign's results: name another file")

    code, shown, _err = campaign("show", "three.results", "2")
    assert (code, shown["outcome"]) == (0, "lost")
    assert "Firmware-assisted dump is active" in shown["files"]["console.log"]

    code, compared, _err = campaign("compare", "three.results", "three.results")
    assert (code, compared["result"], compared["same"]) == (0, "done", 3)


def test_a_campaign_that_is_killed_goes_on_where_it_was(campaign):
    """It is killed as soon as one run has ended; what was under way is run again, what has ended isn't."""
    with subprocess.Popen([*FADUMP, "campaign", "run", "three.toml", "--jobs", "1"], stdout=subprocess.PIPE) as killed:
        for line in killed.stdout:
            if b" 1 of 3 " in line:
                killed.send_signal(signal.SIGKILL)
                break
        killed.stdout.read()
    assert killed.returncode == -signal.SIGKILL
    before = counted("three.results")
    assert 1 <= len(before) < 3
    code, _told, err = campaign("run", "three.toml")
    assert code == 1
    assert f"3 runs, {len(before)} of them are in three.results" in err
    assert counted("three.results") == [(1, "saved"), (2, "lost"), (3, "never-struck")]


def test_a_campaign_that_is_interrupted_ends_its_runs(campaign, tmp_path):
    (tmp_path / "long.toml").write_text('[factors]\ncycles = [1000]\n[always]\nmemory = "1G"')
    with subprocess.Popen(
        [*FADUMP, "campaign", "run", "long.toml", "--json"], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as interrupted:
        assert b"1 run" in interrupted.stderr.readline()
        interrupted.send_signal(signal.SIGTERM)
        out, _err = interrupted.communicate()
    assert interrupted.returncode == 128 + signal.SIGTERM, (out, _err)
    assert json.loads(out)["error"] == "ended by SIGTERM"
    assert counted("long.results") == []
    assert not list((tmp_path / "cache" / "campaign").glob("*"))


def test_the_list_runs_nothing(campaign, tmp_path):
    code, told, _err = campaign("run", "three.toml", "--list")
    assert code == 0
    assert told["runs"][1] == {"number": 2, "factors": {"fault": ["registers=no-end"]}}
    assert not (tmp_path / "three.results").exists()


def test_runs_that_take_long_to_choose_are_waited_for_aloud(campaign, monkeypatch):
    ticks = itertools.count(step=10)
    monkeypatch.setattr(campaign_run, "Step", functools.partial(Step, clock=lambda: float(next(ticks))))
    code, told, err = campaign("run", "three.toml", "--list")
    assert (code, len(told["runs"])) == (0, 3)
    assert "the runs are chosen and checked: 1 of 3 runs" in err


def test_files_that_take_long_to_read_are_waited_for_aloud(campaign, monkeypatch):
    """They take as long as nothing has been said of them; an image of 3 GiB takes seconds."""
    said = threading.Event()

    class Told(Step):
        def status(self):
            if self.label.startswith("the files"):
                said.set()
            return super().status()

    def read(*_given):
        assert said.wait(60)
        raise SetupError("they are read")

    ticks = itertools.count(step=10)
    monkeypatch.setattr(campaign_run, "Step", functools.partial(Told, clock=lambda: float(next(ticks))))
    monkeypatch.setattr(campaign_run, "prepare", read)
    code, told, err = campaign("run", "three.toml")
    assert (code, told["error"]) == (125, "they are read")
    assert "the files that the runs need are read: " in err


REFUSED = {
    '[factors]\nmemory = ["4"]': "run 1, memory=4: --memory 4: that is 4 bytes: write 4G; change it, or",
    '[factors]\nplatform = ["powernv"]\nmemory = ["2G"]': "run 1, platform=powernv memory=2G: --platform powernv needs",
    '[factors]\nmemroy = ["2G"]': "there is no memroy in [factors]; did you mean memory?",
    '[factors]\nout = ["x"]': "there is no out in [factors]",
    '[factors]\njunit = ["x"]': "there is no junit in [factors]",
    '[factors]\ncpus = [1]\n[always]\nartifacts = "x"': "there is no artifacts in [always]",
    '[factors]\nmachine = ["qemu"]\nguest = ["/x.img"]\nfault = ["second-crash"]': "goes with fadump run",
    "[factors]\nconfiguration = [1, 1000]": "run 2, configuration=1000: --only 1000 is beyond the 163 of the set",
    '[factors]\nconfiguration = [1]\nplatform = ["pseries"]': "run 1, configuration=1 platform=pseries: there is no",
    '[factors]\nguest = ["debian"]\nkernel = [["6.1", "6.12"]]': "kernel=6.1+6.12 is more than one",
}


@pytest.mark.parametrize("text", REFUSED, ids=REFUSED.values())
def test_what_no_command_takes_is_refused_before_anything_is_run(campaign, tmp_path, text):
    (tmp_path / "three.toml").write_text(text)
    code, told, err = campaign("run", "three.toml")
    assert (code, told["result"]) == (2, "failed")
    assert REFUSED[text] in told["error"] and "Traceback" not in err
    assert {path.name for path in tmp_path.iterdir()} <= {"cache", "three.toml"}


def test_a_name_does_not_control_the_terminal_and_need_not_be_utf_8(campaign, tmp_path, capsys):
    (tmp_path / "red.toml").write_text('name = "\\u001b[31mx"\n[factors]\ncpus = [1]')
    plan = Plan("\x1b[31mx", "0", [Planned(1, {"cpus": ("1",)}, ["run", "--cpus=1"])], [])
    for path in (tmp_path / "red.results", tmp_path / "\udcff.results"):
        with Results.create(path, plan) as results:
            results.add(1, kept_run())
    code, told, err = campaign("run", "red.toml", "--results", "red.results")
    assert (code, told["name"]) == (0, "\x1b[31mx")
    assert r"campaign \x1b[31mx, seed 0" in err
    for words in (["status", "\udcff.results"], ["show", "\udcff.results", "1"], ["report", "\udcff.results"]):
        assert cli.main(["campaign", *words]) == 0
        assert "\x1b" not in capsys.readouterr().out
    for name in ("page.html", "page.txt"):
        assert campaign("report", "\udcff.results", "--out", name)[0] == 0
        page = (tmp_path / name).read_text()
        assert r"from \udcff.results" in page and "\x1b" not in page


def test_what_could_not_be_tried_is_tried_again(campaign, tmp_path):
    plan = Plan("three", "0", [Planned(1, {"cpus": ("1",)}, ["run", "--memory=1G", "--cpus=1"])], [])
    (tmp_path / "three.toml").write_text('[factors]\ncpus = [1]\n[always]\nmemory = "1G"')
    with Results.create(tmp_path / "three.results", plan) as results:
        results.add(1, kept_run(Outcome.NOT_TRIED, "no room"))
    assert campaign("run", "three.toml")[0] == 0
    assert counted("three.results") == [(1, "saved")]


def test_a_missing_scheduler_is_said(campaign):
    code, told, err = campaign("run", "three.toml", "--scheduler", "tcp://127.0.0.1:9")
    assert code == 125
    assert told["error"].startswith("there is no Dask scheduler at tcp://127.0.0.1:9 (")
    assert "Traceback" not in err
    code, told, err = campaign("run", "three.toml", "--scheduler", "nonsense://")
    assert code == 125 and "Traceback" not in err


def test_got_worse_is_exit_code_1(campaign, tmp_path):
    plan = Plan("one", "0", [Planned(1, {"cpus": ("1",)}, ["run", "--cpus=1"])], [])
    for name, outcome in (("old", Outcome.SAVED), ("new", Outcome.LOST)):
        with Results.create(tmp_path / name, plan) as results:
            results.add(1, kept_run(outcome, "why"))
    code, told, err = campaign("compare", "old", "new")
    assert (code, told["result"], told["error"]) == (1, "worse", "1 run got worse")
    assert "worse: cpus=1: saved -> lost\n  why\n  again: " in err
    assert campaign("compare", "new", "old")[0] == 0


@pytest.mark.parametrize("command", ["status", "report", "show", "compare"])
def test_a_file_that_has_no_results_is_said(campaign, tmp_path, command):
    more = {"show": ["1"], "compare": ["three.toml"]}.get(command, [])
    code, told, _err = campaign(command, "three.toml", *more)
    assert code == 1 and "three.toml has no campaign's results" in told["error"]
    assert campaign(command, "nothing", *more)[0] == 125


def test_on_a_terminal_a_table_moves_and_leaves_nothing_behind(campaign, tmp_path):
    words = [*FADUMP[1:], "campaign", "run", "three.toml"]
    terminal = pexpect.spawn(FADUMP[0], words, cwd=tmp_path, encoding="utf-8", timeout=120, dimensions=(24, 100))
    shown = terminal.read()
    terminal.close()
    assert terminal.exitstatus == 1
    table, _taken_away, after = shown.rpartition("\x1b[2K")
    assert "0 of 3 runs" in table and "3 of 3 runs" in table and "fault=registers=no-end" in table
    assert after.splitlines()[0].endswith("1 saved, 1 never-struck, 1 lost") and "of 3 runs" not in after

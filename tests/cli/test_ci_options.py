"""``--junit`` and ``--artifacts`` on the model of Linux: what a CI's job keeps, however the command has ended."""

import itertools
import json
import re
import stat
import subprocess
import sys
from html.parser import HTMLParser

import pytest
from junitparser import Error, Failure, JUnitXml, Skipped

from fadump.cli import main
from fadump.memory.devicetree import DeviceTree
from fadump.observer import Milestone
from tests.small_disk import run_on_a_small_disk

COMMAND = [sys.executable, "-m", "fadump"]
LOST = ["--fault", "dump=missing"]


@pytest.fixture
def run(tmp_path, monkeypatch, capsys):
    """Runs ``fadump run`` in a directory of its own; returns its exit code, its object and stderr."""
    monkeypatch.chdir(tmp_path)

    def run(*words):
        status = main(["run", "--json", *words])
        captured = capsys.readouterr()
        return status, json.loads(captured.out), captured.err

    return run


def cases(file):
    (suite,) = JUnitXml.fromfile(file)
    return {case.name: [type(result) for result in case.result] for case in suite}


class Links(HTMLParser):
    """What a page links to, and its text."""

    def __init__(self, page):
        super().__init__()
        self.links, self.text = [], ""
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.links += [value for name, value in attrs if name in ("href", "src")]

    def handle_data(self, data):
        self.text += data


def test_a_good_run_is_all_passed(run, tmp_path):
    status, object_, _err = run("--verify", "--junit", "reports/fadump.xml")
    assert status == 0
    expected = [*map(str, Milestone), "verified: memory", "verified: registers"]
    found = cases(tmp_path / "reports/fadump.xml")
    assert set(expected) <= {*found} and not any(found.values())
    (suite,) = JUnitXml.fromfile(tmp_path / "reports/fadump.xml")
    assert suite.name == "fadump.run.embedded.pseries"
    command = "fadump run --json --verify --junit reports/fadump.xml"
    assert command in [each.value for each in suite.properties()]
    at = [step["at_seconds"] for step in object_["timeline"]]
    between = [later - earlier for earlier, later in itertools.pairwise(at)]
    assert [case.time for case in suite][1:9] == pytest.approx(between, abs=0.002)


def test_the_artifacts_of_a_good_run_have_an_index_and_no_dump(run, tmp_path):
    status, object_, _err = run("--artifacts", "kept", "--memory", "1G")
    kept = tmp_path / "kept"
    assert status == 0
    index = json.loads((kept / "index.json").read_text())
    assert (index["exit_code"], index["object"]) == (0, object_)
    trees = {"device-tree.1.dtb", "device-tree.2.dtb"}
    names = {"console.log", "firmware.log", "timeline.json", "dmesg.txt"} | trees
    assert {file["name"]: file["bytes"] for file in index["files"]} == {
        name: (kept / name).stat().st_size for name in names
    }
    assert {path.name for path in kept.iterdir()} == names | {"index.html", "index.json"}
    assert (kept / "console.log").read_bytes() == (tmp_path / "fadump-run/console.log").read_bytes()
    assert "sysrq: Trigger a crash" in (kept / "dmesg.txt").read_text()
    rtas = [DeviceTree.parse((kept / name).read_bytes()).node("/rtas", "the firmware") for name in sorted(trees)]
    assert ["ibm,kernel-dump" in node.properties for node in rtas] == [False, True]
    page = Links((kept / "index.html").read_text())
    assert {*page.links} == names | {"index.json"}
    assert "Exit code 0" in page.text and all(milestone in page.text for milestone in Milestone)
    assert all(stat.S_IMODE(path.stat().st_mode) & 0o077 == 0 for path in (kept, *kept.iterdir()))


def test_a_directory_whose_name_is_not_utf_8_is_one_of_the_artifacts(run, tmp_path):
    status, _object, _err = run("--artifacts", "kept", "--memory", "1G", "--out", "\udcff", "--junit", "fadump.xml")
    assert status == 0
    page = Links((tmp_path / "kept" / "index.html").read_text())
    assert r"--out '\udcff'" in page.text
    assert cases(tmp_path / "fadump.xml")


def test_the_dump_comes_along_if_it_is_asked_for(run, tmp_path):
    run("--artifacts", "kept", "--with-dump")
    assert (tmp_path / "kept/vmcore").stat().st_size == (tmp_path / "fadump-run/vmcore").stat().st_size
    assert stat.S_IMODE((tmp_path / "kept/vmcore").stat().st_mode) == 0o600
    assert run("--artifacts", "kept")[0] == 0
    assert not (tmp_path / "kept/vmcore").exists()


def test_each_cycle_has_its_log(run, tmp_path):
    run("--artifacts", "kept", "--cycles", "2")
    assert {"dmesg.1.txt", "dmesg.2.txt"} < {path.name for path in (tmp_path / "kept").iterdir()}


def test_a_lost_dump_says_what_was_not_reached_and_why(run, tmp_path):
    status, object_, _err = run(*LOST, "--junit", "junit.xml", "--artifacts", "kept")
    assert (status, object_["result"]) == (1, "failed")
    found = cases(tmp_path / "junit.xml")
    assert found[object_["phase"]] == [Failure]
    reached, missed = ([name for name, result in found.items() if result == kind] for kind in ([], [Skipped]))
    assert [*reached, object_["phase"], *missed] == [*map(str, Milestone)]
    (suite,) = JUnitXml.fromfile(tmp_path / "junit.xml")
    (failed,) = [case for case in suite if case.result and isinstance(case.result[0], Failure)]
    assert failed.result[0].text.startswith(object_["error"])
    console = (tmp_path / "fadump-run/console.log").read_text()
    assert failed.system_out.splitlines()[-1] == console.splitlines()[-1]
    index = json.loads((tmp_path / "kept/index.json").read_text())
    assert index["object"] == object_
    page = (tmp_path / "kept/index.html").read_text()
    assert object_["error"].splitlines()[0] in Links(page).text


def test_what_could_not_be_tried_is_an_error(run, tmp_path):
    status, _object, _err = run(
        "--machine", "qemu", "--kernel", "nowhere", "--junit", "junit.xml", "--artifacts", "kept"
    )
    assert status == 125
    assert cases(tmp_path / "junit.xml")["power_on"] == [Error]
    assert json.loads((tmp_path / "kept/index.json").read_text())["files"] == []


def test_the_files_of_an_earlier_run_are_not_taken_for_this_one_s(run, tmp_path):
    run("--artifacts", "kept")
    (tmp_path / "kept/mine").touch()
    run("--machine", "qemu", "--kernel", "nowhere", "--artifacts", "kept")
    assert {path.name for path in (tmp_path / "kept").iterdir()} == {"index.html", "index.json", "mine"}


def test_a_run_that_is_ended_by_a_signal_leaves_them_too(tmp_path):
    words = ["run", "--cycles", "1000", "--out", tmp_path / "out", "--junit", tmp_path / "junit.xml"]
    with subprocess.Popen([*COMMAND, *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as started:
        for line in started.stdout:
            if "is saved" in line:
                break
        started.terminate()
        started.communicate()
    assert started.returncode == 143
    assert [Error] in cases(tmp_path / "junit.xml").values()


def test_time_that_is_over_is_a_failure_with_its_phase(run, tmp_path):
    status, object_, _err = run("--cycles", "1000", "--timeout", "1.5", "--junit", "junit.xml")
    assert (status, object_["error"]) == (1, "not done within the 1.5 seconds of --timeout")
    failed = [name for name, result in cases(tmp_path / "junit.xml").items() if result == [Failure]]
    assert [re.sub(r"cycle \d+: ", "", name) for name in failed] == [object_["phase"]]


def test_wrong_usage_writes_nothing_and_leaves_nothing_of_an_earlier_run(run, tmp_path):
    (tmp_path / "junit.xml").write_text("of an earlier run")
    assert run("--cpus", "0", "--junit", "junit.xml", "--artifacts", "kept")[0] == 2
    assert not (tmp_path / "junit.xml").exists()
    assert not any((tmp_path / "kept").iterdir())


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--artifacts", "."], "--artifacts . has files of others: name a directory that is empty, or isn't there"),
        (["--artifacts", "file"], "--artifacts file can't be written: Not a directory"),
        (["--junit", "file/junit.xml"], "--junit file/junit.xml can't be written: "),
        (["--junit", "."], "--junit . can't be written: Is a directory"),
    ],
)
def test_where_they_can_not_be_is_said_before_anything_is_started(run, tmp_path, words, sentence):
    (tmp_path / "file").touch()
    status, object_, _err = run(*words)
    assert status == 125 and object_["error"].startswith(sentence)
    assert not (tmp_path / "fadump-run").exists()


@pytest.mark.parametrize("content", ['{"files": [{"name": "mine"}]}', "[]", "", "[" * 100_000])
def test_an_index_of_somebody_else_s_is_left_alone_with_its_files(run, tmp_path, content):
    (tmp_path / "public").mkdir()
    for name, text in {"index.json": content, "index.html": "my page", "mine": "my file"}.items():
        (tmp_path / "public" / name).write_text(text)
    status, object_, _err = run("--artifacts", "public")
    assert status == 125 and "has files of others" in object_["error"]
    assert (tmp_path / "public" / "index.html").read_text() == "my page"
    assert (tmp_path / "public" / "mine").read_text() == "my file"


def test_artifacts_that_a_disk_has_no_room_for_are_not_begun(tmp_path):
    (tmp_path / "disk").mkdir()
    words = ["run", "--memory", "1G", "--out", str(tmp_path / "out"), "--artifacts", "kept"]
    status, told, left = run_on_a_small_disk(tmp_path / "disk", "size=16k", *words)
    assert (status, told["error"]) == (1, "--artifacts kept can't be written: No space left on device")
    assert not left


def test_links_in_a_circle_are_no_place_for_artifacts(run, tmp_path):
    (tmp_path / "circle").symlink_to(tmp_path / "circle")
    status, object_, _err = run("--artifacts", "circle")
    assert (status, object_["error"]) == (125, "--artifacts circle can't be written: File exists")


def test_artifacts_are_not_where_the_files_are_that_they_are_copied_from(run, tmp_path):
    status, object_, _err = run("--artifacts", "fadump-run/../fadump-run")
    assert (status, object_["error"]) == (2, "--artifacts is what is copied out of --out: name two directories")
    assert not (tmp_path / "fadump-run").exists()


def test_a_dump_needs_a_place_to_go_to(run):
    assert run("--with-dump")[:2] == (
        2,
        {"result": "failed", "error": "--with-dump goes with --artifacts DIR", "phase": "power_on"},
    )

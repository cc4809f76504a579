"""``fadump compare`` on scripted stories: what it prints, its JSON and exit codes."""

import json
from pathlib import Path

import pytest
from junitparser import Error, Failure, JUnitXml

from fadump import cli
from fadump.cli import compare as command
from fadump.compare.campaign import Subject
from fadump.compare.configuration import full_set
from fadump.compare.differences import Explanation
from fadump.compare.seen import FIRST_BOOT, Moment, Seen
from fadump.compare.setup import check_host
from fadump.compare.store import Store
from fadump.errors import MachineError, SetupError
from fadump.kit.qemu import Qemu
from tests.small_disk import run_on_a_small_disk

ANSWERS = {"messages": "<6>fadump: Reserved 1MB", "read /sys/kernel/fadump/mem_reserved": "444 1\n"}


@pytest.fixture
def compare(monkeypatch, capsys, tmp_path):
    """Runs the command where Linux and the model answer as is said; returns status, stdout and stderr."""

    def compare(*arguments, linux=ANSWERS, model=ANSWERS):
        def subjects(wanted, _qemu, _store):
            return [Subject(configuration, "kernel", see) for configuration in wanted]

        def see():
            if isinstance(linux, Exception):
                raise linux
            return Seen("6.12", [Moment(FIRST_BOOT, linux)], [])

        monkeypatch.setattr(command, "subjects", subjects)
        monkeypatch.setattr(command, "open_store", lambda directory, _qemu: Store(directory, "basis"))
        monkeypatch.setattr("fadump.compare.campaign.see_model", lambda *_given: [Moment(FIRST_BOOT, model)])
        status = cli.main(["compare", "--out", str(tmp_path), *arguments])
        return status, *capsys.readouterr()

    return compare


def test_the_list_is_the_whole_set_and_runs_nothing(compare):
    status, out, _err = compare("--list", "--seed", "7", linux=AssertionError("it is run"))
    lines = out.splitlines()
    assert status == 0
    assert lines == [f"{number:4} {configuration.title}" for number, configuration in enumerate(full_set("7"), 1)]


def test_the_list_is_one_object_with_json(compare):
    status, out, _err = compare("--list", "--only", "2", "--json", linux=AssertionError("it is run"))
    wanted = full_set("0")[1].as_json()
    assert (status, json.loads(out)) == (
        0,
        {"result": "done", "seed": "0", "configurations": [{"number": 2, "configuration": wanted}]},
    )


def test_where_nothing_differs(compare):
    status, out, err = compare("--count", "3", "--json")
    assert status == 0
    assert json.loads(out) == {
        "result": "same",
        "seed": "0",
        "configurations": 3,
        "reservations": 1,
        "crashed": 0,
        "differences": [],
        "explained": [],
        "not_compared": [],
    }
    assert err.startswith("seed 0, 3 configurations\n")
    assert "3 configurations compared, 1 different reservation, 0 crashed: 0 differences, 0 explained" in err


def test_a_difference_is_told_with_what_runs_it_again(compare):
    status, out, _err = compare("--only", "2", model={**ANSWERS, "messages": "<6>fadump: Reserved 2MB"})
    assert status == 1
    lines = out.splitlines()
    assert lines[1:6] == [
        full_set("0")[1].title,
        "  first boot, messages",
        "    Linux: <6>fadump: Reserved 1MB",
        "    model: <6>fadump: Reserved 2MB",
        "  again: fadump compare --seed 0 --only 2",
    ]
    status, out, _err = compare("--only", "2", "--json", model={})
    told = json.loads(out)
    assert (status, told["result"], len(told["differences"])) == (1, "different", 2)
    assert (told["error"], told["phase"]) == ("2 differences between the model and Linux", None)
    assert told["differences"][0]["linux"] == ["<6>fadump: Reserved 1MB"]
    assert told["differences"][0]["configuration"]["series"] in ("6.1", "6.12")


def test_differences_with_one_explanation_are_told_as_one(compare, monkeypatch):
    known = Explanation("known", "Linux does so", "file.c:function", lambda _difference: True)
    monkeypatch.setattr("fadump.compare.campaign.EXPLANATIONS", (known,))
    status, out, err = compare("--count", "3", "--json", model={})
    told = json.loads(out)
    assert (status, told["result"], told["differences"]) == (0, "same", [])
    (explained,) = told["explained"]
    assert (explained["explanation"], explained["source"], explained["times"]) == ("known", "file.c:function", 6)
    assert len(explained["differences"]) == 6 and "linux" in explained["differences"][0]
    assert "0 differences, 1 explained\n  6 times known: Linux does so  [file.c:function]" in err


def test_what_could_not_be_compared_is_no_success(compare):
    status, out, err = compare("--count", "2", "--json", linux=MachineError("silent"))
    told = json.loads(out)
    assert (status, told["configurations"], len(told["not_compared"])) == (1, 0, 2)
    assert told["error"] == "0 differences between the model and Linux, and 2 configurations could not be compared"
    assert told["not_compared"][0]["reason"].startswith("silent; the console is in ")
    assert "not compared: silent" in err


def test_what_is_missing_is_one_sentence(compare):
    status, out, err = compare("--count", "2", "--json", linux=SetupError("no QEMU on this machine"))
    assert status == 125
    assert json.loads(out) == {"result": "failed", "error": "no QEMU on this machine", "phase": None}
    assert err.splitlines()[-1] == "fadump: no QEMU on this machine"


def test_a_number_beyond_the_set_is_a_sentence(compare):
    status, _out, err = compare("--only", "9999", linux=AssertionError("it is run"))
    assert (status, err) == (2, "fadump: --only 9999 is beyond the 163 of the set\n")
    status, out, err = compare("--count", "2", "--only", "3", "--json")
    assert (status, err) == (2, "fadump: --only 3 is beyond --count 2\n")
    assert json.loads(out) == {"result": "failed", "error": "--only 3 is beyond --count 2", "phase": None}


def test_what_runs_it_again_can_be_typed_whatever_the_seed(compare):
    _status, out, _err = compare("--only", "2", "--seed", "it's", model={})
    assert """  again: fadump compare --seed 'it'"'"'s' --only 2""" in out.splitlines()


@pytest.mark.parametrize("arguments", [["--count", "0"], ["--jobs", "x"], ["--only", "-1"], ["--nothing"]])
def test_wrong_usage(compare, arguments):
    status, _out, err = compare(*arguments)
    assert (status, err.count("\n")) == (2, 1)


def test_more_guests_than_the_host_has_memory_for_are_refused(compare):
    status, _out, err = compare("--count", "1", "--jobs", "1000000", linux=AssertionError("it is run"))
    assert status == 125
    assert "--jobs 1000000 needs" in err
    with pytest.raises(SetupError, match="--jobs 1000000 needs .* GiB of this machine, which has"):
        check_host(1_000_000)


def test_a_disk_without_room_for_a_file_is_a_failure(tmp_path):
    words = ("compare", "--only", "1", "--jobs", "1", "--out", "new")
    status, told, left = run_on_a_small_disk(tmp_path, "size=1m,nr_inodes=2", *words)
    assert (status, told["error"], left) == (1, "can't write to new: No space left on device", {})


def test_the_newest_qemu_is_the_one_that_is_fetched(monkeypatch, capsys, tmp_path):
    fetched = Qemu(Path("/fetched/run"), "11.1.2", "1:11.1.2-1", "forky", "amd64")
    monkeypatch.setattr("fadump.run.qemu_files.fetch_qemu", lambda: fetched)
    assert cli.main(["compare", "--jobs", "1", "--only", "1", "--qemu", "newest", "--out", str(tmp_path)]) == 125
    assert "/fetched/run does not run (No such file or directory): install" in capsys.readouterr().err


def test_junit_has_a_case_for_each_configuration(compare, tmp_path):
    file, sets = tmp_path / "junit.xml", full_set("0")
    words = ("--only", "1", "--only", "3", "--junit", str(file))
    for linux, model, result in (
        (ANSWERS, ANSWERS, []),
        (ANSWERS, ANSWERS | {"messages": "<6>fadump: Reserved 2MB"}, [Failure]),
        (MachineError("it hangs"), ANSWERS, [Error]),
    ):
        store = tmp_path / f"{len(result)}{result}"
        compare(*words, "--out", str(store), linux=linux, model=model)
        (suite,) = JUnitXml.fromfile(file)
        assert [case.name for case in suite] == [sets[0].title, sets[2].title]
        assert [[type(each) for each in case.result] for case in suite] == [result, result]
    assert all("it hangs" in case.result[0].text for case in suite)

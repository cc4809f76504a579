"""fadump doctor: its exit codes are monitoring's, its object has everything, and it needs Python alone."""

import json

import pytest

from fadump.cli import main
from tests.cli.test_without_packages import run_without_packages
from tests.service.doctor.trees import Tree, booted, powervm


@pytest.fixture
def tree(tmp_path):
    """A partition that is registered, and kdump-tools saves from it."""
    tree = booted(tmp_path, "fadump=nocma", on_tree=powervm)
    tree.kdump_tools()
    return tree


@pytest.fixture
def doctor(capsys):
    def run(tree, *words):
        status = main(["doctor", "--root", str(tree.directory), *words])
        return (status, *capsys.readouterr())

    return run


def disarm(tree):
    tree.put("/sys/kernel/fadump/registered", "0\n")


def let_it_hang(tree):
    tree.put("/proc/sys/kernel/panic", "0\n")


@pytest.mark.parametrize(("change", "status", "severity", "result"), [
    (lambda _tree: None, 0, "good", "saved"), (let_it_hang, 1, "warning", "saved"),
    (disarm, 2, "critical", "not-saved"),
])  # fmt: skip
def test_the_exit_code_is_monitoring_s(doctor, tree, change, status, severity, result):
    change(tree)
    ended, out, err = doctor(tree)
    verdict = out.splitlines()[0]
    assert (ended, err) == (status, "")
    ended, out, err = doctor(tree, "--json")
    told = json.loads(out)
    assert (ended, told["severity"], told["result"], told["verdict"]) == (status, severity, result, verdict)
    assert err.splitlines()[0] == verdict
    worst = told["findings"][0]["text"]
    assert told.get("error") == {0: None, 1: worst, 2: verdict}[status]


def test_the_object_has_the_verdict_s_parts_and_every_finding(doctor, tree):
    let_it_hang(tree)
    _status, out, _err = doctor(tree, "--json")
    told = json.loads(out)
    assert (told["service"], told["target"]) == ("kdump-tools", "/var/crash")
    assert {tuple(finding) for finding in told["findings"]} == {("check", "severity", "text", "mend")}
    first = told["findings"][0]
    assert (first["check"], first["severity"]) == ("panic", "warning") and "sysctl -p" in first["mend"]
    assert {"firmware", "kernel", "registration", "service"} <= {finding["check"] for finding in told["findings"]}


def test_how_much_is_said(doctor, tree):
    tree.put("/proc/sys/kernel/panic_on_oops", "0\n")
    let_it_hang(tree)
    lines = {words: doctor(tree, *words)[1].splitlines() for words in [(), ("-q",), ("-v",)]}
    heads = {words: [line.split(":")[0] for line in told[1:] if line[0] != " "] for words, told in lines.items()}
    assert heads[()] == ["warning", "note"] and heads[("-q",)] == ["warning"]
    assert heads[("-v",)][:2] == ["warning", "note"] and set(heads[("-v",)][2:]) == {"good"}
    assert lines[()][1].startswith("warning: panic: kernel.panic is 0")
    assert lines[()][2].startswith("    echo 'kernel.panic=10' >>/etc/sysctl.d/")


def test_what_a_system_calls_itself_does_not_reach_the_terminal(doctor, tree):
    tree.put("/sys/firmware/devicetree/base/model", b"\x1b[31mred\0")
    status, out, _err = doctor(tree, "-v")
    assert status == 0 and "\x1b" not in out and "\\x1b[31mred" in out


@pytest.mark.parametrize(
    "words", [["doctor"], ["doctor", "--root", "{empty}"], ["doctor", "--root", "{empty}/nothing"]]
)
def test_what_is_no_power_system_is_125(capsys, tmp_path, words):
    status = main([word.format(empty=tmp_path) for word in words])
    out, err = capsys.readouterr()
    assert (status, out) == (125, "") and err.startswith("fadump: ") and err.count("\n") == 1


def test_wrong_usage_is_2_and_says_nothing_on_stdout(capsys):
    assert main(["doctor", "--rot"]) == 2
    assert capsys.readouterr() == ("", "fadump doctor: there is no option --rot; did you mean --root?\n")


def test_it_runs_where_python_has_no_packages(tree):
    done = run_without_packages("doctor", "--root", tree.directory)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[0] == "A crash now would be saved to /var/crash by kdump-tools."


def test_the_service_that_needs_packages_says_so(tree):
    tree.unit("fadump-capture.service")
    done = run_without_packages("doctor", "--root", tree.directory)
    assert done.stdout.splitlines()[0] == "A crash now would be saved to /var/crash by kdump-tools."
    assert "note: service: fadump-capture.service saves nothing: this Python has no numpy, which" in done.stdout


def test_nothing_is_written(doctor, tree):
    before = {path: path.lstat().st_mtime_ns for path in tree.directory.rglob("*")}
    doctor(tree)
    assert {path: path.lstat().st_mtime_ns for path in tree.directory.rglob("*")} == before


def test_a_tree_with_nonsense_in_it_is_one_sentence(capsys, tmp_path):
    tree = Tree(tmp_path)
    base = "/sys/firmware/devicetree/base"
    tree.put(f"{base}/#address-cells", b"\0\0")
    tree.put(f"{base}/rtas/name", b"rtas\0")
    status = main(["doctor", "--root", str(tmp_path)])
    out, err = capsys.readouterr()
    assert (status, out, err.count("\n")) == (125, "", 1)


def test_programs_that_a_configuration_names_are_looked_for(capsys, tmp_path):
    config, script = tmp_path / "fadump.toml", tmp_path / "tell"
    script.write_text("#!/bin/sh\n")
    config.write_text(f'[hooks]\nbefore = ["/nothing", "-x"]\nafter = ["sh"]\n[notify]\ncommand = ["{script}"]\n')
    assert main(["doctor", "--config", str(config)]) == 1
    verdict, *found = capsys.readouterr().out.splitlines()
    assert verdict.startswith(f"{config} is right: ")
    assert found == [
        "warning: configuration: hooks.before can't be run: /nothing is not there, or not executable",
        f"warning: configuration: notify.command can't be run: {script} is not there, or not executable",
    ]
    script.chmod(0o755)
    assert main(["doctor", "--config", str(config)]) == 1
    assert "notify" not in capsys.readouterr().out


def test_a_configuration_is_checked_anywhere(capsys, tmp_path):
    config = tmp_path / "fadump.toml"
    config.write_text('[[target]]\ntype = "directory"\npath = "/srv"\n')
    assert main(["doctor", "--config", str(config)]) == 0
    assert capsys.readouterr().out == f"{config} is right: a dump would be saved to /srv, at level 31.\n"
    config.write_text('[save]\nlevel = 32\n[[target]]\ntype = "tape"\n')
    assert main(["doctor", "--config", str(config), "--json"]) == 2
    told = json.loads(capsys.readouterr().out)
    assert (told["result"], told["severity"]) == ("wrong", "critical")
    assert [(finding["check"], finding["text"].split(":")[0]) for finding in told["findings"]] == [
        ("configuration", "line 2"), ("configuration", "line 4"),
    ]  # fmt: skip
    assert main(["doctor", "--config", str(tmp_path / "nothing")]) == 125
    assert main(["doctor", "--config", str(config), "--root", "/"]) == 2

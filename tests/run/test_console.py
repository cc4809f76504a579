"""Where a command's error says that the console is."""

import json

import pytest

from fadump.cli import main
from fadump.errors import MachineError
from fadump.run.console import telling_log


class Work:
    """What is done before it fails."""

    def __init__(self, *to_do):
        self._to_do = to_do

    def fail(self, log):
        for work in self._to_do:
            work(log)
        raise MachineError("no")


def written(text):
    return lambda log: log.write_text(text)


def made_anew(log):
    log.rename(log.with_suffix(".old"))
    log.write_text("SLOF")


@pytest.mark.parametrize(
    ("before", "work", "is_told"),
    [
        (None, Work(written("SLOF")), True),
        (None, Work(written("")), False),
        (None, Work(), False),
        ("of an earlier run", Work(), False),
        ("of an earlier run", Work(made_anew), True),
        ("", Work(written("SLOF")), True),
    ],
)
def test_a_log_is_told_of_if_something_has_come_into_it(tmp_path, before, work, is_told):
    log = tmp_path / "console.log"
    if before is not None:
        log.write_text(before)
    with pytest.raises(MachineError) as raised, telling_log(log):
        work.fail(log)
    assert raised.value.console == (log if is_told else None)


def test_a_run_that_fails_says_once_where_its_console_is(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["run", "--fault", "register=-1"]) == 1
    assert capsys.readouterr().err.splitlines()[-1] == "fadump: the console is in fadump-run/console.log"
    assert main(["run", "--fault", "register=-1", "--json"]) == 1
    out, err = capsys.readouterr()
    assert json.loads(out)["console"] == "fadump-run/console.log"
    assert err.count("the console is in") == 1
    assert main(["run", "--memory", "1G", "--cpus", "4096"]) == 2
    assert "console" not in capsys.readouterr().err

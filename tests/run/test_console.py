"""Where a command's error says that the console is."""

import json
import re
import signal

import pytest

from fadump.cli import main
from fadump.errors import MachineError, SetupError, UsageError, note_phase
from fadump.run.console import telling_log, unless_silent
from fadump.signals import EndedBySignal, OutOfTime


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


def test_a_run_that_fails_once_its_dump_is_saved_says_where_that_is(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    words = ["run", "--fault", "register=served*1,hardware-error"]
    assert main(words) == 1
    assert "fadump: the dump is saved, in fadump-run/vmcore" in capsys.readouterr().err.splitlines()
    assert main([*words, "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["vmcore"] == "fadump-run/vmcore"
    assert main(["run", "--fault", "register=-1", "--json"]) == 1
    out, err = capsys.readouterr()
    assert "vmcore" not in json.loads(out)
    assert "is saved" not in err


FIRMWARE = b"SLOF**********\r\nBooting from memory...\r\n"
PROM_INIT = b"OF stdout device is: /vdevice/vty@71000000\r\nPreparing to boot Linux version 6.12.0 (gcc) #1\r\n"
BANNERS = [
    b"[    0.000000] Linux version 6.12.0 (gcc) #1\r\n",
    b"[    0.000000][    T0] Linux version 6.12.0 (gcc) #1\r\n",
    b"Linux version 6.12.0 (gcc) #1\r\n",
]
SILENT = "Linux has not come to its console, so it could not be tried"


def give_up(log, error, said=None):
    """Have a machine on whose console that was said end in an error; None: it has no console."""
    with unless_silent(log):
        if said is not None:
            log.rename(log.with_suffix(".old"))
            log.write_bytes(said)
        raise error


@pytest.mark.parametrize("said", [None, b"", FIRMWARE, FIRMWARE + PROM_INIT])
def test_a_machine_whose_linux_has_said_nothing_was_not_tried(tmp_path, said):
    log = tmp_path / "console.log"
    log.write_bytes(BANNERS[0])  # of an earlier run
    with pytest.raises(SetupError, match=f"^{re.escape(SILENT)}: no luck$"):
        give_up(log, MachineError("no luck"), said)


@pytest.mark.parametrize("banner", BANNERS)
def test_one_whose_linux_has_begun_to_boot_was(tmp_path, banner):
    log = tmp_path / "console.log"
    log.touch()
    with pytest.raises(MachineError, match="^no luck$"):
        give_up(log, MachineError("no luck"), FIRMWARE + PROM_INIT + banner)


def test_phase_and_reason_stay_and_time_that_is_over_counts_as_well(tmp_path):
    error = OutOfTime(9)
    note_phase(error, "registered", "the firmware's")
    with pytest.raises(SetupError, match=r"tried: not done within the 9 seconds of --timeout$") as raised:
        give_up(tmp_path / "console.log", error)
    assert (raised.value.phase, raised.value.firmware) == ("registered", "the firmware's")


@pytest.mark.parametrize("error", [UsageError("not so"), SetupError("no kernel"), EndedBySignal(signal.SIGINT)])
def test_any_other_end_is_what_it_was(tmp_path, error):
    with pytest.raises(type(error)) as raised:
        give_up(tmp_path / "console.log", error)
    assert raised.value is error

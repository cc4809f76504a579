"""Each fault on the embedded machine: how the run ends, what the model of Linux says, and no exception of ours."""

import itertools
import json
import pickle
import re

import pytest

from fadump.abi.platform import Platform
from fadump.cli import main
from fadump.cycle import CycleFaults
from fadump.firmware.faults import StatusFault
from fadump.machine.qemu.config import Fault
from fadump.run.faults import FAULT_NAMES, UnknownFaultError, fault_list, parse_faults
from tests.run.fault_table import OTHERWISE, ROWS, End

MEMORY = {Platform.PSERIES: "1G", Platform.POWERNV: "4G"}
NAMED = [fault for names in FAULT_NAMES.values() for fault in names.dump_faults]
LATE_CUT = 10
ASKED_AGAIN = {
    Platform.PSERIES: ["success", "busy", "delay-1ms", "delay-100s", "already-registered"],
    Platform.POWERNV: ["success"],
}
"""Statuses that don't mean failure to Linux."""
ENDS = {
    End.SAVED: (0, "saved", True, 0),
    End.NEVER_STRUCK: (1, "saved", True, 1),
    End.NOT_IN_PRODUCTION: (1, "failed", True, 0),
    End.NO_DUMP: (1, "failed", False, 0),
}
"""Exit status, result, whether the dump was saved, and how many faults never struck."""


def run_with(out, capsys, platform, *options):
    command = ["run", "--machine", "embedded", "--json", "--platform", platform, "--memory", MEMORY[platform]]
    status = main([*command, "--out", str(out), *options])
    captured = capsys.readouterr()
    return status, json.loads(captured.out), captured.err


def by_name(row):
    return " ".join([row.platform, row.name, *row.options])


@pytest.mark.parametrize("row", ROWS, ids=by_name)
def test_a_run_with_a_fault_ends_as_linux_would_have_it(tmp_path, capsys, row):
    verify = (
        ["--verify"] if row.end is End.DIFFERENT or (row.end, row.platform) == (End.SAVED, Platform.PSERIES) else []
    )
    status, said, sentence = run_with(tmp_path, capsys, row.platform, "--fault", row.name, *row.options, *verify)
    console = (tmp_path / "console.log").read_text()
    assert row.said in console
    match row.end:
        case End.SAVED:
            assert (status, said["result"], said["never_struck"]) == (0, "saved", []), (said, sentence)
        case End.DIFFERENT:
            assert (status, said["result"], said["never_struck"]) == (1, "different", []), (said, sentence)
        case End.NEVER_STRUCK:
            assert (status, said["result"], len(said["never_struck"])) == (1, "saved", 1), (said, sentence)
        case End.NOT_IN_PRODUCTION:
            assert (status, said["result"]) == (1, "failed")
            assert (tmp_path / "vmcore").exists()
            assert row.said in said["error"]
        case End.DEAD_AT_RELEASE:
            assert (status, said["result"], (tmp_path / "vmcore").exists()) == (1, "failed", True)
            assert "waiting for the guest to report 'released': the guest's kernel has panicked: BUG: " in said["error"]
        case End.NO_DUMP:
            assert (status, said["result"]) == (1, "failed"), sentence
            assert not (tmp_path / "vmcore").exists()
        case End.PANIC:
            assert (status, said["result"]) == (1, "failed")
            assert re.search(
                r"while waiting for the guest to report 'hello': the guest's kernel has panicked: ", said["error"]
            )


@pytest.mark.parametrize(
    ("platform", "call"), [(platform, call) for platform, calls in OTHERWISE.items() for call in calls]
)
def test_any_other_status_ends_the_same_way(tmp_path, capsys, platform, call):
    names = FAULT_NAMES[platform]
    assert set(OTHERWISE[platform]) == set(names.calls)
    told = {row.name for row in ROWS if row.platform is platform} | {f"{call}={word}" for word in ASKED_AGAIN[platform]}
    end, ended = OTHERWISE[platform][call], {}
    for word in (*names.statuses, "-77", "7"):
        if f"{call}={word}" not in told:
            status, said, _sentences = run_with(tmp_path, capsys, platform, "--fault", f"{call}={word}")
            has_dump = said["result"] == "saved" or "could not reregister" in said["error"]
            ended[word] = (status, said["result"], has_dump, len(said.get("never_struck", [])))
    assert len(ended) >= 2
    assert set(ended.values()) == {ENDS[end]}, ended


def test_every_dump_fault_is_in_the_table():
    told = {(row.platform, row.name) for row in ROWS}
    named = {(platform, fault) for platform, names in FAULT_NAMES.items() for fault in names.dump_faults}
    assert not named - told


@pytest.mark.parametrize("platform", Platform)
def test_the_power_is_cut_at_any_event_and_the_dump_is_saved_all_the_same(tmp_path, capsys, platform):
    for cut_at in itertools.count(1):
        status, said, sentence = run_with(tmp_path, capsys, platform, "--fault", f"power-cut={cut_at}")
        assert said["result"] == "saved", (cut_at, sentence)
        if said["never_struck"]:
            break
        assert status == 0
        if cut_at == LATE_CUT:  # while the dump is saved
            assert said["reboots"] == 2
    assert (status, cut_at > LATE_CUT) == (1, True)
    assert sentence.endswith(
        f"\nfadump: --fault power-cut={cut_at} never struck: a cycle had no more than {cut_at - 1} events\n"
    )


@pytest.mark.parametrize(
    ("name", "options", "why"),
    [
        ("unregister=-1", [], "the kernel never made this call; it made register 3 times, terminate 1 time, "),
        ("power-cut=99999", ["--cycles", "2"], "a cycle had no more than 15 events"),
        ("parameters=short", ["--kernel-version", "6.1"], "of 1 dump none had what it changes"),
        ("registers=reversed", ["--cpus", "1"], "of 1 dump none had what it changes"),
    ],
)
def test_a_fault_that_never_struck_is_told(tmp_path, capsys, name, options, why):
    status, said, sentences = run_with(
        tmp_path, capsys, Platform.PSERIES, "--fault", "register=busy*1", "--fault", name, *options
    )
    assert (status, said["result"]) == (1, "saved")
    (told,) = said["never_struck"]
    assert (told["name"], told["why"][: len(why)]) == (name, why)
    assert f"\nfadump: --fault {name} never struck: {why}" in sentences


def test_linux_6_1_asks_a_busy_firmware_for_ever_and_is_told_so(tmp_path, capsys):
    status, said, _text = run_with(
        tmp_path, capsys, Platform.PSERIES, "--kernel-version", "6.1", "--fault", "terminate=busy"
    )
    assert status == 1
    assert "the guest asks for ever: the firmware has answered terminate with status -2 100000 times" in said["error"]


def test_several_faults_at_once(tmp_path, capsys):
    status, said, _text = run_with(
        tmp_path, capsys, Platform.PSERIES, "--verify", "--fault", "register=busy*1", "--fault", "dump=error",
        "--fault", "power-cut=9", "--fault", "second-crash", "--fault", "release-twice",
    )  # fmt: skip
    assert (status, said["result"]) == (0, "saved")


def test_names_of_every_kind_are_taken():
    faults = parse_faults(
        ["no-put-back", "register=-1", "registers=twice", "power-cut=3", "second-crash", "release-twice"],
        Platform.PSERIES,
    )
    assert faults.machine == {Fault.NO_PUT_BACK}
    assert [fault.name for fault in faults.firmware] == ["register=-1", "registers=twice"]
    assert isinstance(faults.firmware[0], StatusFault)
    cycle = faults.cycle
    assert (cycle.power_cut_at, cycle.second_crash, cycle.release_twice) == (3, True, True)


@pytest.mark.parametrize("name", ["second-crash=1", "nonsense", ""])
def test_other_names_are_not(name):
    with pytest.raises(UnknownFaultError, match="is not a fault: one of the firmware begins with"):
        parse_faults([name], Platform.PSERIES)


def test_a_fault_of_the_other_platform_is_told_apart():
    assert parse_faults(["query-cpu-tag=-1"], Platform.POWERNV).firmware
    with pytest.raises(
        UnknownFaultError, match="'query-cpu-tag=-1' is not a fault: it is one of --platform powernv, not"
    ):
        parse_faults(["query-cpu-tag=-1"], Platform.PSERIES)


def test_a_wrong_name_is_wrong_usage(capsys):
    assert main(["run", "--fault", "register=slow"]) == 2
    said = capsys.readouterr().err
    assert said.startswith("fadump run: --fault register=slow: 'slow' is not a status; write a number, success, ")
    assert said.endswith("; --fault list has them all\n")


@pytest.mark.parametrize(
    ("platform", "typed", "meant"),
    [
        (Platform.PSERIES, "registr=-1", "register=-1"),
        (Platform.PSERIES, "registr=busy*3", "register=busy*3"),
        (Platform.PSERIES, "register=bsy", "register=busy"),
        (Platform.PSERIES, "registr=bsy", "register=busy"),
        (Platform.PSERIES, "second-crsh", "second-crash"),
        (Platform.PSERIES, "no-putback", "no-put-back"),
        (Platform.PSERIES, "boot-memory=shrt", "boot-memory=short"),
        (Platform.POWERNV, "query-cpu-tags=-1", "query-cpu-tag=-1"),
        (Platform.POWERNV, "opal=no-region", "opal=no-regions"),
    ],
)
@pytest.mark.parametrize("command", [["run"], ["shell"], ["mount", "/"]])
def test_the_nearest_fault_is_named(capsys, command, platform, typed, meant):
    assert main([*command, "--platform", platform, "--fault", "release-twice", "--fault", typed]) == 2
    said = capsys.readouterr().err
    assert said.startswith(f"fadump {command[0]}: --fault {typed}: ")
    assert said.endswith(f"; --fault list has them all; did you mean {meant}?\n")
    assert parse_faults([meant], platform).names == (meant,)


@pytest.mark.parametrize("name", ["zzz", "register=zzz", "boot-memory=zzz", "zzz=busy", "power-cut=soon"])
def test_what_is_like_no_fault_gets_no_advice(name, capsys):
    assert main(["run", "--fault", name]) == 2
    assert capsys.readouterr().err.endswith("; --fault list has them all\n")


@pytest.mark.parametrize("platform", Platform)
def test_faults_can_be_sent_to_another_process(platform):
    names = [*FAULT_NAMES[platform].dump_faults, "register=-1", "power-cut=3", "no-put-back"]
    faults = parse_faults(names, platform)
    sent = pickle.loads(pickle.dumps(faults))  # noqa: S301 - our own
    assert (sent.names, sent.platform, sent.cycle, sent.machine) == (
        tuple(names), platform, CycleFaults(power_cut_at=3), {Fault.NO_PUT_BACK}
    )  # fmt: skip
    assert [fault.name for fault in sent.firmware] == [*FAULT_NAMES[platform].dump_faults, "register=-1"]


def test_the_list_has_every_name_in_one_line_that_fits():
    lines = list(fault_list())
    assert all(any(line.split()[:1] == [name] for line in lines) for name in [*NAMED, *Fault, "register=STATUS"])


def test_the_list_is_one_object_with_json(capsys):
    assert main(["run", "--fault", "list", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)["faults"]
    assert list(told) == ["pseries", "powernv", "accidents", "qemu"]
    assert {*NAMED, *Fault, "register=STATUS"} <= {name for faults in told.values() for name in faults}


@pytest.mark.parametrize(
    "name", ["power-cut", "power-cut=", "power-cut=0", "power-cut=-1", "power-cut=1000000", "power-cut=soon"]
)
def test_a_power_cut_at_no_event_is_told_how_to_be_written(name):
    with pytest.raises(UnknownFaultError, match=f"'{name}' is not a fault: write power-cut=N"):
        parse_faults([name], Platform.PSERIES)

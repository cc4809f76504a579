"""What each command ends with, and the JSON object that it prints then, whatever the end."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from fadump.abi.pseries import register_save_area
from fadump.cli import COMMANDS, main
from fadump.errors import FormatError, MachineError, SetupError, UsageError
from tests.linux.crashed_kernel import crashed_kernel

FADUMP = [sys.executable, "-m", "fadump"]
WRONG_USAGE = [
    ["nothing"], ["run", "--memory", "4"], ["run", "--cpus", "4096"], ["run", "--machine", "toaster"],
    ["run", "--fault", "x"],
    ["mount"], ["mount", "/", "--memory", "1M"], ["shell", "--fault", "second-crash"], ["shell", "--cpus", "x"],
    ["save", "only-one"], ["save", "a", "b", "--compress", "gzip"], ["show"], ["show", "a", "--nothing"], ["dmesg"],
    ["check"], ["check", ""], ["plan", "--memory", "64"], ["plan", "--svg", "-"], ["compare", "--jobs", "0"],
    ["compare", "--count", "1", "--only", "2"], ["kernel"], ["kernel", "bild"], ["kernel", "build", "--page-size", "5"],
    ["kernel", "list", "more"], ["qemu"], ["qemu", "fetch", "more"], ["help", "nothing"], ["version", "more"],
    ["dumps", "a", "b"], ["capture", "more"], ["capture", "--config", "{file}"],
    ["doctor", "--config"], ["campaign"], ["campaign", "rum"], ["campaign", "run"], ["campaign", "run", "{file}"],
    ["campaign", "run", "x", "--jobs", "0"], ["campaign", "run", "x", "--jobs", "1", "--scheduler", "y"],
    ["campaign", "show", "x", "0"],
]  # fmt: skip
NOT_TRIED = [
    ["doctor"], ["doctor", "--root", "/nothing"], ["doctor", "--config", "/nothing"],
    ["run", "--machine", "qemu", "--kernel", "/nothing"], ["run", "--out", "/proc/nothing"], ["mount", "/nothing"],
    ["save", "/nothing", "out"], ["save", "{dump}", "/nothing/out"], ["show", "/nothing"], ["dmesg", "/nothing"],
    ["check", "/nothing"], ["plan", "--memory-map", "/nothing"], ["compare", "--qemu", "/nothing"],
    ["campaign", "run", "/nothing"], ["campaign", "report", "/nothing"], ["campaign", "show", "/nothing", "1"],
    ["dumps", "/nothing"], ["capture", "--config", "/nothing"], ["capture", "--vmcore", "/nothing"],
]  # fmt: skip
FAILED = [
    ["run", "--fault", "register=-1"], ["save", "{file}", "{file}.out"], ["show", "{file}"], ["dmesg", "{file}"],
    ["campaign", "status", "{file}"], ["check", "{file}"], ["check", "{cut}"], ["plan", "--memory-map", "{file}"],
]  # fmt: skip
RESULTS = [
    ("done", ["version"]), ("done", ["help", "run"]), ("done", ["kernel", "list"]), ("done", ["qemu", "list"]),
    ("done", ["run", "--fault", "list"]), ("done", ["compare", "--list", "--only", "1"]),
    ("saved", ["run", "--memory", "1G"]), ("reserved", ["plan"]),
    ("refused", ["plan", "--memory", "64M"]), ("saved", ["save", "{dump}", "{dump}.out"]),
    ("estimated", ["save", "{dump}", "{dump}.out", "--dry-run"]), ("complete", ["show", "{dump}"]),
    ("done", ["show", "{area}"]), ("complete", ["dmesg", "{dump}"]), ("whole", ["check", "{dump}"]),
    ("nothing", ["capture"]), ("done", ["dumps"]),
]  # fmt: skip
DAMAGED = [
    ("damaged", ["check", "{cut}"], "not whole: "), ("incomplete", ["show", "{cut}"], ""),
    ("incomplete", ["dmesg", "{cut}"], ""), ("incomplete", ["save", "{cut}", "{cut}.out"], "the source is incomplete"),
]  # fmt: skip


@pytest.fixture
def command(tmp_path, monkeypatch, capsys):
    """Runs a command with --json in an empty directory; its exit code, its one JSON object and stderr."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_bytes(b"no dump at all")
    whole = crashed_kernel().core()
    (tmp_path / "dump").write_bytes(whole)
    (tmp_path / "cut").write_bytes(whole[: whole.index(b"Linux version") + 4])
    (tmp_path / "area").write_bytes(register_save_area.encode([], register_save_area.area_bytes(0, 0)))
    names = {name: tmp_path / name for name in ("file", "dump", "cut", "area")}

    def run(words):
        words = [word.format(**names) for word in words]
        status = main([*words, "--json"])
        out, err = capsys.readouterr()
        return status, json.loads(out), err

    return run


@pytest.mark.parametrize("words", WRONG_USAGE, ids=" ".join)
def test_wrong_usage_is_2_and_one_line(command, words):
    status, told, err = command(words)
    assert (status, told["result"], err.count("\n")) == (2, "failed", 1)
    assert set(told) == {"result", "error", "phase"} and err.endswith(f": {told['error']}\n")
    assert told["phase"] == ("power_on" if words[0] == "run" else None)


@pytest.mark.parametrize("words", NOT_TRIED, ids=" ".join)
def test_what_could_not_be_tried_is_125(command, words):
    status, told, err = command(words)
    assert (status, told["result"]) == (125, "failed")
    assert err.splitlines()[-1] == f"fadump: {told['error']}"
    assert told["phase"] == ("power_on" if words[0] == "run" else None)


@pytest.mark.parametrize("words", FAILED, ids=" ".join)
def test_what_failed_is_1(command, words):
    status, told, _err = command(words)
    assert status == 1
    assert told["result"] in ("failed", "damaged") and told["error"] and told["phase"] in (None, "registered")


@pytest.mark.parametrize(("result", "words"), RESULTS, ids=[" ".join(words) for _result, words in RESULTS])
def test_every_object_has_a_result(command, result, words):
    status, told, _err = command(words)
    assert (status, told["result"]) == (0, result)
    assert "error" not in told


@pytest.mark.parametrize(
    ("result", "words", "sentence"), DAMAGED, ids=[words[0] for _result, words, _sentence in DAMAGED]
)
def test_what_is_wrong_with_a_file_is_an_error_in_one_sentence(command, tmp_path, result, words, sentence):
    status, told, _err = command(words)
    assert (status, told["result"], told["phase"]) == (1, result, None)
    assert told["error"].startswith(f"{tmp_path / 'cut'}: {sentence}")
    assert "cut short" in told["error"] or words[0] == "save"
    assert "\n" not in told["error"]


def test_a_run_that_is_not_what_was_asked_for_says_so_in_its_object(command):
    status, told, _err = command(["run", "--memory", "1G", "--fault", "power-cut=9999"])
    assert (status, told["result"], told["phase"]) == (1, "saved", None)
    assert told["error"].startswith("--fault power-cut=9999 never struck: a cycle had no more than ")
    status, told, _err = command(["run", "--memory", "1G", "--verify", "--fault", "registers=unknown-names"])
    assert (status, told["result"], told["phase"]) == (1, "different", None)
    assert told["error"].startswith("fadump-run/vmcore: different from the machine at its crash: ")


def test_a_failed_run_says_where_it_was_and_the_firmwares_reason(command):
    status, told, err = command(["run", "--fault", "register=-1"])
    assert (status, told["result"], told["phase"]) == (1, "failed", "registered")
    assert told["firmware"] and told["error"] in err


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (UsageError("a"), 2),
        (SetupError("a"), 125),
        (MachineError("a"), 1),
        (FormatError("a", offset=0), 1),
        (FileNotFoundError(2, "a"), 125),
        (OSError(5, "a"), 1),
        (OSError(28, "a"), 1),
    ],
)
@pytest.mark.parametrize("name", ["kernel list", "qemu list"])
def test_the_type_of_an_error_is_the_exit_code(command, monkeypatch, error, status, name):
    def fail():
        raise error

    group = name.split()[0]
    monkeypatch.setattr(f"fadump.cli.{group}.list_{group}s", fail)
    assert command(name.split())[0] == status


@pytest.mark.parametrize("name", COMMANDS)
def test_the_help_of_each_command_names_the_exit_codes(name, capsys):
    assert main(["help", name]) == 0
    help_text = capsys.readouterr().out
    assert ("125 could not be tried" in help_text and "--json" in help_text) or name in ("kernel", "qemu")


def test_the_help_has_the_table_of_exit_codes(capsys):
    assert main(["help"]) == 0
    codes = capsys.readouterr().out.partition("exit codes:\n")[2].splitlines()
    assert [line.split()[0] for line in codes if line[2:3].strip()] == ["0", "1", "2", "125", "128+N"]


@pytest.mark.parametrize(
    ("number", "sentence"),
    [
        (signal.SIGINT, "interrupted"),
        (signal.SIGTERM, "ended by SIGTERM"),
        (signal.SIGHUP, "ended by SIGHUP"),
        (signal.SIGQUIT, "ended by SIGQUIT"),
    ],
)
def test_a_run_that_a_signal_ends_is_one_object_with_its_phase(tmp_path, number, sentence):
    words = ["run", "--json", "--memory", "8T", "--cycles", "1000", "--out", str(tmp_path / "out")]
    with subprocess.Popen([*FADUMP, *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        while "crash:" not in process.stderr.readline():
            pass
        process.send_signal(number)
        out, err = process.communicate(timeout=60)
    told = json.loads(out)
    assert process.returncode == 128 + number
    assert (told["result"], told["error"]) == ("failed", sentence)
    assert told["phase"] in ("preserved", "capture_boot", "vmcore_ready", "saved", "released", "production", "crash")
    saved = [f"fadump: the dump is saved, in {told['vmcore']}"] if "vmcore" in told else []
    ended = [f"fadump: {sentence}", *saved, f"fadump: the console is in {tmp_path}/out/console.log"]
    assert err.splitlines()[-len(ended) :] == ended and "Traceback" not in err


@pytest.mark.parametrize("number", ["SIGINT", "SIGTERM", "SIGHUP", "SIGQUIT"])
def test_a_second_signal_does_not_take_the_object_from_who_sent_the_first(number):
    script = (
        "import os, signal, sys\n"
        "from fadump.cli import Output, main\n"
        "fail = Output.fail\n"
        "def late(output, failure):\n"
        f"    os.kill(os.getpid(), signal.{number})\n"
        "    fail(output, failure)\n"
        "Output.fail = late\n"
        "sys.exit(main(['run', '--json', '--cycles', '0']))\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert (done.returncode, json.loads(done.stdout)["result"]) == (2, "failed")
    assert "Traceback" not in done.stderr


def test_a_signal_that_is_ignored_stays_so(tmp_path):
    script = 'trap "" HUP; exec "$@"'
    words = ["run", "--json", "--cycles", "2", "--out", str(tmp_path / "out")]
    with subprocess.Popen(
        ["sh", "-c", script, "sh", *FADUMP, *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        process.stderr.readline()
        process.send_signal(signal.SIGHUP)
        out, _err = process.communicate(timeout=120)
    assert (process.returncode, json.loads(out)["result"]) == (0, "saved")


@pytest.mark.parametrize("words", [["--help"], ["run", "--help"], ["--version"], ["help"], ["version"]])
def test_a_help_that_can_not_be_written_is_a_failure(words):
    with Path("/dev/full").open("w") as full:
        done = subprocess.run([*FADUMP, *words], stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert (done.returncode, done.stderr) == (1, "fadump: standard output: No space left on device\n")


def test_a_verdict_that_can_not_be_written_is_none(tmp_path):
    """1 would be a warning, as monitoring has it."""
    (tmp_path / "config").write_text("")
    with Path("/dev/full").open("w") as full:
        words = [*FADUMP, "doctor", "--config", tmp_path / "config"]
        done = subprocess.run(words, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert (done.returncode, done.stderr) == (125, "fadump: standard output: No space left on device\n")


def test_where_stderr_can_not_be_written_a_dump_that_is_saved_is_told_as_saved(tmp_path):
    (tmp_path / "dump").write_bytes(crashed_kernel().core())
    (tmp_path / "config").write_text(f'[[target]]\ntype = "directory"\npath = "{tmp_path}/crash"\n')
    words = [*FADUMP, "capture", "--json", "--config", tmp_path / "config", "--vmcore", tmp_path / "dump"]
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(words, stdout=subprocess.PIPE, stderr=full, text=True, check=False)
    assert (done.returncode, json.loads(done.stdout)["result"]) == (0, "saved")


def test_where_nobody_reads_stderr_the_object_is_printed_all_the_same(tmp_path):
    reader, writer = os.pipe()
    os.close(reader)
    words = [*FADUMP, "run", "--json", "--out", str(tmp_path / "out")]
    done = subprocess.run(words, stdout=subprocess.PIPE, stderr=writer, text=True, check=False)
    os.close(writer)
    told = json.loads(done.stdout)
    assert (done.returncode, told["result"], told["phase"]) == (141, "failed", "registered")

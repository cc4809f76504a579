"""Signals that come while Python is still importing what a command needs."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

SITE = """
import os, signal, sys

class AtImport:
    def find_spec(self, name, path=None, target=None):
        if name == os.environ["AT_IMPORT_OF"]:
            sys.meta_path.remove(self)
            for number in os.environ["SIGNALS"].split():
                os.kill(os.getpid(), int(number))

sys.meta_path.insert(0, AtImport())
"""
STARTS = {"python -m fadump": [sys.executable, "-m", "fadump"], "fadump": [Path(sys.executable).with_name("fadump")]}


@pytest.fixture
def start(tmp_path):
    """Starts fadump, which gets signals at the import of a module; its exit code, stdout and stderr."""
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "sitecustomize.py").write_text(SITE)

    def run(how, words, module, *numbers):
        environment = os.environ | {
            "PYTHONPATH": str(tmp_path / "site"),
            "AT_IMPORT_OF": module,
            "SIGNALS": " ".join(str(int(number)) for number in numbers),
        }
        done = subprocess.run(
            [*STARTS[how], *words], env=environment, cwd=tmp_path, capture_output=True, text=True, check=False
        )
        return done.returncode, done.stdout, done.stderr

    return run


def assert_is_one_object(start, tmp_path, how, module, number, sentence):
    status, out, err = start(how, ["run", "--json"], module, number)
    assert (status, err) == (128 + number, f"fadump: {sentence}\n")
    assert json.loads(out) == {"result": "failed", "error": sentence, "phase": "power_on"}
    assert [path.name for path in tmp_path.iterdir()] == ["site"]


@pytest.mark.parametrize("how", STARTS)
@pytest.mark.parametrize("module", ["fadump.errors", "fadump.signals", "fadump.cli", "fadump.cli.run", "numpy"])
def test_a_signal_during_imports_is_one_object(start, tmp_path, how, module):
    assert_is_one_object(start, tmp_path, how, module, signal.SIGINT, "interrupted")


def test_nothing_is_imported_before_signals_are_held_back():
    """But what Python has by then, and the module that holds them back."""
    script = "import sys, signal; before = set(sys.modules); import fadump.__main__; print(*set(sys.modules) - before)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert set(done.stdout.split()) == {"fadump", "fadump.__main__"}


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_so_are_the_others(start, tmp_path, number):
    assert_is_one_object(start, tmp_path, "fadump", "fadump.cli.run", number, f"ended by {number.name}")


def test_two_signals_during_imports_are_one_object_too(start):
    status, out, err = start("fadump", ["run", "--json"], "numpy", signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    assert (status, err, json.loads(out)["error"]) == (130, "fadump: interrupted\n", "interrupted")


def test_without_json_it_is_one_sentence(start):
    assert start("fadump", ["show", "vmcore"], "fadump.cli", signal.SIGINT) == (130, "", "fadump: interrupted\n")


def test_what_is_ignored_stays_so(start):
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        status, out, _err = start("fadump", ["version"], "fadump.cli", signal.SIGHUP)
    finally:
        signal.signal(signal.SIGHUP, before)
    assert (status, out.split()[0]) == (0, "fadump")


def test_what_is_started_is_not_deaf_to_signals(start):
    status, out, _err = start("fadump", ["shell", "-c", "grep SigBlk /proc/self/status"], "fadump.nothing")
    assert status == 0 and int(out.split()[1], 16) == 0


NOT_AT_THE_START = {
    "fadump.linux.cpus.backtrace",
    *("asyncio", "email", "http", "ssl", "urllib.request"),
    *("difflib", "importlib.metadata", "importlib.resources", "tempfile", "zipfile"),
    *("qemu", "rich"),
    *("fadump.firmware", "fadump.kit", "fadump.machine", "fadump.run", "fadump.systems"),
}
"""What takes long to import and is for other commands, or for what few of these need: seconds of a capture boot."""
LOADED_BY_A_RUN = """
import sys
from fadump.cli import main
assert main(["run", "--memory", "1G", "--out", sys.argv[1]]) == 0
print(*sys.modules)
"""
NOT_FOR_A_RUN_OF_THE_MODEL = {
    *("asyncio", "qemu"),
    *("fadump.ci.artifacts", "fadump.ci.junit", "fadump.linux.system", "fadump.proof"),
    *("fadump.capture.save", "fadump.vmcore.dump"),
    *("fadump.kit.debian", "fadump.kit.kernel_build", "fadump.kit.qemu", "fadump.machine.qemu.process"),
}
"""What is for --junit and --artifacts, --verify, --save-level, and for QEMU."""
PARSED = """
import sys
from fadump.cli import build_parser
from fadump.cli.parser import parse
parse(build_parser(sys.argv[1:]), sys.argv[1:])
print(*sys.modules)
"""


@pytest.mark.parametrize(
    ("command", "more"),
    [("capture", {"fadump.service.targets.nfs", "fadump.service.targets.ssh"}), ("doctor", {"numpy", "zstandard"})],
)
def test_what_a_service_runs_imports_little_before_it_works(command, more):
    done = subprocess.run([sys.executable, "-c", PARSED, command], capture_output=True, text=True, check=True)
    modules = set(done.stdout.split())
    assert {name for name in modules if name.startswith("fadump.cli.")} == {
        *(f"fadump.cli.{name}" for name in ("example_text", "failure", "output", "parser", "paths", "version")),
        f"fadump.cli.{command}",
    }
    too_early = {name for name in modules for slow in NOT_AT_THE_START | more if f"{name}.".startswith(f"{slow}.")}
    assert not too_early


def test_a_run_of_the_model_imports_what_it_does_and_no_more(tmp_path):
    command = [sys.executable, "-c", LOADED_BY_A_RUN, tmp_path / "out"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    loaded = set(done.stdout.splitlines()[-1].split())
    assert "fadump.run.run" in loaded and not NOT_FOR_A_RUN_OF_THE_MODEL & loaded


def test_what_tells_of_a_campaign_imports_nothing_that_runs_one():
    words = ["campaign", "report", "few.results"]
    done = subprocess.run([sys.executable, "-c", PARSED, *words], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split())
    assert "fadump.cli.campaign" in loaded
    assert not {"fadump.cli.run", "fadump.cli.rehearse", "fadump.run.run", "fadump.systems"} & loaded

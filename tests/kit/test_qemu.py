"""``fadump qemu`` from the command to the cache, with a "QEMU" that is this machine's own sh."""

import json
import shutil
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import pytest

from fadump.errors import SetupError
from fadump.kit import qemu as qemu_module
from fadump.kit.package_file import DebianPackage
from fadump.kit.private_apt import PackageMissingError
from fadump.kit.qemu import fetch_qemu, find_qemu, list_qemus
from tests.kit.conftest import make_deb

COMMAND = [sys.executable, "-m", "fadump", "qemu"]
ARCHITECTURE = subprocess.run(
    ["dpkg", "--print-architecture"], check=True, capture_output=True, text=True
).stdout.strip()


def mapped_files(program):
    """The loader and the libraries of a program of this machine."""
    listed = subprocess.run(["ldd", program], check=True, capture_output=True, text=True).stdout
    words = [word for line in listed.splitlines() for word in line.split() if word.startswith("/")]
    return [Path(word) for word in words]


@pytest.fixture
def packages(tmp_path, monkeypatch):
    """What Debian is taken to have: a program that is a shell, its libraries, and a firmware image."""
    libraries = {f"usr/lib/here/{path.name}": path.read_bytes() for path in mapped_files("/bin/sh")}
    program = {"usr/bin/qemu-system-ppc64": Path("/bin/sh").read_bytes(), "usr/share/qemu/slof.bin": b"SLOF"}
    contents = {"qemu-system-ppc": program, "libc6": libraries, "docs": {"usr/share/doc/README": b"read me"}}

    @contextmanager
    def fetched(name, architecture, suites):
        assert (name, architecture) == ("qemu-system-ppc", ARCHITECTURE)
        shutil.rmtree(tmp_path / "debs", ignore_errors=True)
        (tmp_path / "debs").mkdir()
        debs = [
            make_deb(tmp_path / "debs", package, "1:11.1+x-1", ARCHITECTURE, files)
            for package, files in contents.items()
        ]
        yield [DebianPackage(deb.name.split("_")[0], "1:11.1+x-1", suites[0], ARCHITECTURE, deb) for deb in debs]

    monkeypatch.setattr(qemu_module, "fetched_with_dependencies", fetched)
    # What a shell takes for a script is QEMU's -L and --version.
    script = qemu_module._SCRIPT.replace('-L "$here/share"', "-c 'echo QEMU emulator version 11.1.2 $0 $@'")
    monkeypatch.setattr(qemu_module, "_SCRIPT", script)
    return contents


def test_it_is_fetched_listed_and_found_again(packages, cache, monkeypatch):
    assert list_qemus() == []
    qemu = fetch_qemu()
    assert (qemu.version, qemu.debian_version, qemu.suite) == ("11.1.2", "1:11.1+x-1", "forky")
    assert qemu.title == "QEMU 11.1.2 from Debian forky"
    assert list_qemus() == [qemu] == [find_qemu()]
    monkeypatch.setattr(qemu_module, "fetched_with_dependencies", lambda *_: pytest.fail("asked the archive"))
    assert fetch_qemu() == qemu
    shown = subprocess.run([*COMMAND, "list"], capture_output=True, text=True, check=True)
    assert shown.stdout == f"11.1.2  forky  {qemu.path}\n"
    shown = subprocess.run([*COMMAND, "fetch", "--json"], capture_output=True, text=True, check=True)
    assert json.loads(shown.stdout) == {"result": "done", **qemu.as_json()}


def test_each_package_that_is_unpacked_counts_as_progress(packages, cache, progress):
    fetch_qemu()
    assert progress["Unpacking 3 packages"] == [0, 1, 2, 3]


def test_only_what_it_runs_with_is_kept(packages, cache):
    directory = fetch_qemu().path.parent
    assert sorted(path.name for path in directory.iterdir()) == [
        "lib",
        "qemu-system-ppc64",
        "qemu.json",
        "run",
        "share",
    ]
    assert [path.name for path in (directory / "share").iterdir()] == ["slof.bin"]
    assert {path.name for path in (directory / "lib").iterdir()} == {path.name for path in mapped_files("/bin/sh")}
    assert list(cache.glob(".qemu-*")) == []


def test_the_script_becomes_the_program_with_its_own_libraries(packages, tmp_path):
    """Whoever is started to die with its parent is QEMU itself; and the entry may be reached by any path."""
    qemu = fetch_qemu()
    script = qemu.path.read_text().replace("echo QEMU", "echo $$; cat /proc/$$/maps; echo QEMU")
    qemu.path.write_text(script)
    with subprocess.Popen([qemu.path], stdout=subprocess.PIPE, text=True) as process:
        pid, *maps = process.stdout.read().splitlines()
    assert int(pid) == process.pid
    files = {line.split()[5] for line in maps if len(line.split()) > 5 and line.split()[5].startswith("/")}
    assert str(qemu.path.parent / "qemu-system-ppc64") in files
    assert {file for file in files if ".so" in file and not Path(file).is_relative_to(qemu.path.parent)} == set()


def test_a_library_that_the_packages_lack_is_told(packages, cache):
    loader = qemu_module._interpreter(Path("/bin/sh"))
    packages["libc6"] = {name: data for name, data in packages["libc6"].items() if name.endswith(loader)}
    with pytest.raises(SetupError, match=r"which its packages don't bring|can't be run"):
        fetch_qemu()
    assert list((cache / "qemu").iterdir()) == []


@pytest.mark.parametrize(
    ("shell", "why"), [("exit 3", "it said nothing"), ("echo error: no such CPU >&2; exit 1", "error: no such CPU")]
)
def test_one_that_does_not_run_is_told_with_its_reason(packages, cache, monkeypatch, shell, why):
    monkeypatch.setattr(qemu_module, "_SCRIPT", f"#!/bin/sh\n{shell}\n")
    with pytest.raises(SetupError, match=f"doesn't run here: {why}$"):
        fetch_qemu()
    assert list((cache / "qemu").iterdir()) == []


def test_a_suite_without_it_is_told(monkeypatch):
    def fetch(name, architecture, suites):
        raise PackageMissingError("nowhere")

    monkeypatch.setattr(qemu_module, "fetched_with_dependencies", fetch)
    with pytest.raises(PackageMissingError, match="nowhere"):
        fetch_qemu()


@pytest.mark.parametrize("damage", ["qemu.json", "run"])
def test_a_damaged_entry_is_named(packages, damage):
    directory = fetch_qemu().path.parent
    (directory / damage).unlink()
    with pytest.raises(
        SetupError, match=rf"the QEMU in {directory} is damaged \(.*{damage}.*\): remove that directory"
    ):
        list_qemus()


@pytest.mark.parametrize("options", [["--help"], ["fetch", "--help"], ["list", "--help"]])
def test_help_has_an_example(options):
    done = subprocess.run([*COMMAND, *options], capture_output=True, text=True, check=False)
    assert done.returncode == 0
    assert "example:\n  fadump" in done.stdout

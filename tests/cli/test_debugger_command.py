"""What drgn, crash and gdb are started with; tests/real_linux/test_drgn.py starts them."""

import json
from pathlib import Path

import pytest

from fadump.cli import main
from fadump.linux.system import open_system
from tests.linux.crashed_kernel import crashed_kernel
from tests.linux.test_symbols import vmlinux

ID = b"\x12\x34\x56"


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A directory with a dump whose vmlinux is in the cache, and with all three debuggers on the path."""
    kernel = crashed_kernel()
    kernel.facts["BUILD-ID"] = ID.hex()
    directory = tmp_path / "crash"
    directory.mkdir()
    (directory / "vmcore").write_bytes(kernel.core())
    cached = tmp_path / "cache" / "kernels" / "one" / "vmlinux"
    cached.parent.mkdir(parents=True)
    cached.write_bytes(vmlinux(build_id=ID))
    programs = tmp_path / "bin"
    programs.mkdir()
    for name in ("drgn", "crash", "gdb", "gdb-multiarch"):
        (programs / name).write_text("#!/bin/sh\necho started\n")
        (programs / name).chmod(0o755)
    monkeypatch.setenv("FADUMP_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("PATH", str(programs))
    return directory


@pytest.fixture
def command(capsys):
    def run(*words):
        status = main([str(word) for word in (*words, "--json")])
        printed = capsys.readouterr()
        return status, json.loads(printed.out), printed.err

    return run


def test_drgn_gets_the_dump_and_the_vmlinux_of_its_build_id(place, command):
    status, found, err = command("drgn", place)
    cached = str(place.parent / "cache" / "kernels" / "one" / "vmlinux")
    assert (status, err) == (0, "")
    assert found["command"] == ["drgn", "-c", str(place / "vmcore"), "-s", cached]


def test_drgn_walks_page_tables_itself_and_gets_a_plugin_beside_the_users_own(place, command, monkeypatch):
    monkeypatch.setenv("DRGN_PLUGINS", "mine=/a/plugin.py")
    environment = command("drgn", place)[1]["environment"]
    mine, ours = environment["DRGN_PLUGINS"].split(",")
    assert mine == "mine=/a/plugin.py" and Path(ours.removeprefix("fadump=")).is_file()
    assert environment["DRGN_PREFER_PGTABLE_READER"] == "1"
    assert command("gdb", place)[1]["environment"] == {}


@pytest.mark.parametrize("mmu", ["hash", "radix, unsaid"])
def test_drgn_isnt_told_to_walk_page_tables_where_it_cant(place, command, mmu):
    kernel = crashed_kernel(mmu=mmu.partition(",")[0])
    if mmu.endswith("unsaid"):
        del kernel.facts["NUMBER(RADIX_MMU)"]
    (place / "vmcore").write_bytes(kernel.core())
    assert list(command("drgn", place)[1]["environment"]) == ["DRGN_PLUGINS"]


@pytest.mark.parametrize("ours", [["--json"], ["--json", "--debuginfod"]])
def test_words_behind_two_dashes_are_the_debuggers(place, capsys, ours):
    assert main(["drgn", str(place), *ours, "--", "-q", "--json", "a", "--", "-e"]) == 0
    assert json.loads(capsys.readouterr().out)["command"][-5:] == ["-q", "--json", "a", "--", "-e"]
    assert main(["drgn", str(place), "another"]) == 2
    assert "another is a word too many" in capsys.readouterr().err


def test_servers_are_asked_only_on_demand(place, command):
    assert "debuginfod" not in command("drgn", place)[1]["command"]
    assert command("drgn", place, "--debuginfod")[1]["command"][-2:] == ["--try-symbols-by", "debuginfod"]
    assert "set debuginfod enabled off" in command("gdb", place)[1]["command"]


def test_gdb_gets_a_copy_with_threads_which_is_made_once_and_is_no_other_dump(place, command):
    status, found, err = command("gdb", place)
    copy = place / "vmcore.for-gdb"
    assert status == 0 and found["dump"] == str(copy) and f"saving what it reads as {copy}" in err
    assert found["command"][0] == "gdb-multiarch" and sorted(path.name for path in place.iterdir()) == [
        *("vmcore", "vmcore.for-gdb")
    ]
    with open_system(place / "vmcore") as own, open_system(copy) as for_gdb:
        assert [dict(cpu.registers) for cpu in own.cpus] == [dict(cpu.registers) for cpu in for_gdb.cpus]
    assert copy.stat().st_mode & 0o777 == 0o600
    made = copy.stat().st_mtime_ns
    assert command("gdb", place)[2] == "" and copy.stat().st_mtime_ns == made


def test_something_else_in_the_copys_place_is_left_alone(place, command, tmp_path):
    (place / "vmcore.for-gdb").write_text("mine")
    status, found, _err = command("gdb", place)
    assert status == 1 and "is no copy of" in found["error"]
    assert (place / "vmcore.for-gdb").read_text() == "mine"
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    assert command("gdb", place, "--keep", elsewhere)[1]["dump"] == str(elsewhere / "vmcore.for-gdb")


@pytest.mark.parametrize("name", ["crash", "gdb"])
def test_without_a_vmlinux_these_are_not_started(place, command, name):
    (place.parent / "cache" / "kernels" / "one" / "vmlinux").write_bytes(vmlinux(build_id=b"another"))
    status, found, _err = command(name, place)
    assert status == 125 and "give --vmlinux" in found["error"]
    assert command("drgn", place)[0] == 0


def test_a_dump_that_was_cut_short_is_told_before_a_debugger_stumbles_over_it(place, command):
    whole = (place / "vmcore").read_bytes()
    (place / "vmcore").write_bytes(whole[:-100])
    status, _found, err = command("drgn", place)
    assert status == 0 and f"fadump: {place}/vmcore is not whole, and drgn may fail on it: segment of the" in err


def test_drgn_is_not_started_on_what_has_no_kernel(place, command):
    whole = (place / "vmcore").read_bytes()
    (place / "vmcore").write_bytes(whole[:500])
    status, found, _err = command("drgn", place)
    assert status == 1 and found["error"].startswith("the dump has no VMCOREINFO")


@pytest.mark.parametrize("name", ["drgn", "crash", "gdb"])
def test_one_that_is_not_installed_is_named(place, command, monkeypatch, name):
    monkeypatch.setenv("PATH", str(place))
    monkeypatch.setattr("sys.executable", str(place / "python3"))
    status, found, _err = command(name, place)
    assert status == 125 and found["error"].startswith(f"{name} is not installed: ")

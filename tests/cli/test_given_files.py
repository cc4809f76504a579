"""Files that are named by an option: what is wrong with one is said with the option, whichever command it is of."""

import argparse
import os

import pytest

from fadump.cli import build_parser, main
from fadump.cli.paths import path
from tests.linux.crashed_kernel import crashed_kernel
from tests.linux.crashed_opal import opal_core

READ = {
    "vm --kernel": "vm --kernel {}",
    "vm --initrd": "vm --kernel {zimage} --initrd {}",
    "vm --disk": "vm --disk {}",
    "rehearse --kernel": "rehearse --disk {any} --kernel {}",
    "rehearse --initrd": "rehearse --disk {any} --kernel {zimage} --initrd {}",
    "rehearse --disk": "rehearse --disk {}",
    "size --kernel": "size --disk {any} --kernel {}",
    "size --initrd": "size --disk {any} --kernel {zimage} --initrd {}",
    "size --disk": "size --disk {}",
    "size --root": "size --root {}",
    "run --kernel": "run --machine qemu --kernel {}",
    "run --initrd": "run --machine qemu --initrd {}",
    "run --source": "run --machine qemu --source {}",
    "run --config": "run --machine qemu --source {tree} --config {}",
    "run --petitboot": "run --machine qemu --platform powernv --petitboot {}",
    "kernel build --source": "kernel build --source {}",
    "kernel build --config": "kernel build --source {tree} --config {}",
    "plan --memory-map": "plan --memory-map {}",
    "show --vmlinux": "show {dump} --vmlinux {}",
    "report --vmlinux": "report {dump} --vmlinux {}",
    "drgn --vmlinux": "drgn {dump} --vmlinux {}",
    "drgn --keep": "drgn {dump} --keep {}",
    "crash --vmlinux": "crash {dump} --vmlinux {}",
    "crash --keep": "crash {dump} --keep {}",
    "gdb --vmlinux": "gdb {dump} --vmlinux {}",
    "gdb --keep": "gdb {dump} --keep {}",
    "save --vmlinux": "save {dump} {dump}.out --vmlinux {}",
    "save --erase": "save {dump} {dump}.out --erase {}",
    "capture --config": "capture --config {}",
    "capture --vmcore": "capture --vmcore {}",
    "doctor --config": "doctor --config {}",
    "doctor --root": "doctor --root {}",
}
"""Command lines, by the option that names a file to be read, or a directory."""
WRITTEN = {
    "vm --console-log": "vm --disk {any} --console-log {}",
    "vm --events": "vm --disk {any} --events {}",
    "plan --svg": "plan --svg {}",
    "show --write-symbols": "show {opalcore} --write-symbols {}",
    "report --out": "report {dump} --out {}",
}
TELL_OF_OUT = {
    *(f"{command} --out" for command in ("run", "rehearse", "size", "compare", "campaign report")),
    *("run --artifacts", "rehearse --artifacts", "campaign run --results"),
    *(f"{command} --junit" for command in ("run", "rehearse", "compare")),
}
"""What a command makes with all that is in it: their own tests have what is said of them."""
NEED_NOT_BE_THERE = {"capture --saved-in"}
"""Without it the dump is saved all the same, and what is wrong with it is one more attempt that has failed."""
A_DIRECTORY_WILL_DO = {"kernel build --source", "run --source", "plan --memory-map", "doctor --root", "size --root"} | {
    *("drgn --keep", "crash --keep", "gdb --keep")
}


def options_of(parser, words=()):
    """Every option that takes a file, with its command before it."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for name, command in action.choices.items():
                yield from options_of(command, (*words, name))
        elif action.type is path and action.option_strings:
            yield " ".join([*words, action.option_strings[-1]])


@pytest.fixture
def said(tmp_path, capsys):
    """Runs a command line with a file in it; what is said of that on stderr, with exit code 125."""
    (tmp_path / "any").write_bytes(bytes(1 << 20))
    (tmp_path / "dump").write_bytes(crashed_kernel().core())
    (tmp_path / "opalcore").write_bytes(opal_core())
    ident = b"\x7fELF\x02\x01\x01".ljust(16, b"\0")
    (tmp_path / "zimage").write_bytes((ident + b"\x02\0\x15\0\x01\0\0\0").ljust(64, b"\0"))  # an ELF file for ppc64
    tree = tmp_path / "tree"
    tree.mkdir()
    for name in ("Makefile", "Kconfig"):
        (tree / name).touch()

    def run(line, file):
        names = {name: tmp_path / name for name in ("any", "dump", "opalcore", "zimage", "tree")}
        assert main(line.format(file, **names).split()) == 125
        return capsys.readouterr().err

    return run


def test_the_tables_know_every_option_that_takes_a_file():
    assert set(options_of(build_parser([]))) == {*READ, *WRITTEN, *TELL_OF_OUT, *NEED_NOT_BE_THERE}


@pytest.mark.parametrize("option", READ)
def test_a_file_that_is_not_there_is_told_with_its_option(said, tmp_path, option):
    name = option.split()[-1]
    told = said(READ[option], tmp_path / "missing")
    assert told.startswith(f"fadump: {name} {tmp_path}/missing can't be ")
    assert told.endswith("No such file or directory\n") and told.count("\n") == 1


@pytest.mark.parametrize("option", sorted(READ.keys() - A_DIRECTORY_WILL_DO))
def test_a_directory_in_a_files_place_is_told_with_its_option(said, tmp_path, option):
    told = said(READ[option], tmp_path)
    assert told.startswith(f"fadump: {option.split()[-1]} {tmp_path} ") and "directory" in told
    assert told.count("\n") == 1


def test_a_file_in_a_directorys_place_is_told_with_its_option(said, tmp_path):
    told = said(READ["kernel build --source"], tmp_path / "any")
    assert told == f"fadump: --source {tmp_path}/any is not a directory\n"


@pytest.mark.parametrize("option", READ)
def test_a_pipe_that_nobody_writes_to_is_not_waited_for(said, tmp_path, option):
    os.mkfifo(tmp_path / "pipe")
    told = said(READ[option], tmp_path / "pipe")
    assert told.startswith(f"fadump: {option.split()[-1]} {tmp_path}/pipe is no")


@pytest.mark.parametrize("option", WRITTEN)
def test_a_file_that_cannot_be_made_is_told_with_its_option(said, tmp_path, option):
    told = said(WRITTEN[option], tmp_path / "missing" / "file")
    assert told == (
        f"fadump: {option.split()[-1]} {tmp_path}/missing/file can't be written: No such file or directory\n"
    )

"""Where OPAL was: frames by name, and the same in gdb with the symbols that are written for it."""

import json
import re
import subprocess

import pytest

from fadump.cli import main
from tests.linux.crashed_kernel import crashed_kernel
from tests.linux.crashed_opal import (
    ABORT,
    BASE,
    FRAMES,
    LINUX,
    SYMBOLS,
    TERMINATE,
    aborted,
    auxv,
    opal_core,
    opal_memory,
    thread,
)
from tests.vmcore.core_builder import Load, build_core

WHOLE = [".p9_sbe_terminate", ".assert_fail", ".opal_poll_events", "opal_entry"]


@pytest.fixture
def shown(tmp_path, capsys):
    """The CPUs of such a core, as fadump show has them."""

    def show(*threads, **core):
        path = tmp_path / "opalcore"
        path.write_bytes(opal_core(*threads, **core))
        assert main(["show", str(path), "--json"]) == 0
        return json.loads(capsys.readouterr().out)["cpus"]

    return show


@pytest.fixture
def in_gdb(tmp_path, capsys):
    """The functions that gdb finds on the crashing CPU's stack."""

    def run(*threads, **core):
        path, symbols = tmp_path / "opalcore", tmp_path / "opal.elf"
        path.write_bytes(opal_core(*threads, **core))
        assert main(["show", str(path), "--write-symbols", str(symbols)]) == 0
        assert symbols.stat().st_mode & 0o777 == 0o600
        command = ["gdb-multiarch", "--batch", "-nx", symbols, path, "-ex", "echo == bt\n", "-ex", "bt"]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        return re.findall(r"^#\d+ +0x[0-9a-f]+ in (\S+)", done.stdout.partition("== bt")[2], re.MULTILINE)

    return run


def names(cpu):
    return [frame["symbol"] for frame in cpu["backtrace"]]


def test_a_cpu_at_a_functions_first_instruction_has_its_caller_in_lr(shown, in_gdb):
    (cpu,) = shown()
    assert names(cpu) == WHOLE
    assert cpu["backtrace"][2]["stack_pointer"] == BASE + FRAMES[1]
    assert in_gdb() == [name.removeprefix(".") for name in WHOLE]


def test_a_cpu_in_a_function_with_a_frame(shown, in_gdb):
    """LR is left from a call that has returned."""
    inside = aborted(4, nip=BASE + ABORT + 0x30, link=BASE + ABORT + 0x20)
    assert names(*shown(inside)) == WHOLE[1:]
    assert in_gdb(inside) == [name.removeprefix(".") for name in WHOLE[1:]]


def test_a_cpu_in_linux_has_no_frames_of_opals(shown):
    crashed, other = shown(aborted(4), thread(8, nip=LINUX, gpr1=LINUX))
    assert (crashed["pir"], len(crashed["backtrace"])) == (4, 4)
    assert (other["pir"], other["backtrace"]) == (8, [])


@pytest.mark.parametrize(
    ("chain", "why"),
    [
        ([(FRAMES[0], FRAMES[1]), (FRAMES[1], FRAMES[0])], "stack whose back chain leads back"),
        ([(at, at + 8) for at in range(FRAMES[0], FRAMES[0] + 0xFF8, 8)], "more than 256 frames"),
        ([(FRAMES[0], 0x8FF8)], "can't be read"),
    ],
    ids=["loop", "long", "at the end of memory"],
)
def test_a_broken_stack_ends_a_backtrace(tmp_path, capsys, chain, why):
    path = tmp_path / "opalcore"
    path.write_bytes(opal_core(memory=opal_memory(chain, returns_to={})))
    assert main(["show", str(path)]) == 0
    shown = capsys.readouterr().out
    assert ".p9_sbe_terminate" in shown
    assert why in shown


def test_without_symbols_there_are_registers_only(shown, tmp_path, capsys):
    (cpu,) = shown(memory=opal_memory(symbols=""))
    assert (cpu["registers"]["nip"], cpu["backtrace"]) == (BASE + TERMINATE, [])
    assert main(["show", str(tmp_path / "opalcore"), "--write-symbols", str(tmp_path / "opal.elf")]) == 1
    assert "the core of an OPAL that lists no symbols in its memory" in capsys.readouterr().err
    assert not (tmp_path / "opal.elf").exists()


@pytest.mark.parametrize("base", [BASE, (1 << 64) - 0x1210])
def test_symbols_out_of_memory_are_left_out(tmp_path, base):
    listed = SYMBOLS.replace(f"{0x3000:016x}", f"{(1 << 64) - 1:016x}")
    core = build_core([Load(0, opal_memory(symbols=listed), virtual=base)], [aborted(4) + auxv()], byte_order="big")
    (tmp_path / "opalcore").write_bytes(core)
    assert main(["show", str(tmp_path / "opalcore"), "--write-symbols", str(tmp_path / "opal.elf")]) == 0
    done = subprocess.run(["nm", tmp_path / "opal.elf"], capture_output=True, text=True, check=True)
    found = {line.split()[2] for line in done.stdout.splitlines()}
    assert "opal_poll_events" not in found and ".assert_fail" in found
    assert (".p9_sbe_terminate" in found) == (base == BASE)


def test_the_core_is_not_overwritten_by_its_symbols(tmp_path, capsys):
    core = tmp_path / "opalcore"
    core.write_bytes(opal_core())
    (tmp_path / "link").symlink_to("opalcore")
    for name in ("opalcore", "link"):
        assert main(["show", str(core), "--write-symbols", str(tmp_path / name)]) == 2
        assert "would overwrite the dump: give another name" in capsys.readouterr().err
    assert core.read_bytes() == opal_core()


def test_symbols_are_of_opals_core_only(tmp_path, capsys):
    (tmp_path / "vmcore").write_bytes(crashed_kernel().core())
    assert main(["show", str(tmp_path / "vmcore"), "--write-symbols", str(tmp_path / "opal.elf")]) == 2
    assert "--write-symbols goes with OPAL's core" in capsys.readouterr().err

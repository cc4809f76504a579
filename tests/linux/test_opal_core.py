"""OPAL's own core is known, whole is whole, its CPUs have names, and nobody takes it for a dump of Linux."""

import json
import struct

import pytest

from fadump.cli import main
from tests.vmcore.core_builder import Load, build_core, note, prstatus

NT_AUXV, AT_ENTRY, AT_PHDR = 6, 9, 3
SIGUSR1, SIGTERM = 10, 15
OPAL, ENTRY = 0x3000_0000, 0x3000_0010


def auxv(*entries):
    return note("CORE", NT_AUXV, b"".join(struct.pack(">QQ", *entry) for entry in entries) + bytes(8), "big")


def thread(pir, signal=0):
    return prstatus({"nip": OPAL + pir}, pid=100 + pir, signal=signal, byte_order="big")


@pytest.fixture
def opal_core(tmp_path):
    def write(*threads, vector=((AT_ENTRY, ENTRY),)):
        path = tmp_path / "opalcore"
        notes = b"".join(threads) + auxv(*vector)
        path.write_bytes(build_core([Load(0, b"skiboot" * 100)], [notes], byte_order="big"))
        return str(path)

    return write


def answer(capsys, *words):
    code = main([*words, "--json"])
    captured = capsys.readouterr()
    return code, json.loads(captured.out), captured.err


def test_it_is_whole_and_its_cpus_have_their_pirs(opal_core, capsys):
    path = opal_core(thread(0x28, SIGUSR1), thread(4), thread(8))
    code, checked, _said = answer(capsys, "check", path)
    assert (code, checked["result"], checked["findings"], checked["cpus"]) == (0, "whole", [], 3)
    code, shown, _said = answer(capsys, "show", path)
    assert (code, shown["kind"], shown["missing"]) == (0, "opalcore", [])
    assert [(cpu["pir"], cpu["crashed"], cpu["registers"]["nip"]) for cpu in shown["cpus"]] == [
        (0x28, True, OPAL + 0x28),
        (4, False, OPAL + 4),
        (8, False, OPAL + 8),
    ]
    assert shown["opal"] == {"entry": ENTRY, "ended_by_itself": False}


def test_people_read_who_crashed(opal_core, capsys):
    assert main(["show", opal_core(thread(0x28, SIGTERM), thread(4))]) == 0
    text = capsys.readouterr().out
    assert "Crashed  OPAL itself has ended" in text
    assert "CPUs     registers of 2, crashed on the CPU with PIR 0x28" in text
    assert "The CPU with PIR 0x28, which crashed" in text and "The CPU with PIR 0x4\n" in text
    assert main(["check", opal_core(thread(4, SIGUSR1))]) == 0
    assert capsys.readouterr().out.startswith("ELF core of OPAL itself, ppc64, registers of 1 CPU\n")


def test_a_note_that_linux_has_left_empty_is_nobodys(opal_core, capsys):
    _code, shown, _said = answer(capsys, "show", opal_core(prstatus({}, byte_order="big"), thread(4)))
    assert [cpu["pir"] for cpu in shown["cpus"]] == [4]
    assert shown["opal"]["ended_by_itself"] is None


@pytest.mark.parametrize("command", [("dmesg",), ("save", "out")])
def test_it_is_not_taken_for_a_dump_of_linux(opal_core, capsys, tmp_path, command):
    name, *others = command
    path = opal_core(thread(4, SIGUSR1))
    code, said, _err = answer(capsys, name, path, *(str(tmp_path / other) for other in others))
    assert code == 1 and "this is OPAL's core, and no dump of Linux: gdb opens it" in said["error"]
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("vector", [((AT_PHDR, 0x40), (AT_ENTRY, ENTRY)), ((AT_ENTRY, ENTRY), (AT_PHDR, 0x40)), ()])
def test_a_process_is_still_a_process(opal_core, capsys, vector):
    code, checked, _said = answer(capsys, "check", opal_core(thread(4), vector=vector))
    assert code == 1 and "the core of a process, and not of a system" in checked["error"]


@pytest.mark.parametrize("command", ["report", "drgn"])
def test_what_is_about_linux_says_that_it_is_none(opal_core, capsys, command):
    code, found, _said = answer(capsys, command, opal_core(thread(4)))
    assert code == 1 and "OPAL's core, and no dump of Linux" in found["error"]

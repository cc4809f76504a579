"""Linux's own bugs, told of by a run; the console says what Linux has done."""

import json
import re

import pytest

from fadump.cli import main


def run(tmp_path, capsys, *options):
    """Exit code, JSON object and standard error of a run with the model of Linux."""
    code = main(["run", "--json", "--out", str(tmp_path / "out"), *options])
    captured = capsys.readouterr()
    return code, json.loads(captured.out), captured.err


def has_freed(tmp_path, address):
    console = (tmp_path / "out/console.log").read_text()
    freed = re.findall(r"freeing reserved memory \((\w+) - (\w+)\)", console)
    assert freed
    return any(int(start, 16) <= address < int(end, 16) for start, end in freed)


@pytest.mark.parametrize("page_size", ["4K", "64K"])
def test_a_page_that_the_firmware_has_kept_from_linux_is_told(tmp_path, capsys, page_size):
    code, result, said = run(tmp_path, capsys, "--page-size", page_size)
    header = result["freed_header"]
    assert (code, header["kept"], has_freed(tmp_path, header["address"])) == (0, True, False)
    assert f"would have freed the page of its next crash's header, at {header['address']:#x}: kept" in said


@pytest.mark.parametrize("page_size", ["4K", "64K"])
def test_a_run_with_a_strict_firmware_fails_if_linux_frees_what_it_registers_again(tmp_path, capsys, page_size):
    code, result, said = run(tmp_path, capsys, "--page-size", page_size, "--strict")
    header = result["freed_header"]
    assert (code, header["kept"], has_freed(tmp_path, header["address"])) == (1, False, True)
    assert result["result"] == "saved" and result["error"] in said
    assert f"has freed the page of its next crash's header, at {header['address']:#x}" in result["error"]


@pytest.mark.parametrize("options", [("--kernel-version", "6.1"), ("--platform", "powernv")])
def test_where_linux_frees_no_such_page_nothing_is_said(tmp_path, capsys, options):
    for firmware in ((), ("--strict",)):
        code, result, said = run(tmp_path, capsys, *options, *firmware)
        assert (code, result["freed_header"]) == (0, None)
        assert "crash's header" not in said


def test_a_console_may_claim_any_freed_memory(tmp_path, capsys):
    line = "fadump: freeing reserved memory (0xffffffffffffffff - 0x0)"
    code, result, _said = run(tmp_path, capsys, "--strict", "--kernel-version", "6.1", "--cmdline", f"'{line}'")
    assert line in (tmp_path / "out/console.log").read_text()
    assert (code, result["freed_header"]) == (0, None)

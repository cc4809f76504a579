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


def freed(result, what):
    return [entry for entry in result["freed_by_linux"] if entry["what"] == what]


@pytest.mark.parametrize("page_size", ["4K", "64K"])
def test_a_page_that_the_firmware_has_kept_from_linux_is_told(tmp_path, capsys, page_size):
    code, result, said = run(tmp_path, capsys, "--page-size", page_size)
    (header,) = freed(result, "crash-info header")
    assert (code, header["kept"], has_freed(tmp_path, header["address"])) == (0, True, False)
    assert f"would have freed the page with the crash-info header, at {header['address']:#x}" in said


@pytest.mark.parametrize("page_size", ["4K", "64K"])
def test_a_run_with_a_strict_firmware_fails_if_linux_frees_what_it_uses_again(tmp_path, capsys, page_size):
    code, result, said = run(tmp_path, capsys, "--page-size", page_size, "--strict")
    (header,) = freed(result, "crash-info header")
    assert (code, header["kept"], has_freed(tmp_path, header["address"])) == (1, False, True)
    assert result["result"] == "saved" and result["error"].startswith("Linux has freed the page with")
    assert f"has freed the page with the crash-info header, at {header['address']:#x}" in said


def test_a_parameter_area_that_linux_frees_is_named(tmp_path, capsys):
    code, result, said = run(tmp_path, capsys)
    (area,) = freed(result, "bootargs_append")
    assert (code, area["kept"], has_freed(tmp_path, area["address"])) == (0, False, True)
    assert "bootargs_append" not in said
    code, result, said = run(tmp_path, capsys, "--strict")
    assert code == 1 and f"has freed the page with bootargs_append, at {area['address']:#x}" in said


@pytest.mark.parametrize(
    ("bug", "sentence"),
    [
        ("crash-info", "Linux has freed the page with the crash-info header"),
        ("bootargs-append", "Linux has freed the page with bootargs_append"),
        ("panic-text", "Linux has not passed the text of its panic to the firmware"),
    ],
)
def test_a_run_fails_for_the_bug_that_is_named(tmp_path, capsys, bug, sentence):
    code, result, _said = run(tmp_path, capsys, "--strict", bug)
    assert code == 1 and result["error"].startswith(sentence) and "more)" not in result["error"]
    assert run(tmp_path, capsys, "--strict", bug, "--kernel-version", "6.1")[0] == 0


def test_the_text_of_a_panic_is_told(tmp_path, capsys):
    assert run(tmp_path, capsys)[1]["panic_text"] == ""
    assert run(tmp_path, capsys, "--kernel-version", "6.1")[1]["panic_text"] == "OS panic: sysrq triggered crash"
    code, result, _said = run(tmp_path, capsys, "--strict", "panic-text", "--crash-by", "platform")
    assert (code, result["panic_text"]) == (0, "")


@pytest.mark.parametrize("options", [("--kernel-version", "6.1"), ("--platform", "powernv")])
def test_where_linux_frees_no_such_page_nothing_is_said(tmp_path, capsys, options):
    for firmware in ((), ("--strict",)):
        code, result, said = run(tmp_path, capsys, *options, *firmware)
        assert (code, result["freed_by_linux"]) == (0, [])
        assert "Linux has freed" not in said and "would have freed" not in said


def test_a_console_may_claim_any_freed_memory(tmp_path, capsys):
    line = "fadump: freeing reserved memory (0xffffffffffffffff - 0x0)"
    code, result, _said = run(tmp_path, capsys, "--strict", "--kernel-version", "6.1", "--cmdline", f"'{line}'")
    assert line in (tmp_path / "out/console.log").read_text()
    assert (code, result["freed_by_linux"]) == (0, [])


def test_a_hole_below_boot_memory_top_is_told_before_linux_loses_the_dump(tmp_path, capsys):
    memory = ("--memory", "1G", "--dimm", "8G@8G", "--cmdline", "crashkernel=2200M")
    code, result, said = run(tmp_path, capsys, *memory)
    assert (code, result["result"]) == (1, "failed")
    assert "remark: there is a hole in boot memory, 0x40000000 to 0x200000000" in said
    assert "the whole dump is lost" in said and "Fadump header is corrupted" in result["error"]
    code, _result, said = run(tmp_path, capsys, "--memory", "4G", "--dimm", "8G@8G", *memory[4:])
    assert code == 0 and "a hole in boot memory" not in said

"""The command: what it says, what it refuses, and its exit status."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from fadump.cli import main
from fadump.vmcore.check import check_dump
from fadump.vmcore.dump import open_dump
from tests.capture.contents import differing_pages


def test_the_report_has_makedumpfiles_words_and_adds_up(vmcore, tmp_path, capsys):
    assert main(["save", str(vmcore), str(tmp_path / "out"), "--level", "31"]) == 0
    text = capsys.readouterr().out
    numbers = {
        line[1].strip(): int(line[2], 16) for line in re.finditer(r"^([^:\n]*): +(0x[0-9a-f]+)$", text, re.MULTILINE)
    }
    parts = ["Pages filled with zero", "Non-private cache pages", "Private cache pages", "User process data pages"]
    parts += ["Free pages", "Hwpoison pages", "Offline pages"]
    assert numbers["Excluded pages"] == sum(numbers[part] for part in parts)
    assert numbers["Original pages"] == numbers["Excluded pages"] + numbers["Remaining pages"]
    assert numbers["Total pages"] == numbers["Original pages"] + numbers["Memory Hole"]
    percent = numbers["Remaining pages"] * 100 // numbers["Original pages"]
    assert f"(The number of pages is reduced to {percent}%.)" in text


def test_json_says_the_same(vmcore, tmp_path, capsys):
    assert main(["save", str(vmcore), str(tmp_path / "out"), "--level", "31", "--json", "--split", "2"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["result"] == "saved" and said["files"] == [str(tmp_path / "out.1"), str(tmp_path / "out.2")]
    assert said["pages"]["original"] == said["pages"]["excluded"] + said["pages"]["remaining"]
    assert said["bytes"] == sum((tmp_path / f"out.{number}").stat().st_size for number in (1, 2))


def test_of_many_files_the_first_ones_are_named(vmcore, tmp_path, capsys):
    assert main(["save", str(vmcore), str(tmp_path / "out"), "--level", "31", "--split", "9"]) == 0
    last = capsys.readouterr().out.splitlines()[-1]
    assert last.startswith(", ".join(f"{tmp_path}/out.{number}" for number in range(1, 5)) + ", 5 more: ")


def test_symbols_for_registers_may_come_from_a_vmlinux(vmcore, tmp_path, capsys):
    kernel = tmp_path / "vmlinux"
    assert main(["save", str(vmcore), str(tmp_path / "out"), "--vmlinux", str(kernel)]) == 125
    assert capsys.readouterr().err.splitlines()[-1] == (
        f"fadump: --vmlinux {kernel} can't be read: No such file or directory"
    )
    kernel.write_text("no ELF file")
    assert main(["save", str(vmcore), str(tmp_path / "out"), "--vmlinux", str(kernel)]) == 0
    said = f"remark: no registers were added for drgn and crash: {kernel}: not a 64-bit ELF file"
    assert said in capsys.readouterr().out


def test_a_stream_goes_to_stdout_and_nothing_else_does(vmcore, tmp_path):
    command = [sys.executable, "-m", "fadump", "save", str(vmcore), "-", "--level", "31"]
    with (tmp_path / "flat").open("wb") as out:
        done = subprocess.run(command, stdout=out, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 0 and "Remaining pages" in done.stderr
    with open_dump(tmp_path / "flat") as dump, open_dump(vmcore) as source:
        assert dump.flattened and check_dump(dump).whole and differing_pages(dump, source) == []


def test_a_stream_that_nobody_reads_is_one_sentence(vmcore):
    command = f"{sys.executable} -m fadump save {vmcore} - | head -c 100 >/dev/null; exit ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", command], stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == "fadump: can't write the stream, which says that it broke off: Broken pipe"


@pytest.mark.parametrize("level", ["0", "17", "31"])
@pytest.mark.parametrize(
    "form", [["--format", "kdump"], ["--format", "elf"], ["--split", "40"]], ids=lambda form: form[1]
)
def test_a_dry_run_writes_nothing_and_is_right_within_what_it_says(vmcore, tmp_path, capsys, level, form):
    options = ["--level", level, *form, "--json"]
    assert main(["save", str(vmcore), str(tmp_path / "out"), "--dry-run", *options]) == 0
    (estimate,) = json.loads(capsys.readouterr().out)["estimates"]
    assert list(tmp_path.iterdir()) == []
    assert main(["save", str(vmcore), str(tmp_path / "out"), *options]) == 0
    saved = json.loads(capsys.readouterr().out)
    on_disk = sum(Path(file).stat().st_blocks * 512 for file in saved["files"])
    assert abs(estimate["bytes"] - on_disk) <= estimate["margin_bytes"] + on_disk // 10
    assert estimate["pages"]["remaining"] == pytest.approx(saved["pages"]["remaining"], rel=0.1)


def test_a_dry_run_that_looks_at_a_few_pages_says_how_far_it_may_be_wrong(vmcore, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("fadump.capture.estimate._SAMPLES", 12)
    monkeypatch.setattr("fadump.capture.estimate._SAMPLE_BYTES", 16 << 10)
    assert main(["save", str(vmcore), str(tmp_path / "out"), "--dry-run", "--level", "0", "--json"]) == 0
    (estimate,) = json.loads(capsys.readouterr().out)["estimates"]
    assert main(["save", str(vmcore), str(tmp_path / "out"), "--level", "0", "--json"]) == 0
    on_disk = sum(Path(file).stat().st_blocks * 512 for file in json.loads(capsys.readouterr().out)["files"])
    assert 0 < estimate["margin_bytes"] < 4 * on_disk
    assert abs(estimate["bytes"] - on_disk) <= 2 * estimate["margin_bytes"]


@pytest.mark.parametrize(
    ("level", "samples", "marked"),
    [("0", 12, []), ("17", 12, ["zero", "excluded", "remaining", "percent"]), ("17", 1 << 20, [])],
)
def test_a_dry_run_marks_what_it_estimates(vmcore, tmp_path, capsys, monkeypatch, level, samples, marked):
    monkeypatch.setattr("fadump.capture.estimate._SAMPLES", samples)
    monkeypatch.setattr("fadump.capture.estimate._SAMPLE_BYTES", 16 << 10)
    command = ["save", str(vmcore), str(tmp_path / "out"), "--level", level]
    assert main([*command, "--dry-run", "--json"]) == 0
    printed = capsys.readouterr()
    (estimate,) = json.loads(printed.out)["estimates"]
    assert estimate["pages"]["estimated"] == marked
    lines = ["Excluded pages", "Pages filled with zero", "Remaining pages", "(The number of pages is reduced to"]
    assert [line for line in printed.err.splitlines() if ", estimated" in line] == [
        line for line in printed.err.splitlines() if marked and line.strip().startswith(tuple(lines))
    ]
    assert main(command) == 0
    assert "estimated" not in capsys.readouterr().out


@pytest.mark.parametrize("form", ["kdump", "elf"])
def test_what_is_made_of_a_filtered_dump_is_said_to_be_filtered(vmcore, tmp_path, capsys, form):
    assert main(["save", str(vmcore), str(tmp_path / "filtered"), "--level", "30"]) == 0
    words = ["save", str(tmp_path / "filtered"), "--level", "1", "--format", form]
    assert main([*words, str(tmp_path / "text")]) == 0
    assert capsys.readouterr().out.splitlines()[-1].endswith(", level 31")
    assert main([*words, str(tmp_path / "json"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["level"] == 31


def test_an_incomplete_source_is_told_and_is_exit_1(vmcore, tmp_path, capsys):
    short = tmp_path / "short"
    short.write_bytes(vmcore.read_bytes()[:-5000])
    assert main(["save", str(short), str(tmp_path / "out")]) == 1
    printed = capsys.readouterr()
    assert "the source is not whole" in printed.err and "so is what was saved" in printed.out
    with (tmp_path / "stream").open("wb") as stream:
        command = [sys.executable, "-m", "fadump", "save", str(short), "-"]
        assert subprocess.run(command, stdout=stream, stderr=subprocess.DEVNULL, check=False).returncode == 1


@pytest.mark.parametrize(
    "options",
    [
        ["--level", "32"],
        ["--level", "x"],
        ["--threads", "0"],
        ["--split", "2", "--format", "elf"],
        ["--compress", "rar"],
    ],
)
def test_wrong_usage_is_exit_2(vmcore, tmp_path, options, capsys):
    assert main(["save", str(vmcore), str(tmp_path / "out"), *options]) == 2
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("options", [["--json"], ["--split", "2"], ["--continue"], ["--level", "1,31"]])
def test_what_does_not_go_with_a_stream_is_exit_2(vmcore, options, capsys):
    assert main(["save", str(vmcore), "-", *options]) == 2


@pytest.mark.parametrize("where", [".", "..", "/", "directory"])
@pytest.mark.parametrize("options", [[], ["--split", "2"]])
def test_a_directory_is_no_place_for_a_dump(vmcore, tmp_path, monkeypatch, capsys, where, options):
    (tmp_path / "directory").mkdir()
    monkeypatch.chdir(tmp_path)
    assert main(["save", str(vmcore), where, *options]) == 125
    assert f"fadump: {Path(where)} is a directory: name a file in it" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["directory"]


@pytest.mark.parametrize("where", ["/dev/null", "source"])
def test_nothing_that_is_there_is_replaced_and_nobody_is_told_to_remove_it(vmcore, tmp_path, capsys, where):
    source = tmp_path / "source"
    source.symlink_to(vmcore)
    assert main(["save", str(source), str(tmp_path / where)]) == 125
    assert capsys.readouterr().err.endswith(f"{tmp_path / where} exists and is not replaced: name another file\n")
    assert [path.name for path in tmp_path.iterdir()] == ["source"]


def test_a_file_of_a_set_is_not_gone_on_with_from_itself(vmcore, tmp_path, capsys):
    assert main(["save", str(vmcore), str(tmp_path / "out"), "--split", "2"]) == 0
    (tmp_path / "out.2").rename(tmp_path / "out.2.incomplete")
    before = (tmp_path / "out.1").read_bytes()
    assert main(["save", str(tmp_path / "out.1"), str(tmp_path / "out"), "--split", "2", "--continue"]) == 2
    assert f"{tmp_path / 'out.1'} is what would be written: " in capsys.readouterr().err
    assert (tmp_path / "out.1").read_bytes() == before


@pytest.mark.parametrize(
    ("where", "sentence"),
    [
        ("nowhere/out", "there is no directory {}/nowhere to save to"),
        ("file/out", "there is no directory {}/file to save to"),
        ("/proc/out", "can't make /proc/out.incomplete: No such file or directory: name a file elsewhere"),
        ("/dev/full", "/dev/full exists and is not replaced: name another file"),
        ("pipe", "{}/pipe exists and is not replaced: name another file"),
        ("dangling", "{}/dangling exists and is not replaced: name another file"),
    ],
)
def test_a_place_where_no_dump_can_be_is_told_and_nothing_is_left_there(vmcore, tmp_path, capsys, where, sentence):
    (tmp_path / "file").touch()
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "dangling").symlink_to("nothing")
    before = sorted(tmp_path.iterdir())
    assert main(["save", str(vmcore), str(tmp_path / where)]) == 125
    assert capsys.readouterr().err.splitlines()[-1] == f"fadump: {sentence.format(tmp_path)}"
    assert sorted(tmp_path.iterdir()) == before


def test_an_incomplete_dump_is_not_gone_on_with_from_itself(vmcore, tmp_path, capsys):
    incomplete = tmp_path / "out.incomplete"
    incomplete.write_bytes(vmcore.read_bytes())
    for options in ([], ["--continue"]):
        assert main(["save", str(incomplete), str(tmp_path / "out"), *options]) == 2
        assert f"{incomplete} is what would be written: " in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == [incomplete] and incomplete.read_bytes() == vmcore.read_bytes()


def test_a_stream_is_not_for_a_terminal(vmcore):
    ours, its = os.openpty()
    command = [sys.executable, "-m", "fadump", "save", str(vmcore), "-"]
    with os.fdopen(ours), os.fdopen(its, "wb") as terminal:
        done = subprocess.run(command, stdout=terminal, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 2 and "stdout is a terminal: send the stream to a file" in done.stderr


def test_a_save_that_is_terminated_leaves_what_can_be_gone_on_with(vmcore, tmp_path):
    """SIGTERM comes while it writes: the incomplete file is seen first."""
    command = [sys.executable, "-m", "fadump", "save", str(vmcore), str(tmp_path / "out")]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL) as process:
        while process.poll() is None and not (tmp_path / "out-dmesg.txt").exists():
            pass
        process.terminate()
    if process.returncode:  # it was not faster than we
        assert process.returncode == 143
        assert not (tmp_path / "out").exists()
        begun = (tmp_path / "out.incomplete").exists()
        assert main(["save", str(vmcore), str(tmp_path / "out"), *(["--continue"] if begun else [])]) == 0
    with open_dump(tmp_path / "out") as dump, open_dump(vmcore) as source:
        assert check_dump(dump).whole and differing_pages(dump, source) == []

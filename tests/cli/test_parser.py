"""How wrong words are answered: in one line, with what can stand there and the nearest of it."""

import json

import pytest

import fadump
from fadump.cli import main


@pytest.mark.parametrize(
    ("words", "answer"),
    [
        ("run --machine foo", "fadump run: --machine foo: choose qemu or embedded"),
        (
            "save a b --compress gzip",
            "fadump save: --compress gzip: choose zlib, zstd, lzo, snappy or none; did you mean zlib?",
        ),
        ("run --mashine qemu", "fadump run: there is no option --mashine; did you mean --machine?"),
        ("run --mashine=qemu", "fadump run: there is no option --mashine=qemu; did you mean --machine?"),
        ("run --zzzzzz", "fadump run: there is no option --zzzzzz"),
        ("run more", "fadump run: more is a word too many"),
        ("kernel bild", "fadump kernel: there is no command bild: choose build or list; did you mean build?"),
        ("plan --page-size 5", "fadump plan: --page-size 5: choose 4K or 64K"),
        ("run --memory", "fadump run: --memory: expected one argument"),
        ("run --memory 4", "fadump run: --memory 4: that is 4 bytes: write 4G"),
        ("run --node 4", "fadump run: --node 4: that is 4 bytes: write 4G"),
        ("plan --memory 4096", "fadump plan: --memory 4096: that is 4096 bytes: write 4096M"),
        ("mount / --memory 64", "fadump mount: --memory 64: that is 64 bytes: write 64G"),
        ("shell --memory 1048575", "fadump shell: --memory 1048575: that is 1048575 bytes: write 1048575M"),
        ("run --dimm 1G@4", "fadump run: --dimm 1G@4: write it as 1G@4G or 1G@0x100000000"),
        ("run --cpus two", "fadump run: --cpus two: write a whole number"),
        ("save a b --threads 0", "fadump save: --threads 0: write a number from 1 on"),
    ],
)
def test_a_wrong_word_is_answered_in_one_line(words, answer, capsys):
    assert main(words.split()) == 2
    assert capsys.readouterr().err == f"{answer}\n"


@pytest.mark.parametrize("size", ["1048576", "0x1000", "1M", "1MB", "1MiB", "1m"])
def test_a_size_that_may_be_meant_is_taken(size, capsys):
    assert main(["plan", "--json", "--memory", size]) == 0
    assert json.loads(capsys.readouterr().out)["ram_bytes"] in (1 << 20, 4096)


def test_the_words_of_another_command_ask_for_no_object(capsys):
    assert main(["shell", "--cpus", "x", "--", "ls", "--json"]) == 2
    assert capsys.readouterr().out == ""


def test_help_is_a_command_too(capsys):
    with pytest.raises(SystemExit):
        main(["kernel", "build", "--help"])
    by_option = capsys.readouterr().out
    assert main(["help", "kernel", "build"]) == 0
    assert capsys.readouterr().out == by_option
    assert main(["help", "kernel", "build", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"help": by_option}


def test_version_is_a_command_too(capsys):
    assert main(["version"]) == 0
    assert capsys.readouterr().out == f"fadump {fadump.__version__}\n"
    assert main(["version", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"version": fadump.__version__}


def test_quiet_leaves_the_result_and_verbose_tells_each_call(tmp_path, capsys):
    def lines(*options):
        assert main(["run", "--out", str(tmp_path), *options]) == 0
        return capsys.readouterr().out.splitlines()

    quiet, normal, verbose = lines("-q"), lines(), lines("-v")
    assert not any("power on" in line for line in quiet) and any("look at it" in line for line in quiet)
    assert any("power on" in line for line in normal)
    assert not any("firmware: " in line for line in normal)
    assert any("firmware: " in line and " token " in line for line in verbose)


def test_quiet_shows_no_progress(tmp_path, capsys):
    (tmp_path / "dump").write_bytes(b"")
    assert main(["check", str(tmp_path / "dump"), "-q"]) == 1
    assert capsys.readouterr().err.count("\n") == 1


def test_quiet_and_verbose_exclude_each_other(capsys):
    assert main(["run", "-q", "-v"]) == 2
    assert "not allowed with argument" in capsys.readouterr().err

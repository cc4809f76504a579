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
        ("run --foo", "fadump run: there is no option --foo"),
        ("run -x", "fadump run: there is no option -x"),
        ("run -jsno", "fadump run: there is no option -jsno; did you mean --json?"),
        ("run --verif", "fadump run: there is no option --verif; did you mean --verify?"),
        ("run -- more", "fadump run: more is a word too many"),
        ("show --jso", "fadump show: there is no option --jso; did you mean --json?"),
        ("show --jso file", "fadump show: there is no option --jso; did you mean --json?"),
        ("save --levle=31 a", "fadump save: there is no option --levle=31; did you mean --level?"),
        ("--verison", "fadump: there is no option --verison; did you mean --version?"),
        ("--jsno run", "fadump run: there is no option --jsno; did you mean --json?"),
        ("kernel --hepl", "fadump kernel: there is no option --hepl; did you mean --help?"),
        ("vm --verify", "fadump vm: there is no option --verify"),
        ("image build --out x", "fadump image build: there is no option --out"),
        ("image", "fadump image: give a command, build or list; 'fadump image --help' says what each does"),
        ("kernel -q", "fadump kernel: give a command, build or list; 'fadump kernel --help' says what each does"),
        ("rehearse --patience x", "fadump rehearse: --patience x: write a number, as 2 or 0.5"),
        ("rehearse --patience nan", "fadump rehearse: --patience nan: write a number, as 2 or 0.5"),
        ("rehearse --patience inf", "fadump rehearse: --patience inf: write a number, as 2 or 0.5"),
        ("show", "fadump show: the following arguments are required: FILE"),
        ("show -q -- ", "fadump show: the following arguments are required: FILE"),
        ("-q run -v", "fadump run: -v/--verbose: not allowed with argument -q/--quiet"),
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


def test_without_a_command_those_that_there_are_are_named(capsys):
    assert main([]) == 2
    said = capsys.readouterr().err
    assert said.startswith("fadump: give a command, run, vm, rehearse, ")
    assert said.endswith(" or version; 'fadump --help' says what each does\n")


@pytest.mark.parametrize(
    "words",
    [
        "run --gdb 1234",
        "run --machine qemu --kernel /dev/null --gdb 1234",
        "rehearse --gdb 1234",
        "rehearse --disk none --patience 0 --gdb 1234",
        "vm --gdb 1234",
    ],
)
def test_what_is_refused_says_nothing_of_a_port(words, capsys):
    assert main(words.split()) != 0
    said = capsys.readouterr().err
    assert said.startswith("fadump: ") and said.count("\n") == 1


@pytest.mark.parametrize("size", ["1048576", "0x1000", "1M", "1MB", "1MiB", "1m"])
def test_a_size_that_may_be_meant_is_taken(size, capsys):
    assert main(["plan", "--json", "--memory", size]) == 0
    assert json.loads(capsys.readouterr().out)["ram_bytes"] in (1 << 20, 4096)


def test_the_words_of_another_command_ask_for_no_object(capsys):
    assert main(["shell", "--cpus", "x", "--", "ls", "--json"]) == 2
    assert capsys.readouterr().out == ""


def test_help_is_a_command_too(capsys):
    assert main(["kernel", "build", "--help"]) == 0
    by_option = capsys.readouterr().out
    assert main(["help", "kernel", "build"]) == 0
    assert capsys.readouterr().out == by_option


@pytest.mark.parametrize(
    ("words", "of"),
    [
        ("help kernel build --json", "fadump kernel build"),
        ("kernel build --help --json", "fadump kernel build"),
        ("kernel --json build --help", "fadump kernel build"),
        ("--json --help", "fadump"),
    ],
)
def test_a_help_in_json_is_an_object_too(words, of, capsys):
    assert main(words.split()) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["result"], set(told)) == ("done", {"result", "help"})
    assert told["help"].startswith(f"usage: {of} [-h]")


@pytest.mark.parametrize("word", ["version", "--version"])
def test_a_version_is_told_by_a_command_and_by_an_option(word, capsys):
    assert main([word]) == 0
    assert capsys.readouterr().out == f"fadump {fadump.__version__}\n"
    for words in ([word, "--json"], ["--json", word]):
        assert main(words) == 0
        assert json.loads(capsys.readouterr().out) == {"result": "done", "version": fadump.__version__}


@pytest.mark.parametrize("words", ["--json kernel list", "kernel --json list", "kernel list --json"])
def test_options_that_all_commands_have_may_stand_anywhere(words, capsys):
    assert main(words.split()) == 0
    assert "kernels" in json.loads(capsys.readouterr().out)


def test_quiet_leaves_the_result_and_verbose_tells_each_call(tmp_path, capsys):
    def lines(*before, behind=()):
        assert main([*before, "run", "--out", str(tmp_path), *behind]) == 0
        return capsys.readouterr().out.splitlines()

    quiet, normal, verbose = lines("-q"), lines(), lines("-v")
    assert [len(lines(behind=[option])) for option in ("-q", "-v")] == [len(quiet), len(verbose)]
    assert quiet[0].startswith("Linux 6.12.0-model crashed") and quiet[-1] == f"{tmp_path / 'vmcore'}: 1536 MiB"
    assert any("look at it" in line for line in normal)
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

"""Man pages and completions say what the commands' help says, and man, bash, zsh and fish take them."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pexpect
import pytest

from fadump.cli import COMMANDS as NAMES
from fadump.cli import build_parser, main
from fadump.kit import packages

ROOT = Path(__file__).parents[2]
TOOLS = {"man": "man-db", "fish": "fish", "zsh": "zsh"}


@pytest.fixture(scope="module")
def manual(tmp_path_factory):
    packages.require("testing man pages and completions", TOOLS)
    directory = tmp_path_factory.mktemp("manual")
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "tools")}
    subprocess.run([sys.executable, "-m", "manual", str(directory)], env=environment, check=True)
    return directory


def output_of(*command, **more):
    done = subprocess.run(command, capture_output=True, text=True, check=True, **more)
    assert done.stderr == ""
    return done.stdout


def page(manual, name):
    environment = {**os.environ, "MANWIDTH": "200", "LC_ALL": "C.UTF-8"}
    return output_of("man", "--warnings", "-l", str(manual / "man1" / f"{name}.1"), env=environment)


def test_every_command_has_a_page_that_man_has_nothing_to_say_against(manual, capsys):
    assert main(["--help"]) == 0
    commands = capsys.readouterr().out.partition("commands:")[2]
    names = [line.split()[0] for line in commands.splitlines() if line.startswith("    ") and line[4] != " "]
    assert len(names) >= 16
    for name in names:
        assert f"fadump {name}" in page(manual, f"fadump-{name}")
    below = {path.name for path in (manual / "man1").iterdir()} - {f"fadump-{name}.1" for name in names}
    below -= {"fadump.1"}
    assert {"fadump-kernel-build.1", "fadump-qemu-list.1"} <= below
    for path in below:
        page(manual, path.removesuffix(".1"))


def test_a_page_says_all_that_the_help_does(manual):
    said = page(manual, "fadump-save")
    text = " ".join(said.split())
    assert "fadump-save - filter, compress and save a dump durably; convert one" in text
    assert "--compress {zlib,zstd,lzo,snappy,none} how pages are packed (default: zlib)" in text
    assert "SRC a dump; of a split one, all of its files" in text
    assert "fadump save vmcore - --level 31 | ssh host 'umask 077; cat > vmcore.flat'" in text
    assert "125 it could not be tried" in text
    program = " ".join(page(manual, "fadump").split())
    assert "fadump save filter, compress and save a dump durably; convert one" in program
    assert "fadump-save(1)" in program


def bash_completes(manual, *words):
    script = f"""
        source {manual}/bash/fadump
        COMP_WORDS=("$@") COMP_CWORD=$(($# - 1))
        "$(complete -p fadump | sed 's/.*-F \\([^ ]*\\).*/\\1/')"
        printf '%s\\n' "${{COMPREPLY[@]}}"
    """
    return output_of("bash", "-c", script, "bash", *words, cwd=manual).split()


def fish_completes(manual, *words):
    script = f"source {manual}/fish/fadump.fish; complete --do-complete (string join ' ' -- $argv)"
    environment = {**os.environ, "HOME": str(manual), "XDG_CONFIG_HOME": str(manual), "XDG_DATA_HOME": str(manual)}
    lines = output_of("fish", "--no-config", "-c", script, *words, cwd=manual, env=environment).splitlines()
    return [line.split("\t")[0] for line in lines]


@pytest.mark.parametrize("completes", [bash_completes, fish_completes])
def test_bash_and_fish_complete_commands_options_values_and_files(manual, completes):
    assert set(completes(manual, "fadump", "sh")) == {"show", "shell"}
    assert completes(manual, "fadump", "kernel", "b") == ["build"]
    assert "--level" in completes(manual, "fadump", "save", "--l")
    assert set(completes(manual, "fadump", "save", "--compress", "z")) == {"zlib", "zstd"}
    assert [name.rstrip("/") for name in completes(manual, "fadump", "check", "ma")] == ["man1"]


OPTION = re.compile(r"(?<![\w-])--[a-z][a-z-]*")
COMMANDS = {name: build_parser([name]).command([name]) for name in NAMES}


@pytest.mark.parametrize(
    "name", [name for name, parser in COMMANDS.items() if "COMMAND ..." not in parser.format_usage()]
)
def test_every_option_of_a_commands_help_is_in_its_page_and_is_completed(manual, name):
    said = COMMANDS[name].format_help()
    defined = [line[2:].partition("  ")[0] for line in said.splitlines() if line.startswith("  -")]
    options = set(OPTION.findall(" ".join(defined)))
    assert {"--help", "--json", "--quiet", "--verbose"} <= options
    assert options <= set(OPTION.findall(page(manual, f"fadump-{name}")))
    assert options <= set(bash_completes(manual, "fadump", name, "--"))
    assert options <= set(fish_completes(manual, "fadump", name, "--"))


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_whoever_has_no_package_of_it_asks_for_a_shells_completions(manual, shell, capsys):
    (packaged,) = (manual / shell).iterdir()
    assert main(["completion", shell]) == 0
    assert capsys.readouterr().out.strip() == packaged.read_text().strip()


def test_zsh_completes_what_is_typed(manual):
    environment = {**os.environ, "HOME": str(manual), "TERM": "dumb", "LC_ALL": "C.UTF-8"}
    command = ["--no-rcs", "-i"]
    zsh = pexpect.spawn("zsh", command, cwd=manual, env=environment, dimensions=(50, 200), encoding="utf-8", timeout=60)
    zsh.sendline(f"PS1='>'; fpath=({manual}/zsh $fpath); autoload -Uz compinit; compinit -u -D; print rea''dy")
    zsh.expect("ready")
    for typed, completed in (
        ("fadump kernel b", "fadump kernel build "),
        ("fadump save --comp", "fadump save --compress "),
        ("fadump save --compress zs", "fadump save --compress zstd "),
        ("fadump check ma", "fadump check man1/"),
    ):
        zsh.send(f"{typed}\t")
        zsh.expect_exact(completed)
        zsh.send("\x15")  # kills the line
    zsh.sendline("exit")
    zsh.expect(pexpect.EOF)
    zsh.close()
    assert zsh.exitstatus == 0


def test_zsh_takes_its_completions(manual):
    output_of("zsh", "--no-rcs", "-n", str(manual / "zsh" / "_fadump"))
    script = f"fpath=({manual}/zsh $fpath); autoload -Uz compinit; compinit -u -D; print $_comps[fadump]"
    assert output_of("zsh", "--no-rcs", "-c", script) == "_fadump\n"

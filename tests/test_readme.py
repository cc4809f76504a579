"""The commands of the pages that users begin with work as they are typed, in their order, in one directory.

These are the blocks that are marked as sh, and the programs in Python; test_docs.py parses all others.
"""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from fadump.cli import COMMANDS as NAMES
from fadump.cli import build_parser
from fadump.cli.parser import parse

ROOT = Path(__file__).parent.parent
PAGES = "\n".join(
    (ROOT / "docs" / f"{name}.md").read_text() for name in ("developers", "planning", "support", "saving")
)
COMMANDS = [
    line
    for block in re.findall(r"^```sh\n(.*?)^```$", PAGES, flags=re.MULTILINE | re.DOTALL)
    for line in block.splitlines()
]
PYTHON = re.findall(r"^```python\n(.*?)^```$", PAGES, flags=re.MULTILINE | re.DOTALL)
NOT_ON_THE_MODEL = ("--machine qemu", "/proc/device-tree")
"""What takes a real kernel, which tests/real_linux runs, or a Power machine: these are parsed only."""


def test_every_command_works_as_typed(tmp_path):
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    run = [line for line in COMMANDS if not any(words in line for words in NOT_ON_THE_MODEL)]
    assert len(run) >= 20
    for line in run:
        done = subprocess.run(
            ["bash", "-c", line], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, f"{line}\n{done.stdout}{done.stderr}"
    ignored = (ROOT / ".gitignore").read_text().splitlines()
    assert [path.name for path in tmp_path.iterdir() if f"/{path.name}/" not in ignored] == []
    readable = [path for path in tmp_path.rglob("*") if path.is_file() and path.stat().st_mode & 0o077]
    assert {path.suffix for path in readable} <= {".svg", ".map"}  # which have nothing of a dump
    for example in PYTHON:
        done = subprocess.run(
            [sys.executable, "-c", example], cwd=tmp_path, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0 and "sysrq triggered crash crash_fadump+0x" in done.stdout, done.stderr


@pytest.mark.parametrize("line", [line for line in COMMANDS if any(words in line for words in NOT_ON_THE_MODEL)])
def test_the_others_are_understood(line):
    name, *words = shlex.split(line, comments=True)
    assert name == "fadump"
    assert parse(build_parser(words), words).run is not None


def test_the_readmes_commands_are_understood():
    commands = re.findall(r"^\$ fadump (.*)$", (ROOT / "README.md").read_text(), flags=re.MULTILINE)
    assert len(commands) == 3
    for line in commands:
        words = shlex.split(line)
        assert parse(build_parser(words), words).run is not None


def test_every_command_has_its_line():
    lines = (ROOT / "docs" / "commands.md").read_text().splitlines()
    listed = {word for line in lines for word in re.findall(r"^\| (`fadump.*?) \|", line)}
    assert set(NAMES) <= {name for words in listed for name in re.findall(r"`fadump (\w+)", words)}

"""The commands of README.md work as they are typed, in their order, in one directory."""

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
README = (ROOT / "README.md").read_text()
COMMANDS = [
    line
    for block in re.findall(r"^```sh\n(.*?)^```$", README, flags=re.MULTILINE | re.DOTALL)
    for line in block.splitlines()
]
PYTHON = re.findall(r"^```python\n(.*?)^```$", README, flags=re.MULTILINE | re.DOTALL)
NOT_ON_THE_MODEL = ("--machine qemu", "/proc/device-tree")
"""What takes a real kernel, which tests/real_linux runs, or a Power machine: these are parsed only."""


def test_every_command_of_the_readme_works_as_typed(tmp_path):
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
    assert {path.suffix for path in readable} <= {".svg"}  # which has nothing of a dump
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


def test_the_readme_names_every_document():
    assert {f"docs/{path.name}" for path in (ROOT / "docs").glob("*.md")} <= set(
        re.findall(r"\((docs/[\w-]+\.md)\)", README)
    )


def test_the_readme_has_every_command_in_its_table():
    listed = {word for line in README.splitlines() for word in re.findall(r"^\| (`fadump.*?) \|", line)}
    assert set(NAMES) <= {name for words in listed for name in re.findall(r"`fadump (\w+)", words)}

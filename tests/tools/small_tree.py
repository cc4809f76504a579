"""A tree with one module and one test, small enough to be recorded within a test."""

import subprocess

from mutants.record import recorded

SOURCE = """\
LIMIT = 8


def is_less(number):
    return number < LIMIT
"""
TEST = """\
from pathlib import Path

import pytest

from fadump.module import LIMIT, is_less


@pytest.mark.parametrize("limit", [LIMIT])
def test_numbers(limit):
    assert is_less(7) and not is_less(8)
"""


class SmallTree:
    """Its files, under git, and where it is recorded."""

    def __init__(self, directory):
        self.root = directory / "tree"
        self.cache = directory / "cache"
        self.module = self.root / "src" / "fadump" / "module.py"
        self.test = self.root / "tests" / "test_module.py"
        for file, content in ((self.module, SOURCE), (self.module.with_name("__init__.py"), ""), (self.test, TEST)):
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(content)
        subprocess.run(["git", "init", "--quiet", self.root], check=True)

    def recorded(self):
        return recorded(self.root, self.cache, 1)

"""Each statement in docs/kernel-document.md has tests, and they exist.

``python -m tests.test_kernel_document`` prints them, for `make test-document`.
"""

import ast
import re

import pytest

from tests.test_docs import DOCS

ROWS = re.findall(
    r"^\| (?!statement \|)(?!---)(.+) \| (both|pseries|powernv|neither) \| (.+) \|$",
    (DOCS / "kernel-document.md").read_text(),
    re.MULTILINE,
)
TESTS = DOCS.parent / "tests"


def named_in(shown_by):
    """The tests that a row names, as pytest takes them."""
    for name in re.findall(r"`([\w/.]+\.py(?:::\w+)?)`", shown_by):
        path, _colons, test = name.partition("::")
        yield (TESTS / "real_linux" / path).resolve().relative_to(DOCS.parent), test


@pytest.mark.parametrize(("statement", "shown_by"), [(statement, shown_by) for statement, _where, shown_by in ROWS])
def test_a_statement_of_the_kernels_document_has_tests(statement, shown_by):
    named = [*named_in(shown_by)]
    assert named
    for path, test in named:
        tree = ast.parse((DOCS.parent / path).read_text())
        assert not test or test in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}, path


def test_every_row_is_read():
    text = (DOCS / "kernel-document.md").read_text()
    tables = len(re.findall(r"^\| statement \|", text, re.MULTILINE))
    assert len(ROWS) == len(re.findall(r"^\|", text, re.MULTILINE)) - 2 * tables > 40


def main():
    names = {
        f"{path}::{test}" if test else str(path) for _s, _where, shown_by in ROWS for path, test in named_in(shown_by)
    }
    print(*sorted(names))


if __name__ == "__main__":
    main()

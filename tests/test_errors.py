"""What errors say, and what no error may say: places and expectations that stand in no input."""

import ast
import errno
from pathlib import Path

import pytest

from fadump.errors import DiskError, FormatError, LimitError, SetupError, reason, unwritable

SOURCES = Path(__file__).parent.parent / "src" / "fadump"
READ_FROM_MEMORY = [*(SOURCES / "linux").rglob("*.py"), *(SOURCES / "kernel").rglob("*.py")]
"""These read values out of VMCOREINFO, a kernel's memory or a command line: offset 0 is where none of them is."""
MARKS_OF_LIMITS = ("at most", "MOST_", "MAX_")
ERRORS = {"FormatError", "LimitError"}


def errors_made_in(source):
    for node in ast.walk(ast.parse(source.read_text())):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in ERRORS:
            yield node


@pytest.mark.parametrize(
    "source", [path for path in READ_FROM_MEMORY if path.name != "elf.py"], ids=lambda path: path.stem
)
def test_no_offset_is_made_up(source):
    literal = [
        call.lineno
        for call in errors_made_in(source)
        for word in call.keywords
        if word.arg == "offset" and isinstance(word.value, ast.Constant) and word.value.value == 0
    ]
    assert literal == []


@pytest.mark.parametrize("source", sorted(SOURCES.rglob("*.py")), ids=lambda path: str(path.relative_to(SOURCES)))
def test_a_limit_is_no_expectation(source):
    limits = [
        call.lineno
        for call in errors_made_in(source)
        for word in call.keywords
        if word.arg == "expected" and any(mark in ast.unparse(word.value) for mark in MARKS_OF_LIMITS)
    ]
    assert limits == []


def test_an_error_without_an_offset_names_none():
    assert str(FormatError("struct page", expected=64, found=3)) == "struct page: expected 0x40, found 0x3"
    assert str(FormatError("struct page", offset=16)) == "struct page at offset 0x10"
    assert FormatError("struct page").offset is None


def test_a_limit_says_what_was_found_and_what_is_read():
    error = LimitError("symbols", found=5000, limit=4096, offset=8)
    assert str(error) == "5,000 symbols, more than the 4,096 that are read at offset 0x8"
    assert (error.what, error.found, error.limit, error.offset) == ("symbols", 5000, 4096, 8)


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (OSError(errno.ENOSPC, "No space left on device", "a file"), "No space left on device"),
        (ValueError("it is wrong"), "it is wrong"),
        (OSError(), "OSError"),
        (EOFError(), "EOFError"),
        (MemoryError(), "MemoryError"),
    ],
)
def test_a_reason_is_never_empty(error, text):
    assert reason(error) == text


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (errno.ENOSPC, DiskError),
        (errno.EDQUOT, DiskError),
        (errno.EIO, DiskError),
        (errno.ENOENT, SetupError),
        (errno.EACCES, SetupError),
        (errno.EROFS, SetupError),
        (errno.ENAMETOOLONG, SetupError),
    ],
)
def test_a_file_that_could_not_be_made_is_a_failure_only_if_there_was_a_place_for_it(code, kind):
    assert unwritable(OSError(code, "why")) is kind

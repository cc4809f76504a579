import pytest
from hypothesis import given
from hypothesis import strategies as st

from fadump.printable import counted, printable, quoted


@given(st.text())
def test_nothing_tells_the_terminal_anything(text):
    shown = printable(text)
    assert all(character.isprintable() or character in "\t\n" for character in shown)
    assert (shown == text) == all(character.isprintable() or character in "\t\n" for character in text)


def test_escapes_are_python_s():
    assert printable("\x1b[2J\tß\x9b\u202e\n") == "\\x1b[2J\tß\\x9b\\u202e\n"


def test_of_what_is_long_the_beginning_is_quoted():
    assert quoted("it's") == '"it\'s"'
    assert quoted("a" * 101) == f"'{'a' * 100}'..."


@pytest.mark.parametrize(
    ("count", "what", "text"),
    [(1, "CPU", "1 CPU"), (2, "reset", "2 resets"), (0, "page", "0 pages"), (1234, "more range", "1,234 more ranges")],
)
def test_one_is_no_plural(count, what, text):
    assert counted(count, what) == text

"""What is drawn on a terminal while work is done."""

import io
import re

import pytest

from fadump.moving_line import MovingLine, line_that_stays


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture
def drawn(monkeypatch):
    """Draws one line without colours, in which the rest of a bar is blank."""
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("NO_COLOR", "1")

    def draw(total, *updates):
        out = Terminal()
        line = MovingLine(lambda: "Copying [bold]", total, lambda: "9 pages left", out)
        for done, of in updates:
            line.update(done, of)
        with line.shown():
            pass
        return out.getvalue()

    return draw


def test_the_text_is_shown_as_it_stands(drawn):
    assert "Copying [bold]" in drawn(4)
    assert "9 pages left" in drawn(4)


@pytest.mark.parametrize(("updates", "cells"), [([], 0), ([(1, 4)], 3), ([(1, 4), (3, 4)], 9), ([(1, 2)], 6)])
def test_the_bar_is_as_full_as_the_work_is_done(drawn, updates, cells):
    last = drawn(4, *updates).split("Copying")[-1]
    assert last.count("━") == cells


def test_there_is_no_bar_where_the_end_is_not_known(drawn):
    assert "━" not in drawn(None)
    assert "━" not in drawn(4, (1, 4), (0, None)).split("Copying")[-1]


def test_a_line_moves_though_its_work_says_nothing(drawn):
    """What is waited for: five different pictures of the same line."""
    out = Terminal()
    with MovingLine(lambda: "waiting", None, lambda: "", out).shown():
        while len(set(re.findall(r"(\S) waiting", out.getvalue()))) < 5:
            pass


MARK = ("✓", "+", "green")


@pytest.mark.parametrize("columns", [40, 80, 100, 120])
def test_a_line_that_stays_fits_and_has_its_time_at_the_right(columns, monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("COLUMNS", str(columns))
    text = "the firmware has copied boot memory and the state of all CPUs aside, in four regions"
    first, *more = line_that_stays(MARK, "   1.23 s  ", text, "42 s", Terminal()).splitlines()
    assert (
        len(first) == min(columns, 100) - 1 and first.startswith("✓   1.23 s  the firmware") and first.endswith(" 42 s")
    )
    assert all(line.startswith(" " * 12) and line[12] != " " and len(line) < columns for line in more)
    assert " ".join([first[12:-6].strip(), *map(str.strip, more)]) == text


def test_colours_are_the_terminals_own_and_no_color_takes_them(monkeypatch):
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.delenv("NO_COLOR", raising=False)
    assert line_that_stays(MARK, " ", "done", "", Terminal()) == "\x1b[32m✓\x1b[0m done"
    bad = ("✗", "x", "bold red")
    assert line_that_stays(bad, " ", "crash", "", Terminal()) == "\x1b[1;31m✗\x1b[0m\x1b[1;31m crash\x1b[0m"
    monkeypatch.setenv("NO_COLOR", "1")
    assert "3" not in line_that_stays(bad, " ", "crash", "", Terminal())


def test_a_terminal_without_the_letters_has_ascii(monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("NO_COLOR", "1")

    class Ascii(Terminal):
        encoding = "ascii"

    assert line_that_stays(MARK, " ", "done", "", Ascii()) == "+ done"
    out = Ascii()
    with MovingLine(lambda: "waiting", None, lambda: "", out).shown():
        pass
    assert out.getvalue().isascii()

"""What is drawn on a terminal while work is done."""

import io

import pytest

from fadump.moving_line import MovingLine


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
        line = MovingLine("Copying [bold]", total, lambda: "9 pages left", out)
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


def test_a_bar_whose_end_is_not_known_is_drawn(drawn):
    assert "━" in drawn(None)

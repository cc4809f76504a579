"""What is read off a guest's console, and what is made of it; the guests themselves take too long for a test."""

import re
import time
from contextlib import closing

import pytest

from benchmarks import capture_boot, production
from benchmarks.guest_shell import TimedLines
from benchmarks.production import WAYS, Crashed
from fadump.errors import MachineError


def test_a_line_is_found_as_soon_as_it_is_complete_and_without_the_terminal_s_controls(tmp_path):
    with closing(TimedLines(tmp_path / "console.log")) as lines:
        lines.write(b"\x1b[?2004l\rfirst\r\nsec")
        between = time.monotonic()
        assert lines.first(re.compile("sec"), 0.0) is None
        lines.write(b"ond\r\n")
        assert [line for _when, line in lines.since(between)] == ["second"]
        assert 0 <= lines.first(re.compile("^second$"), between) <= time.monotonic() - between
        assert lines.first(re.compile("first"), between) is None
    assert (tmp_path / "console.log").read_bytes() == b"\x1b[?2004l\rfirst\r\nsecond\r\n"


def test_a_way_s_row_has_medians_and_how_it_stands_to_the_others():
    runs = [Crashed(5.0, 10.0, None, login, 3500, 464, 3500) for login in (60.0, 30.0, 40.0)]
    row = production.row(WAYS[2].name, runs, [80.0, 50.0, 40.0])
    assert (row["login s"], row["of kdump"], row["of kdump-tools"]) == (40.0, 0.5, 0.8)
    assert (row["saved s"], row["released s"], row["MiB capturing"]) == (10.0, None, 464)


def test_numbers_are_those_of_the_whole_line_and_not_of_the_command_that_was_typed():
    lines = ["TIMEFORMAT='took %R %U %S'; time true", "took 1.5 0.25 0.125"]
    assert capture_boot.numbers(capture_boot.TOOK, lines) == ("1.5", "0.25", "0.125")
    with pytest.raises(MachineError, match="took"):
        capture_boot.numbers(capture_boot.TOOK, lines[:1])

"""What saving says of a dump's pages, against what makedumpfile prints (print_report())."""

import pytest

from fadump.capture.report import PageReport
from fadump.linux.pages.page_class import PageClass


def lines(**others):
    counts = {"excluded_before": 0, "missing": 0} | others
    report = PageReport(0x10000, 200, 100, 10, {PageClass.FREE: 20}, **counts)
    return dict(line.split(":", 1) for line in report.text().splitlines() if ":" in line)


@pytest.mark.parametrize(
    ("counted", "line"),
    [("excluded_before", "    Excluded earlier        "), ("missing", "    Missing in the source   ")],
)
def test_a_line_that_makedumpfile_does_not_have_is_there_only_with_something_to_say(counted, line):
    assert line not in lines()
    assert int(lines(**{counted: 5})[line], 16) == 5


def test_what_is_excluded_and_what_remains_are_all_pages():
    said = lines(excluded_before=5)
    assert int(said["  Excluded pages   "], 16) == 10 + 20 + 5
    assert int(said["  Remaining pages  "], 16) == 100 - 35

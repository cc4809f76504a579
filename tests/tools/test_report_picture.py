"""The picture of a crash report in the documents shows what a report still says; its tool leaves nothing out."""

import html
import re
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

from fadump.report.text import as_text
from tests.report.stories import kernel_that_said, story_of
from tests.report.test_verdict import OOPS

ROOT = Path(__file__).parents[2]
PICTURE = ROOT / "docs" / "report.svg"
TOOL = ROOT / "tools" / "report_picture.py"
MOST_BYTES = 100_000


def lines_of(svg):
    return [html.unescape(text) for text in re.findall(r"<text [^>]*?(?:/>|>(.*?)</text>)", svg)]


def headings(lines):
    return [line for line, below in pairwise(lines) if line and set(below) == {"-"}]


def labels(lines):
    return [found[1] for line in lines if (found := re.match(r"([A-Z][a-z]+(?: [a-z]+)*) {2,}\S", line))]


def picture_of(report):
    done = subprocess.run([sys.executable, TOOL], input=report, capture_output=True, text=True, check=True)
    return done.stdout


def test_the_documents_picture_has_the_headings_and_labels_of_todays_reports():
    shown = lines_of(PICTURE.read_text())
    today = as_text(story_of(kernel_that_said(*OOPS))).splitlines()
    assert PICTURE.stat().st_size < MOST_BYTES
    assert shown[0] == today[0] and headings(shown) == headings(today)[: len(headings(shown))]
    assert labels(shown)[:4] == labels(today)[:4] == ["Where", "To blame", "How sure", "Next step"]


def test_the_documents_picture_is_of_a_module_that_is_to_blame():
    text = "\n".join(lines_of(PICTURE.read_text()))
    assert re.search(r"^To blame +the module \S+, in \S+\(\)$", text, re.MULTILINE)
    assert re.search(r"^> [0-9a-f]{16} \S+ \[\S+\]", text, re.MULTILINE)


def test_a_picture_has_each_line_of_the_first_sections_and_marks_what_is_marked():
    report = as_text(story_of(kernel_that_said(*OOPS)))
    svg = picture_of(report)
    shown = lines_of(svg)
    above = report[: report.index("\nRegisters:\n")].splitlines()
    assert shown[: len(above) + 1] == [*above, ""]
    assert "".join(shown[len(above) + 1 :]).startswith("... and: the log's end, cpus, blocked tasks")
    assert "https://" not in svg and svg.count('class="heading"') == len(headings(shown)) + 1


def test_a_line_that_is_too_long_goes_on_below():
    shown = lines_of(picture_of("A" + "b" * 150 + "\n"))
    assert [line.strip() for line in shown] == ["A" + "b" * 109, "b" * 41]

"""How a report is shown, for all commands that write one."""

from pathlib import Path

from fadump.printable import as_utf8
from fadump.report.html import as_html
from fadump.report.story import Story
from fadump.report.text import as_text

_HTML = (".html", ".htm")


def shown(story: Story, place: Path | None) -> str:
    """A report as its file is to have it: a page where that is named so, else text."""
    return as_utf8(as_html(story) if place is not None and place.suffix.lower() in _HTML else as_text(story))

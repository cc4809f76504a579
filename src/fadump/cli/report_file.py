"""A report's file, for all commands that write one."""

import os
import tempfile
from pathlib import Path

from fadump.given import writing
from fadump.report.html import as_html
from fadump.report.story import Story
from fadump.report.text import as_text

_HTML = (".html", ".htm")


def shown(story: Story, place: Path | None) -> str:
    """A report as its file is to have it: a page where that is named so, else text."""
    return as_html(story) if place is not None and place.suffix.lower() in _HTML else as_text(story)


def write_report(place: Path, text: str) -> None:
    """Write a file that only its owner can read, in whole or not at all; a pipe or a device is written to as it is.

    :raises SetupError: it can't be written.
    :raises DiskError: the disk is full, or has failed.
    """
    with writing("--out", place):
        _write(place, text.encode())


def _write(place: Path, data: bytes) -> None:
    if place.exists() and not place.is_file():
        place.write_bytes(data)
        return
    place = place.resolve()
    fd, name = tempfile.mkstemp(dir=place.parent, prefix=f".{place.name}.")  # 0600
    try:
        with os.fdopen(fd, "wb") as file:
            file.write(data)
        Path(name).replace(place)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise

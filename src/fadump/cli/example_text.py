"""Examples, and lists like that of exit codes, in lines that a terminal has room for.

A line is a command and, two spaces or more behind it, what it does; one that begins further right says more of that.
"""

import re
import textwrap
from collections.abc import Iterator
from itertools import groupby

_COMMAND_AND_TEXT = re.compile(r"(?P<command> *\S.*?) {2,}(?P<text>\S.*)")
_NEAR = 10
"""Columns; what begins no further right may stay there, as a list's text does."""
_BELOW = 6
"""Where the text of a command begins that stands below it."""


def fitted(text: str, width: int) -> str:
    """The text as it is where it fits; of a paragraph that doesn't, what commands do stands below them.

    A command stays on its line, however long it is.
    """
    paragraphs = groupby(text.split("\n"), lambda line: not line.strip())
    return "\n".join(line for _blank, lines in paragraphs for line in _paragraph(list(lines), width))


def _paragraph(lines: list[str], width: int) -> Iterator[str]:
    fits = all(len(line) <= width for line in lines)
    for line in lines:
        yield from [line] if fits else _in_lines(line, width)


def _in_lines(line: str, width: int) -> list[str]:
    indent = len(line) - len(line.lstrip())
    found = _COMMAND_AND_TEXT.fullmatch(line)
    if found is not None and found.start("text") > _NEAR:
        return [found["command"], *_wrapped(found["text"], width, _BELOW)]
    if found is not None:
        begin = line[: found.start("text")]
        return _wrapped(found["text"], width, len(begin), begin)
    if 0 < indent < _BELOW:
        return [line]
    if indent == 0:
        return _wrapped(line, width, 2, "")
    return _wrapped(line.strip(), width, indent if indent <= _NEAR else _BELOW)


def _wrapped(text: str, width: int, indent: int, begin: str | None = None) -> list[str]:
    blank = " " * indent
    return textwrap.wrap(text, width, initial_indent=blank if begin is None else begin, subsequent_indent=blank)

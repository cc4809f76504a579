"""A story as text of 100 columns."""

from collections.abc import Iterable, Iterator, Sequence
from textwrap import wrap

from fadump.report.story import Block, Bullets, Facts, Folded, Line, Lines, Paragraph, Picture, Story, Table, Tone

COLUMNS = 100
_LABEL = 14
_INDENT = "  "


def as_text(story: Story) -> str:
    """All of it, ending in a newline."""
    lines = [story.title.upper(), *_wrapped(story.subtitle), "=" * COLUMNS]
    for section in story.sections:
        lines += ["", section.title.upper(), "-" * len(section.title), *_blocks(section.blocks, COLUMNS)]
    lines += ["", *_wrapped(story.end)]
    return "\n".join(line.rstrip() for line in lines) + "\n"


def _blocks(blocks: Iterable[Block], columns: int) -> Iterator[str]:
    for block in blocks:
        match block:
            case Paragraph(text, tone):
                yield from _wrapped(text, columns, "! " if tone in (Tone.LEAD, Tone.WARNING) else "")
            case Facts(rows):
                yield from (line for label, text in rows for line in _wrapped(text, columns, f"{label:{_LABEL}}"))
            case Bullets(items):
                yield from (line for item in items for line in _wrapped(item, columns, "* "))
            case Lines(lines):
                yield from (cut for line in lines for cut in _cut(line.text, columns, _mark(line)))
            case Table():
                yield from _table(block, columns)
            case Picture(_drawing, label, lines):
                yield from [*_wrapped(label, columns), *(cut for text in lines for cut in _cut(text, columns, _INDENT))]
            case Folded():
                yield from _folded(block, columns)


def _folded(block: Folded, columns: int) -> Iterator[str]:
    if block.instead_in_text is not None:
        yield from _wrapped(block.instead_in_text, columns)
        return
    yield from _wrapped(f"{block.title}:", columns)
    yield from (_INDENT + line for line in _blocks(block.blocks, columns - len(_INDENT)))


def _mark(line: Line) -> str:
    return "> " if line.marked else _INDENT


def _wrapped(text: str, columns: int = COLUMNS, before: str = "") -> list[str]:
    """Words in lines; ``before`` stands in front of the first."""
    room = max(20, columns - len(before))
    found = wrap(text, room, break_on_hyphens=False) or [""]
    return [(before if number == 0 else " " * len(before)) + line for number, line in enumerate(found)]


def _cut(text: str, columns: int, before: str) -> Iterator[str]:
    """Columns as they are, a long line in pieces, at a blank if there is one."""
    rest = text.expandtabs()
    inner = " " * (len(before) + 2)
    while True:
        room = max(20, columns - len(before))
        at = rest.rfind(" ", room // 2, room + 1) if len(rest) > room else -1
        end = at if at > 0 else room
        yield before + rest[:end]
        rest = rest[end:].lstrip() if at > 0 else rest[end:]
        if not rest:
            return
        before = inner


def _table(table: Table, columns: int) -> Iterator[str]:
    """Columns two blanks apart; what is too long in the last one goes on below."""
    rows: Sequence[Sequence[str]] = [table.heads, *table.rows]
    widths = [max(len(row[number]) for row in rows) for number in range(len(table.heads) - 1)]
    for row in rows:
        cells = [
            cell.rjust(width) if number in table.right else cell.ljust(width)
            for number, (cell, width) in enumerate(zip(row, widths, strict=False))
        ]
        yield from _cut("  ".join([*cells, row[-1]]), columns, "")

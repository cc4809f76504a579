"""What a report consists of, however it is shown.

All text in it is ready to be shown, see :mod:`fadump.report.redact`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

from fadump.picture.paint import Drawing


class Tone(Enum):
    """What a paragraph is."""

    PLAIN = "plain"
    LEAD = "lead"
    """What a reader must not miss."""
    QUIET = "quiet"
    """An explanation."""
    WARNING = "warning"
    """Something that is missing or wrong."""


@dataclass(frozen=True, slots=True)
class Paragraph:
    """A sentence or more."""

    text: str
    tone: Tone = Tone.PLAIN


@dataclass(frozen=True, slots=True)
class Facts:
    """Labels, each with what is known."""

    rows: Sequence[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class Bullets:
    """Sentences of one kind."""

    items: Sequence[str]


@dataclass(frozen=True, slots=True)
class Line:
    """A line of a log or a stack; ``marked``: it is the one to look at."""

    text: str
    marked: bool = False


@dataclass(frozen=True, slots=True)
class Lines:
    """Lines whose columns count."""

    lines: Sequence[Line]
    label: str


@dataclass(frozen=True, slots=True)
class Table:
    """Rows of cells; the columns numbered in ``right`` are numbers."""

    label: str
    heads: Sequence[str]
    rows: Sequence[Sequence[str]]
    right: Sequence[int] = ()


@dataclass(frozen=True, slots=True)
class Picture:
    """A drawing; ``label`` and ``lines`` say the same in words."""

    drawing: Drawing
    label: str
    lines: Sequence[str]


@dataclass(frozen=True, slots=True)
class Folded:
    """Details that are shown when asked for. Text has them always, or ``instead_in_text`` where they are long."""

    title: str
    blocks: "Sequence[Block]"
    instead_in_text: str | None = None


Block = Paragraph | Facts | Bullets | Lines | Table | Picture | Folded


@dataclass(frozen=True, slots=True)
class Section:
    """A part with a heading; ``anchor`` is its name in links."""

    anchor: str
    title: str
    blocks: Sequence[Block]


@dataclass(frozen=True, slots=True)
class Story:
    """A whole report."""

    title: str
    subtitle: str
    sections: Sequence[Section]
    end: str

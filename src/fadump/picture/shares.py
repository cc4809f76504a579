"""A bar of shares: what a whole is made of, with a legend of sizes and percentages."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from xml.etree import ElementTree as ET

from fadump.picture.paint import ROW_HEIGHT, WIDTH, Drawing, Paint, box, words
from fadump.progress import binary_size

_TITLE_HEIGHT, _BAR_HEIGHT, _LETTER_WIDTH = 24, 40, 14
_SIZE_END, _PERCENT_END, _TEXT = 110, 180, 200


@dataclass(frozen=True, slots=True)
class Share:
    """A part of the whole; ``letter`` names it where there is room."""

    size_bytes: int
    letter: str
    paint: Paint
    text: str


def draw_shares(title: str, shares: Sequence[Share]) -> Drawing:
    """The bar and its legend; shares of nothing are left out."""
    there = [share for share in shares if share.size_bytes > 0]
    total = sum(share.size_bytes for share in there)
    elements = [words(0, 14, title, "fd-title"), *_bar(there, total)]
    y = _TITLE_HEIGHT + _BAR_HEIGHT + 10
    for share in there:
        percent = f"{share.size_bytes * 100 / total:.1f} %"
        elements += [box(0, y, 20, 16, share.paint), words(10, y + 13, share.letter, "fd-letter")]
        elements.append(words(_SIZE_END, y + 13, binary_size(share.size_bytes), "fd-number fd-end"))
        elements.append(words(_PERCENT_END, y + 13, percent, "fd-number fd-end"))
        elements.append(words(_TEXT, y + 13, share.text))
        y += ROW_HEIGHT
    return Drawing(y, tuple(elements))


def _bar(shares: Sequence[Share], total: int) -> Iterator[ET.Element]:
    before = 0
    for share in shares:
        x, width = before * WIDTH / total, share.size_bytes * WIDTH / total
        yield box(x, _TITLE_HEIGHT, max(width, 1.0), _BAR_HEIGHT, share.paint, share.text)
        if width >= _LETTER_WIDTH:
            yield words(x + width / 2, _TITLE_HEIGHT + _BAR_HEIGHT / 2 + 5, share.letter, "fd-letter")
        before += share.size_bytes

"""A story as one HTML page: no script, nothing from a network, light or dark as the reader's system is.

The page is a tree of elements that is written at its end, so that no text can become markup; a policy in its head
forbids it to load anything.
"""

from collections.abc import Iterable, Iterator, Sequence
from itertools import count
from xml.etree import ElementTree as ET

from fadump.picture.paint import STYLE as PICTURE_STYLE
from fadump.picture.paint import picture_element
from fadump.report.story import (
    Block,
    Bullets,
    Facts,
    Folded,
    Lines,
    Paragraph,
    Picture,
    Section,
    Story,
    Table,
    Tone,
)
from fadump.report.style import STYLE

_POLICY = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"


def as_html(story: Story) -> str:
    """The page."""
    head = _made("head")
    head.append(_made("meta", charset="utf-8"))
    head.append(_made("meta", **{"http-equiv": "Content-Security-Policy"}, content=_POLICY))
    head.append(_made("meta", name="viewport", content="width=device-width, initial-scale=1"))
    head.append(_made("meta", name="color-scheme", content="light dark"))
    head.append(_made("meta", name="referrer", content="no-referrer"))
    head.append(_made("title", f"{story.title}: {story.subtitle}"))
    head.append(_made("style", STYLE + PICTURE_STYLE))
    pictures = count(1)
    main = _made("main", id="main")
    main.extend(_section(section, pictures) for section in story.sections)
    page = _made("html", lang="en")
    page.extend([head, _body(story, main)])
    return "<!DOCTYPE html>\n" + ET.tostring(page, encoding="unicode", method="html") + "\n"


def _body(story: Story, main: ET.Element) -> ET.Element:
    body = _made("body")
    body.append(_made("a", "To the verdict", href="#verdict", class_="skip"))
    header = _made("header")
    header.extend([_made("h1", story.title), _made("p", story.subtitle)])
    contents = _made("nav", **{"aria-label": "Contents"})
    links = _made("ul")
    for section in story.sections:
        item = _made("li")
        item.append(_made("a", section.title, href=f"#{section.anchor}"))
        links.append(item)
    contents.append(links)
    footer = _made("footer")
    footer.append(_made("p", story.end))
    body.extend([header, contents, main, footer])
    return body


def _section(section: Section, pictures: Iterator[int]) -> ET.Element:
    heading = f"{section.anchor}-heading"
    made = _made("section", id=section.anchor, **{"aria-labelledby": heading})
    made.append(_made("h2", section.title, id=heading))
    made.extend(_blocks(section.blocks, pictures))
    return made


def _blocks(blocks: Iterable[Block], pictures: Iterator[int]) -> Iterator[ET.Element]:
    for block in blocks:
        match block:
            case Paragraph(text, tone):
                yield _made("p", text, class_="" if tone is Tone.PLAIN else tone.value)
            case Facts(rows):
                yield _facts(rows)
            case Bullets(items):
                bullets = _made("ul", class_="bullets")
                bullets.extend(_made("li", text) for text in items)
                yield bullets
            case Lines():
                yield _lines(block)
            case Table():
                yield _table(block)
            case Picture():
                yield from _picture(block, next(pictures))
            case Folded(title, inner, _):
                folded = _made("details")
                folded.append(_made("summary", title))
                folded.extend(_blocks(inner, pictures))
                yield folded


def _facts(rows: Sequence[tuple[str, str]]) -> ET.Element:
    facts = _made("dl")
    for label, text in rows:
        pair = _made("div")
        pair.extend([_made("dt", label), _made("dd", text)])
        facts.append(pair)
    return facts


def _lines(block: Lines) -> ET.Element:
    made = _scrolled("pre", block.label)
    last: ET.Element | None = None
    for line in block.lines:
        if line.marked:
            last = _made("mark", line.text)
            last.tail = "\n"
            made.append(last)
        elif last is None:
            made.text = f"{made.text or ''}{line.text}\n"
        else:
            last.tail = f"{last.tail or ''}{line.text}\n"
    return made


def _table(block: Table) -> ET.Element:
    table = _made("table")
    head, body = _made("thead"), _made("tbody")
    for part, tag, rows in ((head, "th", [block.heads]), (body, "td", block.rows)):
        for row in rows:
            made = _made("tr")
            for number, text in enumerate(row):
                cell = _made(tag, text, class_="number" if number in block.right else "")
                if tag == "th":
                    cell.set("scope", "col")
                made.append(cell)
            part.append(made)
    table.extend([_made("caption", block.label), head, body])
    around = _scrolled("div", block.label)
    around.append(table)
    return around


def _picture(block: Picture, number: int) -> Iterator[ET.Element]:
    around = _scrolled("div", block.label)
    around.set("class", "scrolled picture")
    around.append(picture_element([block.drawing], block.label, f"fd{number}"))
    yield around
    words = _made("details")
    words.append(_made("summary", "The same in words"))
    text = _scrolled("pre", f"{block.label}, in words")
    text.text = "\n".join(block.lines)
    words.append(text)
    yield words


def _scrolled(tag: str, label: str) -> ET.Element:
    """What may be wider than the page: it is scrolled by itself, with the keyboard, too."""
    return _made(tag, class_="scrolled", tabindex="0", role="group", **{"aria-label": label})


def _made(tag: str, text: str = "", *, class_: str = "", **attributes: str) -> ET.Element:
    made = ET.Element(tag, attributes)
    if class_:
        made.set("class", class_)
    if text:
        made.text = text
    return made

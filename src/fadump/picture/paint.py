"""What pictures are painted with: fills that differ in lightness or hatch, too, and a ground of their own.

The hues are those of Okabe and Ito (2008), which people with any common colour blindness tell apart. Where two kinds
may lie side by side, one is hatched, so that they differ in grey. Ink on a fill is dark in either mode: each fill has a
contrast of 4.5 to it. The ground and what is written on it follow the reader's light or dark mode.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum
from xml.etree import ElementTree as ET

from fadump.printable import in_a_line

WIDTH = 960
"""Of every picture, in pixels as it is drawn; it is scaled to the room that there is."""
MARGIN = 20
ROW_HEIGHT = 20
_NAMESPACE = "http://www.w3.org/2000/svg"
_CELL = 8
"""A hatch's period, in pixels."""
STYLE = """
.fd-ground { fill: #ffffff }
.fd-title { fill: #16181d; font: 600 15px system-ui, sans-serif }
.fd-text { fill: #16181d; font: 13px system-ui, sans-serif }
.fd-number { fill: #16181d; font: 12px ui-monospace, monospace }
.fd-quiet { fill: #565b66; font: 12px system-ui, sans-serif }
.fd-letter { fill: #101114; font: 600 13px ui-monospace, monospace; text-anchor: middle;
  paint-order: stroke; stroke: #ffffffb0; stroke-width: 3px }
.fd-end { text-anchor: end }
.fd-middle { text-anchor: middle }
.fd-line { stroke: #565b66; fill: none }
.fd-box { stroke: #ffffff; stroke-width: 1 }
.fd-other { fill: #dcdfe4 }
.fd-none { fill: #ffffff; stroke: #9a9fa9; stroke-dasharray: 3 3 }
@media (prefers-color-scheme: dark) {
  .fd-ground { fill: #16181d }
  .fd-title, .fd-text, .fd-number { fill: #e8eaee }
  .fd-quiet { fill: #a9afba }
  .fd-line { stroke: #a9afba }
  .fd-box { stroke: #16181d }
  .fd-other { fill: #3a3f49 }
  .fd-none { fill: #16181d; stroke: #6d727d }
}
@media print {
  .fd-ground { fill: #ffffff }
  .fd-title, .fd-text, .fd-number { fill: #16181d }
  .fd-quiet { fill: #565b66 }
  .fd-line { stroke: #565b66 }
  .fd-box { stroke: #ffffff }
  .fd-other { fill: #dcdfe4 }
  .fd-none { fill: #ffffff; stroke: #9a9fa9 }
}
"""


class Hatch(Enum):
    """Lines or dots over a fill: an SVG path for one cell."""

    PLAIN = ""
    RISING = "M-1,9 L9,-1 M-1,1 L1,-1 M7,9 L9,7"
    FALLING = "M-1,-1 L9,9 M7,-1 L9,1 M-1,7 L1,9"
    LEVEL = "M0,2 H8 M0,6 H8"
    UPRIGHT = "M2,0 V8 M6,0 V8"
    CROSSED = "M-1,9 L9,-1 M-1,-1 L9,9"


class Paint(Enum):
    """A fill and a hatch. Those without a colour of their own follow the reader's mode."""

    SKY = ("#56b4e9", Hatch.PLAIN)
    GREEN = ("#27a07a", Hatch.RISING)
    ORANGE = ("#f2b134", Hatch.PLAIN)
    YELLOW = ("#f0e442", Hatch.LEVEL)
    ROSE = ("#dc93b9", Hatch.FALLING)
    RED = ("#f0875a", Hatch.CROSSED)
    PINK = ("#f7c6d2", Hatch.UPRIGHT)
    BROWN = ("#c5a582", Hatch.RISING)
    TURQUOISE = ("#c9f0ec", Hatch.UPRIGHT)
    GREY = ("#a8adb6", Hatch.LEVEL)
    BLUE = ("#b3c4ef", Hatch.CROSSED)
    LIME = ("#cfe8b4", Hatch.PLAIN)
    OTHER = ("", Hatch.PLAIN)
    """Memory of no interest."""
    NONE = ("", Hatch.FALLING)
    """What should be there and isn't, or isn't known: an empty box."""

    @property
    def colour(self) -> str:
        """The fill, as in HTML; empty if it follows the reader's mode."""
        return self.value[0]

    @property
    def hatch(self) -> Hatch:
        """What is drawn over the fill."""
        return self.value[1]


@dataclass(frozen=True, slots=True)
class Drawing:
    """Part of a picture: its height in pixels, and its elements, which count from its upper left corner."""

    height: float
    elements: tuple[ET.Element, ...]


def picture(drawings: Iterable[Drawing], label: str) -> str:
    """Drawings below each other as one SVG document; ``label`` says in words what it shows."""
    root = picture_element(drawings, label, "fd")
    root.insert(1, element("style", text=STYLE))
    width, height = root.get("viewBox", "").split()[2:]
    root.set("width", width)
    root.set("height", height)
    return ET.tostring(root, encoding="unicode") + "\n"


def picture_element(drawings: Iterable[Drawing], label: str, prefix: str) -> ET.Element:
    """The same as an element of an HTML page that has :data:`STYLE`; ``prefix`` keeps names apart in a page."""
    root = element("svg", xmlns=_NAMESPACE, role="img")
    root.append(element("title", text=label))
    definitions = element("defs")
    used: set[Paint] = set()
    body: list[ET.Element] = []
    y = float(MARGIN)
    for drawing in drawings:
        group = element("g", transform=f"translate({MARGIN} {y:g})")
        group.extend(drawing.elements)
        for child in group.iter():
            paint = child.attrib.pop("paint", None)
            if paint is not None:
                used.add(Paint[paint])
                _fill(child, Paint[paint], prefix)
        body.append(group)
        y += drawing.height + MARGIN
    definitions.extend(_pattern(paint, prefix) for paint in Paint if paint in used and _is_pattern(paint))
    width = WIDTH + 2 * MARGIN
    root.set("viewBox", f"0 0 {width} {y:g}")
    ground = element("rect", class_="fd-ground", width=width, height=y)
    root.extend([definitions, ground, *body])
    return root


def element(tag: str, *, class_: str = "", text: str = "", **attributes: str | float) -> ET.Element:
    """An element of SVG; what can't be shown of a text is escaped."""
    made = ET.Element(tag, {name.replace("_", "-"): _value(value) for name, value in attributes.items()})
    if class_:
        made.set("class", class_)
    if text:
        made.text = text if tag == "style" else in_a_line(text)
    return made


def box(x: float, y: float, width: float, height: float, paint: Paint, tip: str = "") -> ET.Element:
    """A box filled with a paint; ``tip`` is told where a mouse rests on it."""
    made = element("rect", x=x, y=y, width=width, height=height, paint=paint.name)
    if tip:
        made.append(element("title", text=tip))
    return made


def words(x: float, y: float, text: str, class_: str = "fd-text") -> ET.Element:
    """A line of text from, before or around ``x``, as its class says."""
    return element("text", class_=class_, x=x, y=y, text=text)


def _value(value: str | float) -> str:
    return value if isinstance(value, str) else f"{value:.6g}"


def _is_pattern(paint: Paint) -> bool:
    return bool(paint.colour) and paint.hatch is not Hatch.PLAIN


def _fill(box_: ET.Element, paint: Paint, prefix: str) -> None:
    plain = {Paint.OTHER: "fd-box fd-other", Paint.NONE: "fd-box fd-none"}
    box_.set("class", plain.get(paint, "fd-box"))
    if _is_pattern(paint):
        box_.set("fill", f"url(#{prefix}-{paint.name.lower()})")
    elif paint.colour:
        box_.set("fill", paint.colour)


def _pattern(paint: Paint, prefix: str) -> ET.Element:
    cell = {"width": f"{_CELL}", "height": f"{_CELL}"}
    pattern = element("pattern", id=f"{prefix}-{paint.name.lower()}", patternUnits="userSpaceOnUse", **cell)
    pattern.append(element("rect", fill=paint.colour, **cell))
    pattern.append(element("path", d=paint.hatch.value, stroke="#101114", stroke_opacity=0.35, fill="none"))
    return pattern

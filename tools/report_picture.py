"""A picture of a crash report for the documents: its first sections as SVG, light or dark as the reader is.

fadump report vmcore | python tools/report_picture.py > docs/report.svg
"""

import re
import sys
from itertools import pairwise
from xml.etree import ElementTree as ET

END = "Registers:"
"""The line at which it ends: behind what happened, to which system, and the stack."""
COLUMN_PIXELS, LINE_PIXELS, MARGIN_PIXELS = 7.8, 18, 20
FONT = "13px ui-monospace, 'DejaVu Sans Mono', Menlo, Consolas, monospace"
STYLE = f"""
text {{ font: {FONT}; fill: #16181d; white-space: pre }}
.ground {{ fill: #ffffff; stroke: #d5d8de }}
.heading {{ font-weight: 700; fill: #0b5cad }}
.lead, .marked {{ font-weight: 700 }}
.mark {{ fill: #ffe2b8 }}
.marked {{ fill: #3d1f00 }}
@media (prefers-color-scheme: dark) {{
  text {{ fill: #e8eaee }}
  .ground {{ fill: #16181d; stroke: #3a3f49 }}
  .heading {{ fill: #8ec2ff }}
  .mark {{ fill: #5a3a10 }}
  .marked {{ fill: #ffe9cc }}
}}
"""


def first_sections(report: str) -> list[str]:
    """The report's first lines, and a line for the sections that follow."""
    lines = report.splitlines()
    end = lines.index(END) if END in lines else len(lines)
    more = ", ".join(line.lower() for line, below in pairwise(lines[end:]) if line and re.fullmatch("-+", below))
    return [*lines[:end], *(["", f"... and: {more}"] if more else [])]


def picture(lines: list[str]) -> ET.Element:
    """The lines as SVG."""
    lines = [cut for line in lines for cut in ([line[:110], f"    {line[110:]}"] if len(line) > 110 else [line])]
    width = round(max(map(len, lines)) * COLUMN_PIXELS) + 2 * MARGIN_PIXELS
    height = len(lines) * LINE_PIXELS + 2 * MARGIN_PIXELS
    size = {"width": str(width), "height": str(height), "viewBox": f"0 0 {width} {height}"}
    svg = ET.Element("svg", {"xmlns": "http://www.w3.org/2000/svg", "role": "img", **size})
    ET.SubElement(svg, "title").text = "A crash report of fadump's, as text"
    ET.SubElement(svg, "style").text = STYLE
    ground = {"x": "0.5", "y": "0.5", "width": str(width - 1), "height": str(height - 1), "rx": "8"}
    ET.SubElement(svg, "rect", {"class": "ground", **ground})
    for number, line in enumerate(lines):
        _line(svg, number, line, width)
    return svg


def _line(svg: ET.Element, number: int, line: str, width: int) -> None:
    top = MARGIN_PIXELS + number * LINE_PIXELS
    kind = "lead" if line.startswith("! ") else "marked" if line.startswith("> ") else ""
    if re.fullmatch(r"[A-Z' ]+", line):
        kind = "heading"
    if kind == "marked":
        place = {"x": str(MARGIN_PIXELS // 2), "y": str(top), "width": str(width - MARGIN_PIXELS)}
        ET.SubElement(svg, "rect", {"class": "mark", **place, "height": str(LINE_PIXELS)})
    text = ET.SubElement(svg, "text", {"x": str(MARGIN_PIXELS), "y": str(top + 13), "xml:space": "preserve"})
    if kind:
        text.set("class", kind)
    text.text = line


if __name__ == "__main__":
    print(ET.tostring(picture(first_sections(sys.stdin.read())), encoding="unicode"))

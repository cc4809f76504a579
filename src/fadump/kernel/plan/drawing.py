"""Figures of a plan, to scale: as text and as SVG.

Like figures 1 and 2 of Linux's Documentation/arch/powerpc/firmware-assisted-dump.rst: the memory of the first kernel
and of the capture kernel. Ranges smaller than a column are drawn one column wide, and on top of larger ones.
"""

import html
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from fadump.kernel.plan.plan import Plan
from fadump.kernel.plan.reserve import AreaSection, Part
from fadump.kernel.traits import KIB, MIB
from fadump.memory.ranges import Range

_COLUMNS = 72
_MOST_LINES = 8
"""How many ranges of a kind are listed."""
_SVG_WIDTH, _BAR_HEIGHT, _LINE_HEIGHT, _MARGIN = 960, 48, 18, 16
_FREE = "."
_COLOURS = {_FREE: "#e8e8e8", "b": "#4c78a8", "f": "#b0b0b0", "k": "#b279a2", "C": "#f58518", "H": "#eeca3b"}
_COLOURS |= {"D": "#54a24b", "h": "#e45756", "E": "#ff9da6", "M": "#9d755d", "p": "#72b7b2", "K": "#439894"}
_PARTS = {
    Part.CPU_STATE: ("C", "registers of all CPUs"),
    Part.HPTE: ("H", "hash page table"),
    Part.BOOT_MEMORY: ("D", "copy of boot memory from {source:#x}"),
    Part.CRASH_INFO_HEADER: ("h", "crash-info header"),
    Part.ELF_CORE_HEADER: ("E", "ELF core header"),
    Part.METADATA: ("M", "kernel metadata"),
    Part.PARAMETER_AREA: ("p", "more command line for the capture kernel"),
}


@dataclass(frozen=True, slots=True)
class Area:
    """A range in a figure; ``symbol`` fills its columns."""

    symbol: str
    range: Range
    text: str


@dataclass(frozen=True, slots=True)
class Figure:
    """One kernel's memory. ``ram`` is all RAM."""

    title: str
    ram: tuple[Range, ...]
    areas: tuple[Area, ...]

    @property
    def end(self) -> int:
        """Where memory ends, which sets the scale."""
        return self.ram[-1].end


def figures(plan: Plan) -> list[Figure]:
    """The first kernel, and the capture kernel if there is one."""
    ram = plan.system.memory.regions
    firmware = [Area("f", range_, "the firmware's, in reserved-ranges") for range_ in plan.system.memory.firmware]
    if plan.reservation is None or plan.capture is None:
        kdump = plan.kdump.area if plan.kdump is not None else None
        areas = [*firmware, *([Area("K", kdump, "kdump's crash kernel")] if kdump is not None else [])]
        return [Figure("without FADump", ram, tuple(areas))]
    boot = Area("b", Range(0, plan.reservation.boot_memory.top), "boot memory: copied aside at a crash")
    sections = [_area(section) for section in plan.reservation.sections if section.size_bytes <= plan.system.memory.end]
    own = Area("b", Range(0, plan.capture.boot_memory_top), "boot memory: the capture kernel's")
    kept = [Area("k", range_, "kept as it was, for /proc/vmcore") for range_ in plan.capture.ranges]
    return [
        Figure("first kernel", ram, (boot, *firmware, *filter(_is_there, sections))),
        Figure("capture kernel", ram, (own, *kept)),
    ]


def text_figure(figure: Figure) -> Iterator[str]:
    """A figure's lines: its title and scale, the bar, and a list of its areas."""
    yield f"{figure.title}: 0 to {figure.end:#x}, a column is {length(figure.end / _COLUMNS)}"
    yield f"|{_bar(figure)}|"
    drawn: Counter[str] = Counter()
    for area in sorted(figure.areas, key=lambda area: area.range):
        drawn[area.symbol] += 1
        if drawn[area.symbol] <= _MOST_LINES:
            yield f"  {area.symbol}  {area.range!s:>32}  {length(area.range.size_bytes):>10}  {area.text}"
    for symbol, count in drawn.items():
        if count > _MOST_LINES:
            yield f"  {symbol}  and {count - _MOST_LINES} more ranges"
    yield f"  {_FREE}  other memory"


def svg(plan: Plan) -> str:
    """The same figures as one SVG document."""
    parts: list[str] = []
    y = _MARGIN
    for figure in figures(plan):
        rows = list(text_figure(figure))
        parts.append(_svg_text(y + 12, rows[0]))
        parts += _svg_bar(figure, y + _LINE_HEIGHT)
        y += _LINE_HEIGHT + _BAR_HEIGHT + _MARGIN
        for row in rows[2:]:
            symbol = row.strip()[0]
            parts.append(_svg_box(_MARGIN, y, 12, 12, symbol, ""))
            parts.append(_svg_text(y + 10, row.strip()[1:].strip(), x=_MARGIN + 20))
            y += _LINE_HEIGHT
        y += _MARGIN
    size = f'width="{_SVG_WIDTH + 2 * _MARGIN}" height="{y}"'
    style = 'font-family="monospace" font-size="12"'
    return f'<svg xmlns="http://www.w3.org/2000/svg" {size} {style}>\n' + "\n".join(parts) + "\n</svg>\n"


def length(size_bytes: float) -> str:
    """A size in the largest unit of which it has at least ten, to a tenth."""
    for unit, factor in (("TiB", 1 << 40), ("GiB", 1 << 30), ("MiB", MIB), ("KiB", KIB)):
        if size_bytes >= 10 * factor:
            return f"{round(size_bytes / factor, 1):g} {unit}"
    return f"{round(size_bytes):g} B"


def _area(section: AreaSection) -> Area:
    symbol, text = _PARTS[section.part]
    return Area(symbol, Range.sized(section.destination, section.size_bytes), text.format(source=section.source or 0))


def _is_there(area: Area) -> bool:
    return bool(area.range)


def _drawn(figure: Figure) -> list[Area]:
    ram = [Area(_FREE, range_, "other memory") for range_ in figure.ram]
    return ram + sorted(figure.areas, key=lambda area: -area.range.size_bytes)


def _bar(figure: Figure) -> str:
    columns = [" "] * _COLUMNS
    for area in _drawn(figure):
        first, end = _columns(area.range, figure.end)
        columns[first:end] = area.symbol * (end - first)
    return "".join(columns)


def _columns(range_: Range, end: int) -> tuple[int, int]:
    first = min(range_.start * _COLUMNS // end, _COLUMNS - 1)
    return first, min(-(-range_.end * _COLUMNS // end), _COLUMNS)


def _svg_bar(figure: Figure, y: int) -> Iterator[str]:
    for area in _drawn(figure):
        x = area.range.start * _SVG_WIDTH / figure.end
        width = max(area.range.size_bytes * _SVG_WIDTH / figure.end, 1.0)
        yield _svg_box(_MARGIN + x, y, width, _BAR_HEIGHT, area.symbol, f"{area.range} {area.text}")


def _svg_box(x: float, y: float, width: float, height: float, symbol: str, title: str) -> str:
    box = f'x="{x:.2f}" y="{y:.2f}" width="{width:.2f}" height="{height:.2f}" fill="{_COLOURS[symbol]}"'
    return f"<rect {box}><title>{html.escape(title)}</title></rect>"


def _svg_text(y: float, text: str, x: float = _MARGIN) -> str:
    return f'<text x="{x:.2f}" y="{y:.2f}" xml:space="preserve">{html.escape(text)}</text>'

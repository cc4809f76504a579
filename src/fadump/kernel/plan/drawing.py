"""Figures of a plan, to scale: as text and as SVG.

Like figures 1 and 2 of Linux's Documentation/arch/powerpc/firmware-assisted-dump.rst: the memory of the first kernel
and of the capture kernel. Ranges smaller than a column are drawn one column wide, and on top of larger ones.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from fadump.kernel.plan.plan import Plan
from fadump.kernel.plan.reserve import AreaSection, Part
from fadump.kernel.traits import KIB, MIB
from fadump.memory.ranges import Range
from fadump.picture import map as map_
from fadump.picture.map import MemoryPicture, draw_map
from fadump.picture.paint import Paint, picture

_COLUMNS = 72
_MOST_LINES = 8
"""How many ranges of a kind are listed."""
_FREE = "."
_LENT = "L"
_PAINTS = {"b": Paint.SKY, "f": Paint.GREY, "k": Paint.ROSE, "C": Paint.ORANGE, "H": Paint.YELLOW, "D": Paint.GREEN}
_PAINTS |= {"h": Paint.RED, "E": Paint.PINK, "M": Paint.BROWN, "p": Paint.TURQUOISE, "K": Paint.BLUE, _LENT: Paint.LIME}
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
    """One kernel's memory. ``ram`` is all RAM; ``lent`` is what CMA lends to user space."""

    title: str
    ram: tuple[Range, ...]
    areas: tuple[Area, ...]
    lent: Area | None = None

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
    cma = plan.reservation.cma
    lent = Area(_LENT, cma, "CMA: lent to user space until a crash") if cma is not None else None
    own = Area("b", Range(0, plan.capture.boot_memory_top), "boot memory: the capture kernel's")
    kept = [Area("k", range_, "kept as it was, for /proc/vmcore") for range_ in plan.capture.ranges]
    return [
        Figure("first kernel", ram, (boot, *firmware, *filter(_is_there, sections)), lent),
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
    drawn = figures(plan)
    title = f"Memory that Linux reserves for FADump: {' and '.join(figure.title for figure in drawn)}"
    return picture([draw_map(_picture(figure)) for figure in drawn], title)


def _picture(figure: Figure) -> MemoryPicture:
    listed: Counter[str] = Counter()
    areas: list[map_.Area] = []
    for area in sorted(figure.areas, key=lambda area: area.range):
        listed[area.symbol] += 1
        if listed[area.symbol] <= _MOST_LINES:
            areas.append(_painted(area))
    notes = [
        f"{symbol}: and {count - _MOST_LINES} more ranges, not drawn"
        for symbol, count in listed.items()
        if count > _MOST_LINES
    ]
    title = f"{figure.title[0].upper()}{figure.title[1:]}: {length(figure.end)} of memory"
    lent = [_painted(figure.lent)] if figure.lent is not None else []
    return MemoryPicture(title, figure.end, figure.ram, areas, lent, notes)


def _painted(area: Area) -> map_.Area:
    return map_.Area(area.range, area.symbol, _PAINTS[area.symbol], area.text)


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

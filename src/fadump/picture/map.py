"""A memory map to scale: an axis with ticks, a bar, and what is too small to be seen in it magnified below."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from xml.etree import ElementTree as ET

from fadump.memory.ranges import Range
from fadump.picture.paint import ROW_HEIGHT, WIDTH, Drawing, Paint, box, element, words
from fadump.progress import binary_size

_TITLE_HEIGHT, _AXIS_HEIGHT, _BAR_HEIGHT, _STRIP_HEIGHT = 24, 24, 44, 8
_LEADER_HEIGHT, _INSET_HEIGHT, _INSET_GAP = 34, 36, 24
_INSET_TEXT_HEIGHT = 36
_TICKS = 8
_SMALL = 6.0
"""An area of fewer pixels is magnified."""
_NEAR = 14.0
"""Small areas that are no farther apart share an inset."""
_MOST_INSETS = 4
_LETTER_WIDTH = 14
_LEAST_WIDTH = 1.0
_COLUMNS = (28, 150, 282, 372, 392)
"""Where a legend's notes begin; where start, end and size end; where its text begins."""


@dataclass(frozen=True, slots=True)
class Area:
    """Memory that is drawn as a box. ``letter`` names its kind where there is room."""

    range: Range
    letter: str
    paint: Paint
    text: str


@dataclass(frozen=True, slots=True)
class MemoryPicture:
    """Memory from 0 to ``end``. Areas are drawn over ``ram``, smaller ones over larger; ``strips`` under the bar.

    ``notes`` are lines below the legend.
    """

    title: str
    end: int
    ram: Sequence[Range]
    areas: Sequence[Area]
    strips: Sequence[Area] = ()
    notes: Sequence[str] = ()


def draw_map(memory: MemoryPicture, *, most_rows: int = 24) -> Drawing:
    """A map with its legend, in which at most ``most_rows`` areas are listed."""
    top = _TITLE_HEIGHT + _AXIS_HEIGHT
    elements = [words(0, 14, memory.title, "fd-title"), *_axis(Range(0, memory.end), 0, WIDTH, _TITLE_HEIGHT)]
    elements += _bar(memory, Range(0, memory.end), Range(0, WIDTH), top, _BAR_HEIGHT)
    y: float = top + _BAR_HEIGHT
    if memory.strips:
        elements += [_strip(strip, memory.end, y + 3) for strip in memory.strips]
        y += _STRIP_HEIGHT + 4
    clusters = _clusters(memory)
    if clusters:
        elements += _insets(memory, clusters, top + _BAR_HEIGHT, y + _LEADER_HEIGHT)
        y += _LEADER_HEIGHT + _INSET_HEIGHT + _INSET_TEXT_HEIGHT
    y += 12
    rows = sorted([*memory.areas, *memory.strips], key=lambda area: area.range)
    for area in rows[:most_rows]:
        elements += _legend_row(area, y)
        y += ROW_HEIGHT
    left = [f"and {len(rows) - most_rows} more areas"] if len(rows) > most_rows else []
    for line in [*left, *memory.notes]:
        elements.append(words(_COLUMNS[0], y + 13, line, "fd-quiet"))
        y += ROW_HEIGHT
    return Drawing(y, tuple(elements))


def ticks(shown: Range, most: int = _TICKS) -> list[int]:
    """Round addresses in a range, a power of two apart, and no more of them than ``most``."""
    step = 1
    while shown.size_bytes // step >= most:
        step *= 2
    first = -(-shown.start // step) * step
    return list(range(first, shown.end + 1, step))


def _axis(shown: Range, left: float, width: float, y: float, most: int = _TICKS) -> Iterator[ET.Element]:
    """Ticks above a bar that begins ``_AXIS_HEIGHT`` below ``y``, with their addresses."""
    for address in ticks(shown, most):
        x = left + (address - shown.start) * width / max(1, shown.size_bytes)
        yield element("path", class_="fd-line", d=f"M{x:.2f},{y + _AXIS_HEIGHT - 6:.2f} v6")
        place = " fd-middle" if left < x < left + width - 1 else " fd-end" if x > left else ""
        yield words(x, y + _AXIS_HEIGHT - 9, _address(address), f"fd-quiet{place}")


def _address(address: int) -> str:
    """An address as a size where it is a round one, else in hexadecimal."""
    for unit, factor in (("TiB", 1 << 40), ("GiB", 1 << 30), ("MiB", 1 << 20)):
        if address >= factor and not address % (factor // 4 if address < 4 * factor else factor):
            return f"{address / factor:g} {unit}"
    return f"{address:#x}" if address else "0"


def _bar(memory: MemoryPicture, shown: Range, place: Range, y: float, height: float) -> Iterator[ET.Element]:
    """The part of a map that is ``shown``, in the pixels of ``place``."""
    ram = [Area(range_, "", Paint.OTHER, "other memory") for range_ in memory.ram]
    scale = place.size_bytes / max(1, shown.size_bytes)
    for area in [*ram, *sorted(memory.areas, key=lambda area: -area.range.size_bytes)]:
        part = area.range.intersection(shown)
        if part is None:
            continue
        width = max(part.size_bytes * scale, _LEAST_WIDTH)
        x = min(place.start + (part.start - shown.start) * scale, place.end - width)
        yield box(x, y, width, height, area.paint, f"{area.range}: {area.text}, {binary_size(area.range.size_bytes)}")
        if area.letter and width >= _LETTER_WIDTH:
            yield words(x + width / 2, y + height / 2 + 5, area.letter, "fd-letter")


def _strip(strip: Area, end: int, y: float) -> ET.Element:
    x, width = strip.range.start * WIDTH / end, max(strip.range.size_bytes * WIDTH / end, _LEAST_WIDTH)
    return box(x, y, width, _STRIP_HEIGHT, strip.paint, f"{strip.range}: {strip.text}")


def _clusters(memory: MemoryPicture) -> list[Range]:
    """Stretches of areas that are too small to be seen, with some of what is around each."""
    scale = WIDTH / max(1, memory.end)
    runs: list[Range] = []
    for area in sorted(memory.areas, key=lambda area: area.range):
        if not area.range or area.range.size_bytes * scale >= _SMALL:
            continue
        if runs and (area.range.start - runs[-1].end) * scale <= _NEAR:
            runs[-1] = Range(runs[-1].start, max(runs[-1].end, area.range.end))
        else:
            runs.append(area.range)
    return [_with_surroundings(run, memory.end) for run in runs[:_MOST_INSETS]]


def _with_surroundings(run: Range, end: int) -> Range:
    around = max(run.size_bytes // 3, 1)
    return Range(max(0, run.start - around), min(end, run.end + around))


def _insets(memory: MemoryPicture, clusters: Sequence[Range], above: float, y: float) -> Iterator[ET.Element]:
    """Each cluster magnified, with lines to where it is in the bar that ends at ``above``."""
    width = (WIDTH - _INSET_GAP * (len(clusters) - 1)) / len(clusters)
    for number, cluster in enumerate(clusters):
        left = round(number * (width + _INSET_GAP))
        place = Range.sized(left, int(width))
        from_, to = (at * WIDTH / memory.end for at in (cluster.start, cluster.end))
        yield element("path", class_="fd-line", d=f"M{from_:.2f},{above} L{left},{y:g}", opacity=0.6)
        yield element("path", class_="fd-line", d=f"M{to:.2f},{above} L{place.end},{y:g}", opacity=0.6)
        yield element("rect", class_="fd-ground", x=left, y=y, width=place.size_bytes, height=_INSET_HEIGHT)
        yield from _bar(memory, cluster, place, y, _INSET_HEIGHT)
        yield element("rect", class_="fd-line", x=left, y=y, width=place.size_bytes, height=_INSET_HEIGHT)
        times = (memory.end / WIDTH) / (cluster.size_bytes / width)
        below = y + _INSET_HEIGHT + 14
        yield words(left, below, f"{cluster.start:#x}", "fd-quiet")
        yield words(place.end, below, f"{cluster.end:#x}", "fd-quiet fd-end")
        yield words(left + width / 2, below + 15, f"{times:,.0f} times as large", "fd-quiet fd-middle")


def _legend_row(area: Area, y: float) -> Iterator[ET.Element]:
    _notes, start, end, size, text = _COLUMNS
    yield box(0, y, 20, 16, area.paint)
    yield words(10, y + 13, area.letter, "fd-letter")
    yield words(start, y + 13, f"{area.range.start:#x}", "fd-number fd-end")
    yield words(end, y + 13, f"{area.range.end:#x}", "fd-number fd-end")
    yield words(size, y + 13, binary_size(area.range.size_bytes), "fd-number fd-end")
    yield words(text, y + 13, area.text)

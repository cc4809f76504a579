import itertools
import re
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fadump.memory.ranges import Range
from fadump.picture.map import Area, MemoryPicture, draw_map, ticks
from fadump.picture.paint import MARGIN, STYLE, WIDTH, Hatch, Paint, picture
from fadump.picture.shares import Share, draw_shares

GIB = 1 << 30
NAMESPACE = "{http://www.w3.org/2000/svg}"
INK = "#101114"
PAINTS = [paint for paint in Paint if paint.colour]


def parsed(*drawings, label="a picture"):
    return ET.fromstring(picture(drawings, label))  # noqa: S314  (our own output)


def memory(*areas, end=64 * GIB, **more):
    return MemoryPicture("a map", end, (Range(0, end),), areas, **more)


def luminance(colour):
    """WCAG 2.2's relative luminance."""
    channels = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.03928 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one, other):
    dark, light = sorted([luminance(one), luminance(other)])
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("paint", PAINTS)
def test_letters_can_be_read_on_every_fill(paint):
    assert contrast(paint.colour, INK) >= 4.5


@pytest.mark.parametrize(("one", "other"), list(itertools.combinations(PAINTS, 2)), ids=str)
def test_two_fills_differ_in_grey_or_by_their_hatch(one, other):
    assert one.hatch is not other.hatch or abs(luminance(one.colour) - luminance(other.colour)) > 0.05


def test_no_hatch_is_used_so_often_that_its_fills_are_alike():
    assert max(sum(paint.hatch is hatch for paint in PAINTS) for hatch in Hatch) <= 3


@pytest.mark.parametrize("mode", ["light", "dark"])
def test_what_is_written_on_the_ground_can_be_read(mode):
    light, dark = STYLE.split("@media (prefers-color-scheme: dark)")
    rules = light if mode == "light" else dark.split("@media print")[0]
    colours = dict(re.findall(r"\.(fd-ground|fd-title|fd-text|fd-quiet)\b[^{]*{ fill: (#\w{6})", rules))
    for name in set(colours) - {"fd-ground"}:
        assert contrast(colours["fd-ground"], colours[name]) >= 4.5
    assert len(colours) >= 3


def test_what_a_dump_says_stays_text():
    share = Share(5, "<", Paint.SKY, "</text><script>alert(1)</script>\x1b[2J\0")
    root = parsed(draw_shares("a & b\x07", [share]), label="<x>\x01")
    assert [child.tag for child in root.iter() if child.tag.endswith("script")] == []
    texts = [text.text for text in root.iter(f"{NAMESPACE}text")]
    assert "a & b\\x07" in texts and "</text><script>alert(1)</script>\\x1b[2J\\x00" in texts


def test_shares_are_to_scale_and_nothing_is_left_out():
    shares = [
        Share(3 * GIB, "a", Paint.SKY, "first"),
        Share(GIB, "b", Paint.PINK, "second"),
        Share(0, "c", Paint.RED, "no"),
    ]
    root = parsed(draw_shares("shares", shares))
    widths = {
        box.find(f"{NAMESPACE}title").text: float(box.get("width"))
        for box in root.iter(f"{NAMESPACE}rect")
        if box.find(f"{NAMESPACE}title") is not None
    }
    assert widths == {"first": WIDTH * 3 / 4, "second": WIDTH / 4}
    texts = [text.text for text in root.iter(f"{NAMESPACE}text")]
    assert {"3.0 GiB", "75.0 %", "25.0 %"} <= set(texts) and "no" not in texts


def test_nothing_at_all_is_a_picture_too():
    assert parsed(draw_shares("nothing", [])) is not None
    assert parsed(draw_map(MemoryPicture("nothing", 0, (), ()))) is not None


@pytest.mark.parametrize(
    ("shown", "at"),
    [
        (Range(0, 2 * GIB), [number * GIB // 2 for number in range(5)]),
        (Range(0, 64 * GIB), [number * 16 * GIB for number in range(5)]),
        (Range(5, 13), [6, 8, 10, 12]),
        (Range(0, 0), [0]),
    ],
)
def test_ticks_are_round_addresses(shown, at):
    assert ticks(shown) == at


def test_many_areas_are_listed_up_to_a_limit():
    areas = [Area(Range.sized(number * GIB, GIB), "x", Paint.SKY, "an area") for number in range(60)]
    texts = [text.text for text in parsed(draw_map(memory(*areas), most_rows=10)).iter(f"{NAMESPACE}text")]
    assert texts.count("an area") == 10 and "and 50 more areas" in texts


SIZES = st.integers(1, 40).flatmap(lambda bits: st.integers(1, 1 << bits))


@given(st.lists(st.tuples(st.integers(0, 1 << 46), SIZES), max_size=8))
def test_nothing_is_outside_of_the_picture_and_no_text_on_another(places):
    areas = [Area(Range.sized(start, size), "x", Paint.SKY, "an area") for start, size in places]
    root = parsed(draw_map(memory(*areas, end=1 << 47)))
    width, height = (float(number) for number in root.get("viewBox").split()[2:])
    for box in root.iter(f"{NAMESPACE}rect"):
        if box.get("x") is not None:
            assert (
                -0.01
                <= float(box.get("x"))
                <= float(box.get("x")) + float(box.get("width"))
                <= width - 2 * MARGIN + 0.01
            )
    lines = {}
    for text in root.iter(f"{NAMESPACE}text"):
        assert 0 < float(text.get("y")) < height
        if "fd-letter" not in text.get("class"):
            lines.setdefault(text.get("y"), []).append(_extent(text))
    for line in lines.values():
        for (_start, end), (start, _end) in itertools.pairwise(sorted(line)):
            assert end <= start


def _extent(text):
    """Where a text begins and ends, if its letters are as wide as a monospaced font's."""
    x, width, place = float(text.get("x")), len(text.text) * 7.3, text.get("class")
    start = x - width if "fd-end" in place else x - width / 2 if "fd-middle" in place else x
    return start, start + width

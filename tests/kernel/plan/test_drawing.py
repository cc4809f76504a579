import re
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fadump.kernel.plan.drawing import Area, Figure, figures, length, svg, text_figure
from fadump.kernel.plan.plan import make_plan
from fadump.kernel.traits import GIB, LINUX_6_1, LINUX_6_12, MIB
from fadump.memory.ranges import Range
from tests.kernel.systems import powernv, pseries, scattered

RTAS = Range(0x2FFF0000, 0x30000000)
NAMESPACE = "{http://www.w3.org/2000/svg}"


def bars(plan):
    return [list(text_figure(figure))[1].strip("|") for figure in figures(plan)]


def test_both_kernels_are_drawn_to_scale():
    plan = make_plan(pseries(firmware=[RTAS]), LINUX_6_12, "fadump=on crashkernel=512M")
    first, capture = bars(plan)
    assert first == "b" * 18 + "." * 8 + "fC" + "D" * 17 + "h" + "." * 25 + "p"
    assert capture == "b" * 18 + "k" * 54


def test_holes_are_empty():
    plan = make_plan(pseries((0, 1024), (3072, 4096)), LINUX_6_12, "fadump=on crashkernel=320M")
    assert bars(plan)[1] == "b" * 6 + "k" * 12 + " " * 36 + "k" * 18


def test_the_legend_names_each_part_and_its_place():
    plan = make_plan(powernv(), LINUX_6_12, "fadump=on crashkernel=1G")
    legend = "\n".join(text_figure(figures(plan)[0]))
    assert "a column is 56.9 MiB" in legend
    assert re.search(r"D +0x40000000\.\.0x80000000 +1024 MiB  copy of boot memory from 0x0\n", legend)
    assert re.search(r"M +0x800001b0\.\.0x800101b0 +64 KiB  kernel metadata\n", legend)


def test_an_older_kernels_elf_header_is_drawn():
    assert any("ELF core header" in line for line in _first_lines(LINUX_6_1))
    assert not any("ELF core header" in line for line in _first_lines(LINUX_6_12))


def _first_lines(kernel):
    return list(text_figure(figures(make_plan(pseries(), kernel, "fadump=on"))[0]))


def test_many_ranges_of_a_kind_are_counted_and_not_listed():
    first, capture = figures(make_plan(scattered(1000, 64 << 40), LINUX_6_12, "fadump=on crashkernel=16G"))
    assert "  f  and 992 more ranges" in list(text_figure(first))
    assert "  k  and 992 more ranges" in list(text_figure(capture))
    assert len([*text_figure(first), *text_figure(capture)]) < 40


def test_without_fadump_kdump_is_drawn():
    plan = make_plan(pseries((0, 1024)), LINUX_6_12, "fadump=on crashkernel=256M")
    (figure,) = figures(plan)
    assert figure.title == "without FADump"
    assert bars(plan) == ["." * 36 + "K" * 18 + "." * 18]
    nothing = make_plan(pseries((0, 1024)), LINUX_6_12, "fadump=off")
    assert bars(nothing) == ["." * 72]


BOTH = make_plan(pseries(firmware=[RTAS]), LINUX_6_12, "fadump=on crashkernel=512M")
NONE = make_plan(pseries((0, 1024)), LINUX_6_12, "fadump=off")
MANY = make_plan(scattered(1000, 64 << 40), LINUX_6_12, "fadump=on crashkernel=16G")


def tips(plan):
    root = ET.fromstring(svg(plan))  # noqa: S314  (our own output)
    boxes = root.iter(f"{NAMESPACE}rect")
    return [(box, box.find(f"{NAMESPACE}title").text) for box in boxes if box.find(f"{NAMESPACE}title") is not None]


def test_the_picture_says_what_it_shows():
    root = ET.fromstring(svg(BOTH))  # noqa: S314  (our own output)
    assert root.find(f"{NAMESPACE}title").text.endswith("for FADump: first kernel and capture kernel")
    texts = [text.text for text in root.iter(f"{NAMESPACE}text")]
    assert texts[0] == "First kernel: 2048 MiB of memory" and "Capture kernel: 2048 MiB of memory" in texts
    assert "512 MiB" in texts and "1.5 GiB" in texts  # ticks
    assert {"registers of all CPUs", "crash-info header", "kept as it was, for /proc/vmcore"} <= set(texts)


def test_boxes_are_to_scale_and_memory_that_is_lent_is_shown():
    (boot,) = {
        box.get("width")
        for box, tip in tips(make_plan(pseries(), LINUX_6_12, "fadump=on crashkernel=512M"))
        if "boot memory: copied" in tip and float(box.get("x")) == 0 and float(box.get("width")) > 200
    }
    assert float(boot) == 960 / 4
    plan = make_plan(pseries(), LINUX_6_12, "fadump=on crashkernel=512M")
    lent = plan.reservation.cma
    assert any(tip == f"{lent}: CMA: lent to user space until a crash" for _box, tip in tips(plan))
    assert "CMA" not in svg(make_plan(pseries(), LINUX_6_12, "fadump=nocma crashkernel=512M"))


@pytest.mark.parametrize("part", ["registers of all CPUs", "crash-info header", "more command line", "reserved-ranges"])
def test_what_is_small_is_magnified(part):
    plan = make_plan(pseries(firmware=[RTAS]), LINUX_6_12, "fadump=on crashkernel=512M")
    widths = [float(box.get("width")) for box, tip in tips(plan) if part in tip]
    assert min(widths) < 2 and max(widths) > 15


@pytest.mark.parametrize("plan", [NONE, MANY], ids=["none", "many"])
def test_a_picture_has_few_boxes_however_many_areas(plan):
    assert 1 <= len(tips(plan)) < 2100


@pytest.mark.parametrize(("count", "more"), [(1, []), (8, []), (9, ["  x  and 1 more ranges"])])
def test_more_than_eight_ranges_of_a_kind_are_counted(count, more):
    areas = tuple(Area("x", Range.sized(number << 30, 1 << 29), "an area") for number in range(count))
    lines = list(text_figure(Figure("a figure", (Range(0, 1 << 40),), areas)))
    assert len([line for line in lines if line.endswith("an area")]) == min(count, 8)
    assert [line for line in lines if " more ranges" in line] == more


@given(st.lists(st.tuples(st.integers(0, 1 << 46), st.integers(1, 1 << 40)), max_size=6))
def test_every_area_that_is_on_top_is_seen(places):
    areas = tuple(Area("x", Range.sized(start, size), "an area") for start, size in places)
    figure = Figure("a figure", (Range(0, 1 << 47),), areas)
    bar = list(text_figure(figure))[1].strip("|")
    assert len(bar) == 72
    assert ("x" in bar) is bool(areas)


@pytest.mark.parametrize(
    ("size_bytes", "text"),
    [
        (0, "0 B"),
        (432, "432 B"),
        (10239, "10239 B"),
        (10624, "10.4 KiB"),
        (320 * MIB, "320 MiB"),
        (1536 * MIB, "1536 MiB"),
        (10.5 * GIB, "10.5 GiB"),
        (64 << 40, "64 TiB"),
    ],
)
def test_lengths_as_people_write_them(size_bytes, text):
    assert length(size_bytes) == text

"""The benchmarks run and add up, on sizes that take no time; how fast anything is, no test asks."""

import json

import pytest

from benchmarks import cycle, keep, plan, preserve, report, stops, systems


@pytest.mark.parametrize(("source_percent", "destination_percent"), preserve.CASES)
def test_preserving_is_measured_on_both_sides(source_percent, destination_percent):
    row = preserve.row(1, source_percent, destination_percent, 1)
    assert row["preserve s"] > 0 and row["memmove s"] > 0


def test_keeping_is_measured_per_gib():
    row = keep.row(1, 100, 1)
    assert row["keep s/GiB"] > 0 and row["put back s/GiB"] > 0


def test_a_plan_is_measured():
    row = plan.row(3, 1)
    assert row["plan ms"] > 0 and row["text ms"] > 0


def test_calls_are_counted_and_other_lines_are_not():
    log = (
        "    9.175 CPU 0 token 0x2fff0001 (0x1 0xbc30e8 0xc8) -> status 0\n"
        "   10.529 CPU 1 token 0x201f (0x0) -> dump triggered by os-term: \n"
        "   10.641 preserved type 0x1: 0x2060 of 0x2060 bytes from 0x0 to 0x30000000, error flags 0x0\n"
    )
    assert stops.calls_in(log) == 2


def test_a_report_is_a_table_or_json(capsys):
    rows = [{"size": 1, "seconds": 0.5}, {"size": 1000, "seconds": 12.25}]
    report.show("name", rows, as_json=False)
    assert capsys.readouterr().out.splitlines()[:3] == ["size  seconds", "   1    0.500", "1000   12.250"]
    report.show("name", rows, as_json=True)
    assert json.loads(capsys.readouterr().out)["rows"] == rows


def test_a_cycle_is_measured():
    row = cycle.row("small", [*cycle.scattered(3)[:2], "--cpus", "1"], 1)
    assert row["cycle s"] > 0 and 0 < row["RssAnon MiB"] < 500


def test_boots_of_systems_are_medians_and_their_ratios():
    with_us = [
        systems.Boot(seconds, cpu_seconds, 2, 0) for seconds, cpu_seconds in ((40.0, 33.0), (9.0, 22.0), (6.0, 9.0))
    ]
    without = [systems.Boot(seconds, cpu_seconds) for seconds, cpu_seconds in ((4.0, 11.0), (3.0, 10.0), (90.0, 12.0))]
    assert systems.row(with_us, without) == {
        "with us s": 9.0,
        "without s": 4.0,
        "ratio": 2.25,
        "with us CPU s": 22.0,
        "without CPU s": 11.0,
        "CPU ratio": 2.0,
        "stops": 2,
        "our calls": 0,
    }

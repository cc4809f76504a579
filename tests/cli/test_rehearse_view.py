"""What people and programs are told of a rehearsal."""

from pathlib import Path

from fadump.cli.rehearse import _as_json, _text
from fadump.systems.rehearsal import Watched, Window
from fadump.systems.rehearse import Outcome, RehearsalResult

GIB = 1 << 30
LOG = Path("out/console.log")


def test_times_without_a_registration_are_counted_and_named():
    windows = [Window(46.5, 47.75, 1, "kdump-tools: reloading"), Window(48.0, 48.5, 3, "")]
    text = _text(RehearsalResult(Outcome.LOST, Watched(windows=windows), [], 1, error="it is lost"), LOG)
    assert text.splitlines() == [
        "",
        "2 times without a registration, 1.75 s in all: a crash would be lost",
        "  in boot 1, at 46.50 s for 1.25 s, after: kdump-tools: reloading",
        "  in boot 3, at 48.00 s for 0.50 s, after: ",
        "lost: it is lost",
        "the console is in out/console.log",
    ]


def test_those_that_are_not_kept_are_counted():
    watched = Watched(more_windows=1950, more_seconds=975.0, more_out_of_memory=2)
    watched.note_window(Window(46.5, 47.75, 1, "reloading"))
    result = RehearsalResult(Outcome.LOST, watched, [], 1, error="it is lost")
    assert _text(result, LOG).splitlines()[1:-1] == [
        "1,951 times without a registration, 976.25 s in all: a crash would be lost",
        "  in boot 1, at 46.50 s for 1.25 s, after: reloading",
        "  and 1,950 more times",
        "warning: out of memory: 2 more lines",
        "lost: it is lost",
    ]
    told = _as_json(result, 4 * GIB)
    assert told["more_unregistered"] == {"times": 1950, "seconds": 975.0}
    assert told["warnings"] == ["out of memory: 2 more lines"]


def test_a_system_that_stays_registered_has_none():
    assert _text(RehearsalResult(Outcome.LOST, Watched(), [], 1, error="it is lost"), LOG).splitlines() == [
        *("", "lost: it is lost", "the console is in out/console.log"),
    ]


def test_programs_are_told_the_same_and_what_memory_there_was():
    watched = Watched(
        windows=[Window(46.5, 47.75, 1, "reloading")],
        reserved_bytes=600 << 20,
        available_bytes=400 << 20,
        warnings=["it was slow"],
        out_of_memory=["Out of memory: Killed process 1"],
    )
    told = _as_json(
        RehearsalResult(Outcome.LOST, watched, [], 1, touched_bytes=300 << 20, least_available_bytes=90 << 20), 4 * GIB
    )
    assert told["unregistered"] == [{"start": 46.5, "end": 47.75, "boot": 1, "console": "reloading"}]
    assert told["more_unregistered"] == {"times": 0, "seconds": 0.0}
    assert told["warnings"] == ["it was slow", "out of memory: Out of memory: Killed process 1"]
    assert told["memory"] == {
        "guest_bytes": 4 * GIB,
        "reserved_bytes": 600 << 20,
        "boot_memory_bytes": None,
        "available_bytes": 400 << 20,
        "least_available_bytes": 90 << 20,
        "touched_bytes": 300 << 20,
    }

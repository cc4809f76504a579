"""What a person sees of long work, on a terminal and in a log."""

import io
import re

import pytest

from fadump.progress import PLAIN_INTERVAL_SECONDS, Progress, Step, beside, binary_size, duration


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_elsewhere_there_is_a_line_at_the_start_every_ten_seconds_and_at_the_end(clock):
    out = io.StringIO()
    with Progress.step("Building", total=100, unit="files", stream=out, clock=clock) as step:
        for _ in range(50):
            clock.now += PLAIN_INTERVAL_SECONDS / 20
            step.advance()
    assert out.getvalue().splitlines() == [
        "Building ...",
        "Building: 20 of 100 files, 2.0/s, about 40 s left",
        "Building: 40 of 100 files, 2.0/s, about 30 s left",
        "Building: done in 25 s",
    ]


def test_work_that_fails_is_not_called_done(clock):
    out = io.StringIO()

    def interrupted():
        with Progress.step("Building", stream=out, clock=clock):
            clock.now += 75
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert out.getvalue().splitlines()[-1] == "Building: not finished after 1 min 15 s"


def test_on_a_terminal_the_line_moves_and_the_last_one_stays(clock, monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "80")
    out = Terminal()
    label = "Copying a file whose name leaves too little room for all the rest"
    with Progress.step(label, total=4 << 20, unit="bytes", stream=out, clock=clock) as step:
        clock.now += 1
        step.advance(1 << 20)
    shown = out.getvalue()
    assert "1.0 MiB of 4.0 MiB, 1.0 MiB/s, about 3.0 s left" in shown
    assert re.search(rf"✓[^ ]* {label} +1\.0 s\n$", shown)


def test_on_a_terminal_work_that_fails_has_no_tick(clock, monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    out = Terminal()

    def interrupted():
        with Progress.step("Building", stream=out, clock=clock):
            clock.now += 75
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    last = out.getvalue().splitlines()[-1]
    assert "✗" in last and "Building" in last and "not finished after 1 min 15 s" in last and "✓" not in last


def test_a_terminal_without_a_cursor_has_plain_lines(clock, monkeypatch):
    monkeypatch.setenv("TERM", "dumb")
    out = Terminal()
    with Progress.step("Building", stream=out, clock=clock):
        clock.now += 1
    assert out.getvalue().splitlines() == ["Building ...", "Building: done in 1.0 s"]


def test_of_two_steps_one_line_moves_at_a_time(monkeypatch):
    """Each is drawn between the terminal's two words for "no cursor" and "cursor"."""
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("NO_COLOR", "1")
    out = Terminal()
    with Progress.step("Outer", stream=out), Progress.step("Inner", stream=out), beside():
        print("beside both", file=out)
    spans = re.findall(r"\x1b\[\?25l(.*?)\x1b\[\?25h", out.getvalue(), flags=re.DOTALL)
    assert [{word for word in ("Outer", "Inner", "beside") if word in span} for span in spans] == [
        *({"Outer"}, {"Inner"}, {"Inner"}, {"Outer"}),
    ]
    assert "\nbeside both\n" in re.sub(r"\x1b\[[?\d]*[A-Za-z]|\r", "\n", out.getvalue())


@pytest.mark.parametrize(
    ("total", "unit", "done", "status"),
    [
        (None, "steps", 0, "10 s"),
        (None, "pages", 30, "30 pages, 3.0/s"),
        (30, "pages", 30, "30 of 30 pages, 3.0/s"),
        (None, "bytes", 5120, "5.0 KiB, 512 bytes/s"),
    ],
)
def test_a_step_tells_what_can_be_told(clock, total, unit, done, status):
    step = Step("Working", total, unit, clock)
    clock.now += 10
    step.update(done)
    assert step.status() == status


def test_a_total_can_become_known_late(clock):
    step = Step("Working", None, "pages", clock)
    clock.now += 10
    step.update(10, total=20)
    assert step.status() == "10 of 20 pages, 1.0/s, about 10 s left"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.04, "0.0 s"), (9.94, "9.9 s"), (9.96, "10 s"), (59.6, "1 min 0 s"), (485, "8 min 5 s"), (3725, "1 h 2 min")],
)
def test_durations(seconds, text):
    assert duration(seconds) == text


@pytest.mark.parametrize(
    ("size", "text"),
    [(0, "0 bytes"), (1023, "1023 bytes"), (1536, "1.5 KiB"), (3 << 30, "3.0 GiB"), (1 << 50, "1024.0 TiB")],
)
def test_sizes(size, text):
    assert binary_size(size) == text


def test_a_result_that_is_printed_while_the_line_moves_goes_to_stdout(capsys):
    out = Terminal()
    with Progress.step("Reading", stream=out):
        print("result")
    assert capsys.readouterr().out == "result\n"
    assert "result" not in out.getvalue()

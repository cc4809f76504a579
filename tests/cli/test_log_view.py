"""The options of ``fadump dmesg`` beside util-linux's dmesg(1), which reads the same messages from a file."""

import json
import os
import pty
import re
import subprocess
import sys
import time
from functools import partial

import pytest

from fadump.cli import dmesg
from tests.linux.crashed_kernel import crashed_kernel
from tests.linux.kernel_builder import Log, Message

SECOND = 1_000_000_000
END = 90_061
MESSAGES = [
    Message(b"Linux version 6.12", 0, level=5),
    Message(b"pci 0000:00:00.0: [1234] type", SECOND // 2),
    Message(b"foo: bad: worse", 3 * SECOND // 2, level=3),
    Message(b"no name here", 5 * SECOND // 2, level=4),
    Message(b"a:b", 3 * SECOND, level=1),
    Message(b"one: x", 4 * SECOND, level=1),
    Message(b"two: y", 5 * SECOND, level=2),
    Message(b"three: trailing:", 6 * SECOND, level=7),
    Message(b"systemd[1]: hello", 7 * SECOND, facility=3),
    Message(b"login: failed", 8 * SECOND, level=3, facility=10),
    Message(b"sh[12]: segfault at 0 ip 1", 9 * SECOND),
    Message(b"Kernel panic - not syncing: done", END * SECOND, level=0),
]


@pytest.fixture
def run(run_command):
    return partial(run_command, dmesg)


@pytest.fixture
def theirs(tmp_path):
    """util-linux's dmesg on the same messages, in the form that ``dmesg --raw`` writes."""
    file = tmp_path / "raw"
    file.write_text("".join(f"{_raw(message)}\n" for message in MESSAGES))

    def run(*words):
        command = ["dmesg", "--file", str(file), *words]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout

    return run


def _raw(message):
    seconds, fraction = divmod(message.ns, SECOND)
    priority = message.facility << 3 | message.level
    return f"<{priority}>[{seconds:5d}.{fraction // 1000:06d}] {message.text.decode()}"


def core(crash_time=END):
    kernel = crashed_kernel(with_log=False)
    Log(kernel, MESSAGES)
    if crash_time is None:
        del kernel.facts["CRASHTIME"]
    else:
        kernel.facts["CRASHTIME"] = str(crash_time)
    return kernel.core()


@pytest.mark.parametrize(
    "words",
    [
        (),
        ("--level", "err"),
        ("-l", "emerg,alert,crit,err,warn"),
        ("--level=3,notice",),
        ("--facility", "daemon"),
        ("-f", "kern,authpriv", "--level", "err"),
        ("--facility=10",),
        ("--color=never",),
    ],
    ids=" ".join,
)
def test_the_same_messages_are_chosen(run, theirs, words):
    assert run(core(), *words) == (0, theirs(*words), "")


def test_colours_are_theirs(run, theirs):
    ours = run(core(), "--color=always")[1].splitlines()
    assert ours[:-1] == theirs("--color=always").splitlines()[:-1]  # which leaves an emergency without a colour
    assert ours[-1].endswith("\x1b[33mKernel panic - not syncing: \x1b[0m\x1b[7m\x1b[31mdone\x1b[0m")


@pytest.mark.parametrize("zone", ["UTC", "America/New_York"])
def test_times_of_day_are_theirs(run, theirs, monkeypatch, zone):
    monkeypatch.setenv("TZ", zone)
    time.tzset()
    told = theirs("--ctime")
    booted = int(time.mktime(time.strptime(told[1 : told.index("]")])))  # their boot is this computer's
    try:
        assert run(core(booted + END), "-T") == (0, told, "")
    finally:
        monkeypatch.undo()
        time.tzset()


def test_a_dump_that_does_not_say_when_has_times_since_boot(run):
    status, out, err = run(core(None), "-T")
    assert status == 1 and "[    0.000000] Linux version" in out
    assert err == "fadump: the dump doesn't say when the kernel crashed: times are in seconds since boot\n"
    assert json.loads(run(core(None), "-T", "--json")[1])["result"] == "incomplete"


@pytest.mark.parametrize("when", [1 << 62, (1 << 64) - 1])
def test_a_time_that_no_calendar_has_is_shown_since_boot(run, when):
    status, out, _err = run(core(when), "-T")
    assert status in (0, 1) and "[    0.000000] Linux version" in out


@pytest.mark.parametrize(("since", "count"), [("0", 12), ("2.5", 9), ("2.6", 8), ("90061", 1), ("90062", 0)])
def test_what_was_said_since(run, since, count):
    found = json.loads(run(core(), "--since-boot", since, "--json")[1])
    assert len(found["records"]) == count


@pytest.mark.parametrize(
    "words", [("--level", "loud"), ("--facility", "err"), ("--since-boot", "-1"), ("--since-boot", "nan"), ("-l", "")]
)
def test_other_words_are_refused(run, words):
    status, out, err = run(core(), *words)
    assert (status, out) == (2, "") and err.count("\n") == 1


def test_json_has_when_it_booted(run):
    assert json.loads(run(core(100_000), "-T", "--json")[1])["boot_time"] == 100_000 - END
    assert json.loads(run(core(100_000), "--json")[1])["boot_time"] is None


@pytest.mark.parametrize(
    ("settings", "coloured"),
    [({}, True), ({"NO_COLOR": "1"}, False), ({"NO_COLOR": ""}, True), ({"TERM": "dumb"}, False)],
)
def test_only_a_terminal_gets_colours(tmp_path, settings, coloured):
    file = tmp_path / "core"
    file.write_bytes(core())
    words = [sys.executable, "-m", "fadump", "dmesg", str(file)]
    environment = (
        {name: value for name, value in os.environ.items() if name != "NO_COLOR"} | {"TERM": "xterm"} | settings
    )
    main_end, terminal = pty.openpty()
    try:
        subprocess.run(words, stdout=terminal, env=environment, check=True)
        shown = os.read(main_end, 1 << 16).decode()
    finally:
        os.close(main_end)
        os.close(terminal)
    assert bool(re.search("\x1b", shown)) is coloured
    assert "\x1b" not in subprocess.run(words, capture_output=True, text=True, env=environment, check=True).stdout

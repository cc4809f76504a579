import json
from functools import partial

import pytest

from fadump.cli import dmesg
from tests.linux.crashed_kernel import MESSAGES, crashed_kernel
from tests.linux.kernel_builder import Log, Message

LINES = (
    "[    0.000000] Linux version 6.12.0-fake\n"
    "[    0.900000] sysrq: Trigger a crash\n"
    "[    0.901849] Kernel panic - not syncing: sysrq triggered crash\n"
)


@pytest.fixture
def run(run_command):
    return partial(run_command, dmesg)


def test_the_log_is_printed_as_dmesg_does(run):
    assert run(crashed_kernel().core()) == (
        0,
        LINES,
        "",
    )


def test_json_has_every_record(run):
    status, out, _err = run(crashed_kernel().core(), "--json")
    found = json.loads(out)
    assert status == 0
    assert found["complete"] and found["missing"] == []
    assert [record["text"].encode() for record in found["records"]] == [message.text for message in MESSAGES]
    assert found["records"][2]["timestamp_ns"] == 901_849_198


def test_a_terminal_is_told_nothing_by_a_log(run):
    kernel = crashed_kernel(with_log=False)
    Log(kernel, [Message(b"\x1b[2Jtab\there \x07\n\xc2\x9b second line")])
    _status, out, _err = run(kernel.core())
    assert out == "[    0.000000] \\x1b[2Jtab\there \\x07\n[    0.000000] \\x9b second line\n"
    found = json.loads(run(kernel.core(), "--json")[1])
    assert found["records"][0]["text"].startswith("\x1b[2J")


def test_a_dump_without_a_log_says_so(run):
    status, out, err = run(crashed_kernel(with_log=False).core())
    assert (status, out) == (1, "")
    assert err.startswith("fadump: no log can be read: ") and "doesn't have SYMBOL(prb)" in err


def test_of_a_dump_cut_short_what_is_there_is_printed(run):
    core = crashed_kernel().core()
    status, out, err = run(core[: core.index(b"Linux version") + 4])
    assert status == 1
    assert out.count("(the dump doesn't have this message's text)") == 3
    assert "cut short" in err and "the text of 3 messages" in err

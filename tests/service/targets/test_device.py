"""The system's tools, as mount and blkid are."""

from pathlib import Path

import pytest

from fadump.service.targets import device
from fadump.service.targets.contract import TargetError
from tests.kit.conftest import wait_until

HELPER = 'sleep 1000 & echo $! >"$1"; wait'


def test_a_tool_that_does_not_end_is_killed_with_what_it_has_started(tmp_path, monkeypatch):
    monkeypatch.setattr(device, "_TOOL_SECONDS", 5)
    with pytest.raises(TargetError, match=r"^sh was not done after 5 seconds and has been killed$"):
        device.run_tool("sh", "-c", HELPER, "sh", str(tmp_path / "pid"))
    helper = Path("/proc") / (tmp_path / "pid").read_text().strip() / "cmdline"
    wait_until(lambda: not helper.exists() or not helper.read_bytes())


def test_what_a_tool_says_is_had():
    done = device.run_tool("sh", "-c", "echo said; echo told >&2; exit 3")
    assert (done.returncode, done.stdout, done.stderr) == (3, "said\n", "told\n")


@pytest.mark.parametrize(
    ("script", "why"),
    [("echo told >&2; echo more >&2; exit 3", "told more"), ("exit 3", "sh says nothing, exit status 3")],
)
def test_why_a_tool_has_failed_is_never_empty(script, why):
    assert device.told(device.run_tool("sh", "-c", script)) == why


def test_a_tool_that_is_not_there_is_one_sentence():
    with pytest.raises(TargetError, match=r"^no-such-tool can't be started: No such file or directory$"):
        device.run_tool("no-such-tool")

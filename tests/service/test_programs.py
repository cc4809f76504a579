"""Hooks and notifications: what they are told, and that none of them is ever in the way."""

import json
import os
import re
import subprocess
import sys
import threading
from contextlib import contextmanager
from email import message_from_bytes, policy
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from fadump.service.capture import capture
from fadump.service.config import Config, HookSettings, NotifySettings, OnFailure, Priority, SaveSettings
from fadump.service.last_resort import last_resort
from fadump.service.programs import run_program
from fadump.service.result import Result
from fadump.service.targets.directory import DirectorySettings
from tests.kit.conftest import wait_until

SAVE = SaveSettings(priority=Priority.NORMAL)
FOREVER = "sleep 1000 & echo $! >pid; wait"


def script(directory, name, text):
    """A program of that name."""
    path = directory / name
    path.write_text(f"#!/bin/sh\ncd {directory}\n{text}\n")
    path.chmod(0o755)
    return str(path)


def is_running(pid):
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


def test_hooks_are_told_what_has_happened(machine, root, tmp_path):
    before = script(tmp_path, "before", "env >before.txt; test -s $FADUMP_VMCORE")
    after = script(tmp_path, "after", "env >after.txt; test -s $FADUMP_PATH")
    hooks = HookSettings((before,), (after, "word"))
    captured = capture(root, Config(save=SAVE, targets=(DirectorySettings(tmp_path / "crash"),), hooks=hooks))
    assert captured.result is Result.SAVED and not captured.remarks
    told = [dict(re.findall(r"^(FADUMP_\w+)=(.*)$", (tmp_path / f"{name}.txt").read_text(), re.MULTILINE))
            for name in ("before", "after")]  # fmt: skip
    assert told[0].pop("FADUMP_STARTED_BY") != told[1].pop("FADUMP_STARTED_BY")
    assert told[0] == {"FADUMP_HOOK": "before", "FADUMP_VMCORE": str(root.vmcore)}
    assert told[1] == {
        "FADUMP_HOOK": "after",
        "FADUMP_RESULT": "saved",
        "FADUMP_TARGET": str(tmp_path / "crash"),
        "FADUMP_WHERE": captured.where,
        "FADUMP_PATH": captured.where,
        "FADUMP_CRASH_TIME": str(captured.crash.time),
        "FADUMP_KERNEL": captured.crash.release,
        "FADUMP_CAUSE": captured.crash.cause,
        "FADUMP_RELEASED": "1",
    }


def test_a_hook_that_hangs_or_fails_is_said_and_nothing_is_lost(machine, root, tmp_path):
    hooks = HookSettings((script(tmp_path, "hangs", FOREVER),), (script(tmp_path, "fails", "exit 7"),), timeout=1)
    captured = capture(root, Config(save=SAVE, targets=(DirectorySettings(tmp_path / "crash"),), hooks=hooks))
    assert captured.released and captured.registered and captured.error is None
    assert list(captured.remarks) == [
        f"the hook before {tmp_path}/hangs was not done after 1 seconds and has been killed",
        f"the hook after {tmp_path}/fails failed with exit status 7",
    ]


def test_a_program_that_hangs_is_killed_with_all_that_it_has_started(tmp_path):
    assert "killed" in run_program("it,", [script(tmp_path, "hangs", FOREVER)], 1, {})
    pid = int((tmp_path / "pid").read_text())
    wait_until(lambda: not is_running(pid))


@pytest.mark.parametrize("session", ["", "setsid", "env -i", "setsid -f"])
@pytest.mark.parametrize("end", ["", "sleep 1000"])
def test_a_program_leaves_nothing_running(tmp_path, session, end):
    left = f"{session} sh -c 'echo $$ >pid.new; mv pid.new pid; exec sleep 1000' &"
    name = script(tmp_path, "forks", f"{left} until [ -s pid ]; do sleep 0.01; done; {end}")
    said = run_program("it,", [name], 1 if end else 60, {})
    assert "killed" in said if end else said is None
    pid = int((tmp_path / "pid").read_text())
    wait_until(lambda: not is_running(pid))


@pytest.mark.parametrize(
    ("command", "sentence"),
    [
        (["/none/such"], "it, /none/such can't be started: No such file or directory"),
        (["a\0b"], "it, a\0b can't be started: embedded null byte"),
        (["sh", "-c", "kill -TERM $$"], "it, sh was ended by SIGTERM"),
        (["true"], None),
    ],
)
def test_how_a_program_has_ended(command, sentence):
    assert run_program("it,", command, 60, {}, b"nobody reads this" * 100_000) == sentence


def test_what_a_program_prints_goes_to_standard_error(capfd):
    assert run_program("it,", ["sh", "-c", 'echo "$WORD"; cat'], 60, {"WORD": "told"}, b"text\n") is None
    assert capfd.readouterr() == ("", "told\ntext\n")


@contextmanager
def server(answer):
    """A web server: what it is sent, and its address. ``answer`` is a status, or None: it never answers."""
    got, end = [], threading.Event()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            body = self.rfile.read(int(self.headers["Content-Length"]))
            got.append((self.path, self.headers["Content-Type"], json.loads(body)))
            if answer is None:
                end.wait()
            else:
                self.send_response(answer)
                self.end_headers()

        def log_message(self, *words):
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as http:
        thread = threading.Thread(target=http.serve_forever)
        thread.start()
        try:
            yield got, f"http://127.0.0.1:{http.server_port}/crash"
        finally:
            end.set()
            http.shutdown()
            thread.join()


def test_a_program_an_address_and_a_server_are_told(machine, root, tmp_path, monkeypatch):
    script(tmp_path, "sendmail", 'echo "$@" >words; cat >mail')
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    with server(200) as (got, address):
        notify = NotifySettings((script(tmp_path, "tell", "cat >told"),), "root@example.org", address)
        captured = capture(root, Config(save=SAVE, targets=(DirectorySettings(tmp_path / "crash"),), notify=notify))
    assert captured.remarks == []
    told = json.loads((tmp_path / "told").read_text())
    assert (told["result"], told["where"], told["released"]) == ("saved", captured.where, True)
    assert told["crash"]["cause"] == captured.crash.cause
    assert got == [("/crash", "application/json", told)]
    assert (tmp_path / "words").read_text() == "-t -i\n"
    mail = message_from_bytes((tmp_path / "mail").read_bytes(), policy=policy.default)
    assert mail["To"] == "root@example.org" and mail["Subject"].endswith(": a crash's dump: saved")
    assert captured.where in mail.get_content()


WITH_THAT_HOSTNAME = """
import os, socket, sys
from fadump.service.config import NotifySettings
from fadump.service.notify import notify
socket.sethostname(b"db1\\nBcc: them\\x1b[2J\\xff")
print(*notify(NotifySettings(mail="root"), {"result": "saved"}, "saved", {}))
"""


def test_a_name_of_the_system_that_is_none_makes_no_other_mail(tmp_path):
    script(tmp_path, "sendmail", "cat >mail")
    done = subprocess.run(
        ["unshare", "--map-root-user", "--uts", sys.executable, "-c", WITH_THAT_HOSTNAME],
        env=os.environ | {"PATH": f"{tmp_path}:{os.environ['PATH']}"}, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout == "\n"
    mail = message_from_bytes((tmp_path / "mail").read_bytes(), policy=policy.default)
    assert (mail["To"], mail["Bcc"]) == ("root", None)
    assert mail["Subject"] == r"db1\nBcc: them\x1b[2J\udcff: a crash's dump: saved"


@pytest.mark.parametrize("answer", [None, 500])
def test_a_notification_that_fails_is_a_remark(root, tmp_path, monkeypatch, answer):
    monkeypatch.setenv("PATH", str(Path(sys.executable).parent))
    with server(answer) as (_got, address):
        notify = NotifySettings(("/none",), "root", address, timeout=3)
        captured = capture(root, Config(save=SAVE, targets=(DirectorySettings(tmp_path / "crash"),), notify=notify))
    assert captured.released and captured.registered and captured.error is None
    program, mail, web = captured.remarks
    assert program == "the notification /none can't be started: No such file or directory"
    assert mail == "mail by sendmail can't be started: No such file or directory"
    assert web.startswith(f"telling {address} by ")
    assert web.endswith("was not done after 3 seconds and has been killed" if answer is None else "exit status 1")


def test_why_a_server_could_not_be_told_is_said(capfd):
    with server(500) as (_got, address):
        assert run_program("it,", [sys.executable, "-m", "fadump.service.post", address, "9"], 60, {}, b"{}")
    assert capfd.readouterr().err == f"fadump: {address}: the server says 500 Internal Server Error\n"
    assert run_program("it,", [sys.executable, "-m", "fadump.service.post", "http://[", "9"], 60, {}, b"{}")
    assert "Traceback" not in capfd.readouterr().err


@pytest.mark.parametrize(
    ("on_failure", "words"),
    [
        (OnFailure.KEEP, None),
        (OnFailure.SHELL, "sulogin {console}"),
        (OnFailure.REBOOT, "systemctl --no-block reboot"),
        (OnFailure.POWEROFF, "systemctl --no-block poweroff"),
    ],
)
def test_what_is_done_when_no_target_takes_the_dump(tmp_path, monkeypatch, on_failure, words):
    console = tmp_path / "console"
    for name in ("sulogin", "systemctl"):
        script(tmp_path, name, f'echo {name} "$@" >done')
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    assert last_resort(on_failure, "the reason", console) is None
    if words is None:
        assert not (tmp_path / "done").exists() and not console.exists()
    else:
        assert (tmp_path / "done").read_text().strip() == words.format(console=console)
        assert "fadump: the reason" in console.read_text()


def test_a_last_resort_that_fails_is_said(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    said = last_resort(OnFailure.REBOOT, "the reason", tmp_path / "console")
    assert said == "on_failure is reboot, and systemctl can't be started: No such file or directory"


def test_on_failure_comes_only_after_a_failure(machine, root, tmp_path, monkeypatch):
    done = tmp_path / "done"
    script(tmp_path, "systemctl", 'echo "$@" >done')
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    (tmp_path / "file").touch()
    failing = Config(OnFailure.POWEROFF, save=SAVE, targets=(DirectorySettings(tmp_path / "file"),))
    assert capture(root, failing).result is Result.FAILED and done.read_text() == "--no-block poweroff\n"
    assert machine.path("/proc/vmcore").exists()
    done.unlink()
    saving = Config(OnFailure.POWEROFF, save=SAVE, targets=(DirectorySettings(tmp_path / "crash"),))
    assert capture(root, saving).result is Result.SAVED and not done.exists()

"""What the firmware beside somebody else's QEMU says, and where."""

import fcntl
import os

import pytest

from fadump.emulator.serve import EVENTS_VARIABLE, _told
from fadump.observer import Seen

SENTENCE = "fadump:     1.00 s  the kernel has registered: a crash will be dumped\n"


@pytest.mark.parametrize("name", ["", "none/events", "/dev/full"])
def test_events_that_no_file_takes_are_said_and_the_guest_goes_on(tmp_path, monkeypatch, capsys, name):
    monkeypatch.setenv(EVENTS_VARIABLE, str(tmp_path / name))
    with _told() as log:
        log.seen(Seen.REGISTERED, 1.0)
    said = capsys.readouterr().err
    assert said.startswith(f"fadump: FADUMP_EVENTS={tmp_path / name} can't be written: ")
    assert said.endswith(SENTENCE) and said.count("\n") == 2


@pytest.mark.parametrize("read", [False, True])
def test_a_pipe_that_nobody_reads_does_not_keep_the_guest(tmp_path, monkeypatch, capsys, read):
    pipe = tmp_path / "events"
    os.mkfifo(pipe)
    monkeypatch.setenv(EVENTS_VARIABLE, str(pipe))
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK) if read else None
    if reader is not None:
        fcntl.fcntl(reader, fcntl.F_SETPIPE_SZ, 4096)
    with _told() as log:
        for _event in range(200):
            log.seen(Seen.REGISTERED, 1.0)
    why = "that pipe is full" if read else "nobody reads that pipe"
    said = capsys.readouterr().err
    assert said.startswith(f"fadump: FADUMP_EVENTS={pipe} can't be written: {why}\n") and said.endswith(SENTENCE)
    if reader is not None:
        lines = os.read(reader, 4096).decode().splitlines()
        assert set(lines) == {'{"event": "registered", "at_seconds": 1.0}'}
        assert len(lines) + said.count(SENTENCE) == 200
        os.close(reader)


def test_events_are_in_the_file_that_the_environment_names_or_on_stderr(tmp_path, monkeypatch, capsys):
    with _told() as log:
        log.seen(Seen.REGISTERED, 1.0)
    assert capsys.readouterr().err == SENTENCE
    monkeypatch.setenv(EVENTS_VARIABLE, str(tmp_path / "events"))
    with _told() as log:
        log.seen(Seen.REGISTERED, 1.0)
        assert (tmp_path / "events").read_text() == '{"event": "registered", "at_seconds": 1.0}\n'
    assert (tmp_path / "events").stat().st_mode & 0o777 == 0o600
    assert not capsys.readouterr().err

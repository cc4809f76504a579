"""What is made of an ssh that says nothing, as OpenSSH 10 does where earlier ones have a sentence."""

import pytest

from fadump.service.targets.contract import TargetError
from fadump.service.targets.ssh_client import Account, Sink, Ssh, ask

ACCOUNT = Account("dumps.example.com", patience_seconds=3600)


@pytest.fixture
def silent_ssh(tmp_path, monkeypatch):
    """An ssh whose connection is lost at once."""
    program = tmp_path / "ssh"
    program.write_text("#!/bin/sh\nexit 255\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")


def test_a_connection_that_is_lost_without_a_word_is_not_taken_for_a_long_silence(silent_ssh):
    with pytest.raises(TargetError, match="^ssh://dumps.example.com: the connection was lost$"):
        ask(ACCOUNT, "true", seconds=3600)


def test_so_is_one_that_is_lost_in_the_middle(silent_ssh):
    ssh = Ssh(ACCOUNT, "cat")
    try:
        with pytest.raises(OSError, match="the connection was lost$"):
            send_until_it_ends(ssh)
    finally:
        ssh.close()


def send_until_it_ends(ssh):
    sink = Sink(ssh, 3600)
    while True:
        sink.write(ssh.stdin, bytes(1 << 16))

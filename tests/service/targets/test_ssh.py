"""A directory on another machine, with a real sshd there and OpenSSH's client here."""

import hashlib
import json
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from fadump.capture.options import SaveOptions
from fadump.capture.save import stream_dump
from fadump.capture.target import SaveError
from fadump.errors import SetupError
from fadump.linux.pages.page_class import DumpLevel
from fadump.linux.system import open_system
from fadump.service.capture import capture
from fadump.service.config import Config, ConfigError, parse_config
from fadump.service.crash import read_crash
from fadump.service.result import Result
from fadump.service.settings import keys
from fadump.service.targets.contract import TargetError
from fadump.service.targets.ssh import CHECKED, SUMMED, SshSettings
from fadump.service.targets.urls import RemotePlace
from fadump.vmcore.check import check_dump
from fadump.vmcore.dump import open_dump
from tests.capture.contents import differing_pages
from tests.kit.conftest import wait_until
from tests.real_linux.fadump_command import COMMAND
from tests.service.targets.ssh_server import host_line, ssh_server
from tests.service.targets.ssh_target import CRASH, NAMED, OTHER_CRASH, feed, send, ssh_processes, target_of, told

SHORT_SECONDS = 12
DISK = 8 << 20
SENT = 1 << 20


@pytest.fixture
def server(tmp_path):
    with ssh_server(tmp_path, disk=str(DISK)) as server:
        yield server


@pytest.fixture
def bare_server(tmp_path):
    """One that has no fadump."""
    with ssh_server(tmp_path, disk=str(DISK), with_fadump=False) as server:
        yield server


@pytest.fixture
def target(server):
    target = target_of(server)
    yield target
    target.close()


def names(server, directory=NAMED):
    return sorted(path.name for path in (server.files / directory).iterdir())


def arrived(server):
    """How many bytes of the dump are there."""
    file = server.files / NAMED / "vmcore.incomplete"
    return file.stat().st_size if file.exists() else 0


def test_a_dump_is_there_whole_and_nothing_else(server, target, vmcore):
    with open_system([str(vmcore)]) as system:
        crash = read_crash(system)
        target.prepare()
        assert target.find(crash) is None
        stream = target.open(crash)
        target.add_text("vmcore-dmesg.txt", b"Oops\n")
        stream_dump(system, stream.fd, SaveOptions((DumpLevel(31),)), files=stream.files)
        stored = target.settle()
        directory = stored.where.removeprefix(f"{target.name}/").removesuffix("/vmcore")
        assert "vmcore" not in names(server, directory) and "vmcore.incomplete" in names(server, directory)
        assert target.prove(told, complete=True) == CHECKED
        assert names(server, directory) == ["fadump.json", "vmcore", "vmcore-dmesg.txt", "vmcore.sha256"]
        with open_dump([server.files / directory / "vmcore"]) as dump:
            assert dump.flattened and check_dump(dump).whole and not differing_pages(dump, system.dump)
    assert (server.files / directory / "vmcore-dmesg.txt").read_text() == "Oops\n"
    server.machine.inside("sh", "-ec", 'cd "$1" && sha256sum -c vmcore.sha256', "sh", str(server.dumps / directory))
    modes = {path.stat().st_mode & 0o777 for path in (server.files / directory).iterdir()}
    assert modes == {0o600} and (server.files / directory).stat().st_mode & 0o777 == 0o700


def test_a_machine_without_fadump_proves_the_checksum(bare_server):
    target = target_of(bare_server)
    send(target, b"not a dump")
    assert target.prove(told, complete=True) == SUMMED
    assert (bare_server.files / NAMED / "vmcore").read_bytes() == b"not a dump"
    assert hashlib.sha256(b"not a dump").hexdigest() in (bare_server.files / NAMED / "vmcore.sha256").read_text()


def test_what_fadump_check_finds_there_keeps_a_dump_from_its_name(server, target):
    send(target, b"not a dump")
    with pytest.raises(TargetError, match="not a dump file"):
        target.prove(told, complete=True)
    assert "vmcore" not in names(server)


def test_a_dump_with_gaps_is_proven_by_its_checksum(server, target):
    send(target, b"not a dump")
    assert target.prove(told, complete=False) == SUMMED
    assert "vmcore" in names(server)


def test_a_byte_that_changes_there_keeps_a_dump_from_its_name(bare_server):
    target = target_of(bare_server)
    send(target, bytes(1000))
    with (bare_server.files / NAMED / "vmcore.incomplete").open("r+b") as file:
        file.write(b"\1")
    with pytest.raises(TargetError, match=rf"it says: {NAMED}/vmcore.incomplete is not what was sent"):
        target.prove(told, complete=True)
    assert "vmcore" not in names(bare_server)


def test_a_dump_that_is_there_is_found_and_proven_again(bare_server):
    target = target_of(bare_server)
    send(target, b"of this crash")
    target.prove(told, complete=True)
    again = target_of(bare_server)
    assert again.find(OTHER_CRASH) is None
    assert again.find(CRASH).where == f"{again.name}/{NAMED}/vmcore"
    assert again.prove(told, complete=True) == SUMMED
    with (bare_server.files / NAMED / "vmcore").open("ab") as file:
        file.write(b"!")
    with pytest.raises(TargetError, match="is not what was sent"):
        again.prove(told, complete=True)


def test_what_an_attempt_has_left_is_replaced_by_the_next_one(bare_server):
    first = target_of(bare_server)
    feed(first.open(CRASH), b"the beginning")
    first.close()
    second = target_of(bare_server)
    assert second.find(CRASH) is None
    send(second, b"all of it")
    second.prove(told, complete=True)
    assert [path.name for path in bare_server.files.iterdir()] == [NAMED]
    assert (bare_server.files / NAMED / "vmcore").read_bytes() == b"all of it"


def test_two_crashes_of_one_second_have_a_directory_each(bare_server):
    for crash in (CRASH, OTHER_CRASH):
        target = target_of(bare_server)
        send(target, crash.identity.encode(), crash)
        target.prove(told, complete=True)
    assert (bare_server.files / NAMED / "vmcore").read_text() == CRASH.identity
    assert (bare_server.files / f"{NAMED}-2" / "vmcore").read_text() == OTHER_CRASH.identity


@pytest.mark.parametrize("name", ['it\'s a $(touch x) `y`; "z" ! \\', "-rf", "größe", "~root"])
def test_any_name_of_a_directory_is_one_word_there(bare_server, name):
    target = target_of(bare_server, path=f"{bare_server.dumps}/{name}")
    target.prepare()
    send(target, b"dump")
    target.prove(told, complete=True)
    assert [path.name for path in bare_server.files.iterdir()] == [name]
    assert (bare_server.files / name / NAMED / "vmcore").read_bytes() == b"dump"


def test_what_a_login_shell_says_is_not_taken_for_an_answer(server, target, vmcore):
    server.machine.inside("sh", "-c", "echo 'echo welcome; echo to all >&2' >/run/.bashrc")
    target.prepare()
    with open_system([str(vmcore)]) as system:
        crash = read_crash(system)
        stream = target.open(crash)
        stream_dump(system, stream.fd, SaveOptions((DumpLevel(31),), registers=False), files=stream.files)
    assert target.settle().where == f"{target.name}/{crash.name(0)}/vmcore"
    assert target.prove(told, complete=True) == CHECKED
    assert target_of(server).find(crash) is not None


def test_the_room_is_that_of_the_disk_there(target):
    target.prepare()
    assert target.room() == DISK


def test_a_key_that_it_does_not_take(server, tmp_path):
    target = target_of(server, key=tmp_path / "another_key")
    with pytest.raises(TargetError, match=rf"it doesn't take the key {tmp_path}/another_key: add its public half"):
        target.prepare()


def test_a_key_that_is_none(server, tmp_path):
    (tmp_path / "no_key").write_text("not a key\n")
    (tmp_path / "no_key").chmod(0o600)
    with pytest.raises(TargetError, match=rf"the key {tmp_path}/no_key can't be used: \S+"):
        target_of(server, key=tmp_path / "no_key").prepare()


@pytest.mark.parametrize("name", ["key", "known_hosts"])
def test_a_file_that_is_not_there(server, tmp_path, name):
    with pytest.raises(SetupError, match=rf"{tmp_path}/missing can't be read: No such file or directory"):
        target_of(server, **{name: tmp_path / "missing"}).prepare()


def test_a_host_whose_key_is_not_known(server):
    server.known_hosts.write_text("")
    with pytest.raises(TargetError, match=rf"its host key is not in {server.known_hosts}"):
        target_of(server).prepare()
    assert server.known_hosts.read_text() == ""


def test_a_host_with_another_key(server, tmp_path):
    server.known_hosts.write_text(host_line(tmp_path / "another_key.pub"))
    with pytest.raises(TargetError, match=rf"its host key is another than {server.known_hosts} has"):
        target_of(server).prepare()


def test_nobody_listens(server):
    with pytest.raises(TargetError, match=r"^ssh://root@198.18.0.2:1: nobody listens there"):
        target_of(server, port=1).prepare()


def test_there_is_no_way_to_it(server):
    with pytest.raises(TargetError, match=r"there is no way to it: is the network up\?"):
        target_of(server, host="192.0.2.1").prepare()


def test_its_name_is_not_known(server):
    with pytest.raises(TargetError, match=r"its name is not known here"):
        target_of(server, host="no-such-host.invalid").prepare()


def test_a_network_that_swallows_everything_is_given_up(server):
    server.machine.vanish()
    with pytest.raises(TargetError, match=rf"it hasn't answered for {SHORT_SECONDS} seconds"):
        target_of(server, timeout=SHORT_SECONDS).prepare()


def test_there_is_no_ssh(server, monkeypatch):
    monkeypatch.setenv("PATH", "/nonexistent")
    with pytest.raises(SetupError, match=r"needs OpenSSH's client, and ssh can't be started"):
        target_of(server).prepare()


def test_a_directory_that_can_not_be_written_to(server, target):
    server.machine.inside("mount", "-o", "remount,ro", str(server.dumps))
    with pytest.raises(TargetError, match=rf"it says: {server.dumps} is not writable"):
        target.prepare()


def test_a_directory_whose_parent_is_missing(server):
    target = target_of(server, path=f"{server.dumps}/no/where")
    with pytest.raises(TargetError, match=r"it says: mkdir: cannot create directory .*/no/where.*No such file"):
        target.prepare()


def fill(server):
    """The disk there has no more room than what has been sent."""
    (server.files / "other").write_bytes(bytes(DISK - (2 << 20)))


def kill(server):
    server.kill_connections()


def vanish(server):
    server.machine.vanish()


def stop(server):
    server.machine.inside("sh", "-c", "kill -STOP $(pidof cat)")


@pytest.mark.parametrize(
    ("interrupt", "timeout", "why"),
    [
        (fill, 60, "it says: cat: write error: No space left on device"),
        (kill, 60, "the connection was lost"),
        (vanish, SHORT_SECONDS, f"it hasn't answered for {SHORT_SECONDS} seconds"),
        (stop, SHORT_SECONDS, f"has taken nothing for {2 * SHORT_SECONDS} seconds"),
    ],
    ids=["disk full", "sshd killed", "network gone", "stuck"],
)
def test_what_ends_in_the_middle_has_no_name_and_is_told_in_a_sentence(server, vmcore, interrupt, timeout, why):
    target = target_of(server, timeout=timeout)
    try:
        stream = target.open(CRASH)
        feed(stream, bytes(SENT))
        wait_until(lambda: arrived(server) == SENT)
        interrupt(server)
        with open_system([str(vmcore)]) as system, pytest.raises(SaveError, match=why) as caught:
            stream_dump(system, stream.fd, SaveOptions(registers=False), files=stream.files)
        assert "\n" not in str(caught.value)
    finally:
        target.close()
    assert "vmcore" not in names(server) and "vmcore.sha256" not in names(server)
    assert ssh_processes() == []


def test_a_connection_that_is_lost_at_the_end_leaves_no_dump_that_looks_whole(server, target):
    feed(target.open(CRASH), b"all of it")
    wait_until(lambda: arrived(server))
    server.kill_connections()
    with pytest.raises(TargetError, match="the connection was lost"):
        target.settle()
    assert "vmcore" not in names(server)


def test_a_machine_that_is_gone_before_the_proof(server):
    target = target_of(server)
    send(target, b"all of it")
    server.machine.vanish()
    target._account = replace(target._account, patience_seconds=SHORT_SECONDS)
    with pytest.raises(TargetError, match="it hasn't answered"):
        target.prove(told, complete=True)
    assert "vmcore" not in names(server)


def test_a_text_that_is_cut_off_keeps_the_earlier_one(server, target):
    target.open(CRASH)
    target.add_text("notes", b"earlier")
    with pytest.raises(TargetError, match="No space left on device"):
        target.add_text("notes", bytes(2 * DISK))
    assert (server.files / NAMED / "notes").read_bytes() == b"earlier"


def test_a_signal_leaves_no_ssh(server):
    target = target_of(server)
    target.open(CRASH)
    wait_until(lambda: len(ssh_processes()) == 1)  # a process gets its name at the end of execve(2)
    target.close()
    target.close()
    assert ssh_processes() == []


def test_nothing_asks_for_a_password(server, tmp_path):
    """A key with a passphrase: ssh would ask for it, at the terminal that isn't there."""
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "secret", "-f", tmp_path / "locked"], check=True)
    with pytest.raises(TargetError, match=rf"the key {tmp_path}/locked can't be used|it doesn't take the key"):
        target_of(server, key=tmp_path / "locked").prepare()


def test_a_capture_goes_on_to_the_next_target(server, tmp_path, vmcore):
    known = f'key = "{server.key}"\nknown_hosts = "{server.known_hosts}"\n'
    targets = [
        f'[[target]]\ntype = "ssh"\nurl = "ssh://root@{server.host}:{port}{server.dumps}"\n{known}'
        for port in (1, server.port)
    ]
    (tmp_path / "config").write_text("".join(targets))
    command = [*COMMAND, "capture", "--json", "--config", tmp_path / "config", "--vmcore", vmcore]
    for is_there in (False, True):
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        told = json.loads(done.stdout)
        assert (done.returncode, told["result"], told["already"]) == (0, "saved", is_there), told
        assert [attempt["target"] for attempt in told["attempts"]] == [f"ssh://root@{server.host}:1{server.dumps}"]
        assert "nobody listens there" in told["attempts"][0]["error"]
        directory = told["where"].removeprefix(f"ssh://root@{server.host}:{server.port}{server.dumps}/").split("/")[0]
        assert names(server, directory) == ["fadump.json", "vmcore", "vmcore-dmesg.txt", "vmcore.sha256"]
        assert CHECKED in (server.files / directory / "fadump.json").read_text()


def test_nothing_is_released_if_no_machine_has_taken_the_dump(server, root):
    settings = SshSettings(RemotePlace(server.host, "/", "root", server.port), server.known_hosts, server.known_hosts)
    captured = capture(root, Config(targets=(settings,)))
    assert captured.result is Result.FAILED and not captured.released
    assert root.vmcore.exists() and root.release_mem.exists()


@pytest.mark.parametrize(
    ("url", "place"),
    [
        ("ssh://host/var/crash", RemotePlace("host", "/var/crash")),
        ("ssh://me@host:22/", RemotePlace("host", "/", "me", 22)),
        ("ssh://[fe80::1%eth0]:22/a/", RemotePlace("fe80::1%eth0", "/a", None, 22)),
        ("ssh://host/a%20b%25", RemotePlace("host", "/a b%")),
    ],
)
def test_a_url_names_a_place(url, place):
    assert keys(SshSettings)["url"].read(url) == place


@pytest.mark.parametrize(
    "url",
    [
        *(
            1,
            "host:/dir",
            "http://host/dir",
            "ssh://host",
            "ssh:///dir",
            "ssh://-oProxyCommand=x/dir",
            "ssh://a@b@c/dir",
        ),
        *("ssh://me:secret@host/dir", "ssh://host/../dir", "ssh://host/a%0ab", "ssh://host/a%00", "ssh://host/a?b"),
        *("ssh://host/a#b", "ssh://host:/dir", "ssh://host:0/dir", "ssh://host:65536/dir", "ssh://-l@host/dir"),
        *("ssh://[::1/dir", "ssh://host/%ff", "ssh://ho st/dir"),
    ],
)
def test_what_is_no_url_is_refused(url):
    config = f'[[target]]\ntype = "ssh"\nurl = {json.dumps(url)}\n'
    with pytest.raises(ConfigError, match=r'target 1: url is .*: allowed is "ssh://'):
        parse_config(config.encode(), Path("config"))

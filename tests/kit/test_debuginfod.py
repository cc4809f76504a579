"""Debug information from a server on the loopback interface, by build id; nobody is asked who wasn't named."""

import stat

import pytest

from fadump.errors import FadumpError, SetupError, UsageError
from fadump.kit import debuginfod
from fadump.kit.debuginfod import check_servers, fetch_debug_file
from tests.kit.debuginfod_server import Server

BUILD_ID = "0123456789abcdef0123456789abcdef01234567"
CONTENT = b"debug information" * 1000


@pytest.fixture
def server(tmp_path, monkeypatch):
    monkeypatch.setenv("FADUMP_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(debuginfod.shutil, "which", lambda _name: None)
    with Server({f"/buildid/{BUILD_ID}/debuginfo": CONTENT}) as running:
        monkeypatch.setenv("DEBUGINFOD_URLS", f"{running.address}/ ")
        yield running


def is_content(path, build_id):
    return build_id == BUILD_ID and path.read_bytes() == CONTENT


def test_a_file_is_fetched_once_and_its_owners_only(server):
    found = [fetch_debug_file(BUILD_ID, is_content) for _ in range(2)]
    assert found[0] == found[1] and found[0].read_bytes() == CONTENT
    assert server.asked == [f"/buildid/{BUILD_ID}/debuginfo"]
    assert stat.S_IMODE(found[0].stat().st_mode) == 0o600


def test_what_no_server_has_is_none_and_leaves_nothing(server, tmp_path):
    server.there.clear()
    assert fetch_debug_file(BUILD_ID, is_content) is None
    assert [*(tmp_path / "cache" / "debuginfod").iterdir()] == []


@pytest.mark.parametrize("build_id", ["", "../../etc", "0123", "xyz" * 10, "AB" * 20, "a" * 41])
def test_what_is_no_build_id_is_asked_of_nobody(server, build_id):
    assert fetch_debug_file(build_id, is_content) is None and server.asked == []


def test_the_next_server_is_asked_if_one_has_nothing(server, monkeypatch):
    with Server({}) as empty:
        monkeypatch.setenv("DEBUGINFOD_URLS", f"{empty.address} {server.address}")
        assert fetch_debug_file(BUILD_ID, is_content).read_bytes() == CONTENT
        assert len(empty.asked) == len(server.asked) == 1


@pytest.mark.parametrize("wrong", ["another file", "too large", "cut short"])
def test_a_wrong_answer_is_not_used(server, tmp_path, wrong):
    most_bytes = len(CONTENT)
    if wrong == "another file":
        server.there[f"/buildid/{BUILD_ID}/debuginfo"] = b"something else"
    elif wrong == "too large":
        most_bytes -= 1
    else:
        server.length = len(CONTENT) + 1
    with pytest.raises(FadumpError):
        fetch_debug_file(BUILD_ID, is_content, most_bytes=most_bytes)
    assert [*(tmp_path / "cache" / "debuginfod").iterdir()] == []


def test_a_server_leads_to_no_local_file(server, tmp_path):
    (tmp_path / "local").write_bytes(CONTENT)
    server.redirect = (tmp_path / "local").as_uri()
    with pytest.raises(SetupError, match="no debug information from http://127.0.0.1"):
        fetch_debug_file(BUILD_ID, is_content)


def test_a_server_that_isnt_there_is_named(server, monkeypatch):
    monkeypatch.setenv("DEBUGINFOD_URLS", "http://127.0.0.1:1")
    with pytest.raises(SetupError, match=r"http://127\.0\.0\.1:1: .*refused"):
        fetch_debug_file(BUILD_ID, is_content)


def test_elfutils_own_program_is_asked_where_it_is_installed(server, tmp_path, monkeypatch):
    program = tmp_path / "debuginfod-find"
    script = f'#!/bin/sh\nset -e\nmkdir -p "$DEBUGINFOD_CACHE_PATH"\nhead -c {len(CONTENT)} {tmp_path}/content '
    program.write_text(f'{script}>"$DEBUGINFOD_CACHE_PATH/$2"\necho "$DEBUGINFOD_CACHE_PATH/$2"\n')
    program.chmod(0o755)
    (tmp_path / "content").write_bytes(CONTENT)
    monkeypatch.setattr(debuginfod.shutil, "which", lambda _name: str(program))
    found = fetch_debug_file(BUILD_ID, is_content)
    assert found.read_bytes() == CONTENT and server.asked == []
    assert [path.name for path in found.parent.iterdir()] == ["debuginfo"]


@pytest.mark.parametrize(
    ("value", "says"), [("", "none is set"), ("file:///etc", "give addresses"), ("ftp://x", "give")]
)
def test_servers_are_checked_before_anything_is_asked(monkeypatch, value, says):
    monkeypatch.setenv("DEBUGINFOD_URLS", value)
    with pytest.raises(UsageError, match=says):
        check_servers()

import json
import os
import stat
from functools import partial

import pytest

from fadump.cli import report
from tests.kit.debuginfod_server import Server
from tests.linux.crashed_kernel import crashed_kernel
from tests.linux.host_kernel import HostKernel
from tests.linux.kernel_builder import Log, Message
from tests.linux.task_kernel import NSPROXY

BUILD_ID = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def run(run_command):
    return partial(run_command, report)


def test_without_a_file_it_is_text(run):
    status, out, err = run(crashed_kernel().core())
    assert (status, err) == (0, "") and out.startswith("CRASH REPORT\n") and "on purpose, by SysRq c" in out


@pytest.mark.parametrize(
    ("name", "starts"), [("r.html", "<!DOCTYPE html>"), ("r.HTM", "<!DOCTYPE html>"), ("r.txt", "CRASH")]
)
def test_a_file_is_the_owners_alone_and_another_one_is_replaced(run, tmp_path, name, starts):
    place = tmp_path / name
    place.write_text("old")
    place.chmod(0o644)
    old_umask = os.umask(0)
    try:
        status, out, _err = run(crashed_kernel().core(), "-o", str(place))
    finally:
        os.umask(old_umask)
    assert status == 0 and place.read_text().startswith(starts)
    assert stat.S_IMODE(place.stat().st_mode) == 0o600
    assert out == f"The system was crashed on purpose, by SysRq c\n{place}: the report\n"
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(["file", name])


def test_the_dump_is_not_written_over(run, tmp_path):
    core = crashed_kernel().core()
    status, _out, err = run(core, "-o", str(tmp_path / "file"))
    assert status == 2 and "is the dump itself" in err and (tmp_path / "file").read_bytes() == core


def test_what_can_not_be_written_leaves_nothing(run, tmp_path):
    status, _out, err = run(crashed_kernel().core(), "-o", str(tmp_path / "no" / "r.html"))
    assert status == 125 and err.startswith(f"fadump: --out {tmp_path}/no/r.html can't be written")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_json_has_the_verdict(run, tmp_path):
    status, out, _err = run(crashed_kernel().core(), "--json", "-o", str(tmp_path / "r.html"))
    found = json.loads(out)
    assert status == 0 and (found["result"], found["certainty"]) == ("complete", "certain")
    assert found["what"].startswith("The system was crashed on purpose") and found["report"].endswith("r.html")


def test_of_an_incomplete_dump_it_tells_what_is_there(run):
    status, out, err = run(crashed_kernel(with_log=False).core())
    assert status == 1 and "WHAT IS MISSING" in out and "SYMBOL(prb)" in out and "SYMBOL(prb)" in err


def test_hosts_that_something_is_mounted_from_are_hidden_everywhere(run):
    kernel = HostKernel()
    root = kernel.dentry("/")
    top = kernel.mount("store2.lan:/export", "nfs4", root, root)
    proxy = kernel.place(kernel.pack("Q", kernel.place(kernel.pack("Q", top))))
    kernel.poke(kernel.names["Dinit_task"] + NSPROXY, kernel.pack("Q", proxy))
    Log(kernel, [Message(b"no answer from store2 yet")])
    core = kernel.core()
    assert "no answer from store2 yet" in run(core)[1]
    redacted = run(core, "--redact")[1]
    assert "no answer from (host) yet" in redacted and "store2" not in redacted and "nfs4" in redacted


def test_servers_are_asked_for_debug_information_only_if_told_to(run, tmp_path, monkeypatch):
    kernel = crashed_kernel()
    kernel.facts["BUILD-ID"] = BUILD_ID
    monkeypatch.setenv("FADUMP_CACHE", str(tmp_path / "cache"))
    with Server({}) as server:
        monkeypatch.setenv("DEBUGINFOD_URLS", server.address)
        assert run(kernel.core())[0] == 0 and server.asked == []
        assert run(kernel.core(), "--debuginfod")[0] == 0 and server.asked == [f"/buildid/{BUILD_ID}/debuginfo"]
    status, out, _err = run(kernel.core(), "--debuginfod")
    assert status == 0 and "no debug information from http://127.0.0.1" in " ".join(out.split())
    monkeypatch.delenv("DEBUGINFOD_URLS")
    status, _out, err = run(kernel.core(), "--debuginfod")
    assert status == 2 and "none is set" in err

"""What lies in a directory of dumps, by whoever."""

import json
import os
import shutil

import pytest

from fadump.capture.destination import Destination
from fadump.capture.options import SaveOptions
from fadump.capture.save import save_dump
from fadump.cli import main
from fadump.linux.pages.page_class import DumpLevel
from fadump.linux.system import open_system
from fadump.service.capture import capture
from fadump.service.config import Config, Priority, SaveSettings
from fadump.service.dumps import find_dumps
from fadump.service.root import Root
from fadump.service.targets.directory import DirectorySettings

LAYOUTS = {
    "202611291605/dump.202611291605": ("kdump-tools", True),
    "202611291606/dump-incomplete": ("kdump-tools", False),
    "127.0.0.1-2026-11-29-16:05:34/vmcore": ("kdump-utils", True),
    "host-2026-11-29-16:05:35/vmcore-incomplete": ("kdump-utils", False),
    "2026-11-29-16:05/vmcore": ("openSUSE's kdump", True),
    "vmcore": (None, True),
}
"""Who makes what, and whether the name says that it is whole."""


@pytest.fixture(scope="session")
def small(crashed, tmp_path_factory):
    """A dump of the machine's, saved as makedumpfile would name it."""
    path = tmp_path_factory.mktemp("small") / "vmcore"
    options = SaveOptions(levels=[DumpLevel(31)])
    with open_system(crashed.path("/proc/vmcore")) as system:
        save_dump(system, Destination.take(path, options), options)
    return path


@pytest.fixture
def directory(tmp_path, small):
    """Dumps of every service, and things that are none."""
    for name in LAYOUTS:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        os.link(small, tmp_path / name)
    (tmp_path / "kexec_cmd").touch()
    (tmp_path / "202611291605" / "dmesg.202611291605").touch()
    (tmp_path / "link").symlink_to("202611291605")
    return tmp_path


@pytest.mark.parametrize("check", [False, True])
def test_dumps_of_every_service_are_found(directory, check):
    found = {str(dump.path.relative_to(directory)): dump for dump in find_dumps(directory, check=check)}
    assert {name: dump.made_by for name, dump in found.items()} == {name: who for name, (who, _) in LAYOUTS.items()}
    assert {name: dump.whole for name, dump in found.items()} == {name: whole for name, (_, whole) in LAYOUTS.items()}
    assert {dump.crash.cause for dump in found.values()} == {"sysrq: Trigger a crash"}
    assert found["vmcore"].proven is check


def test_what_the_service_has_saved_is_known_to_be_proven_when_it_was(vmcore, tmp_path):
    config = Config(save=SaveSettings(priority=Priority.NORMAL), targets=(DirectorySettings(tmp_path / "crash"),))
    captured = capture(Root(proc=tmp_path, run=tmp_path), config, vmcore)
    (dump,) = find_dumps(tmp_path / "crash")
    assert (str(dump.path), dump.made_by, dump.crash) == (captured.where, "fadump", captured.crash)
    assert dump.whole and dump.proven and dump.size_bytes == dump.path.stat().st_blocks * 512


def test_a_dump_that_is_cut_short_is_not_whole(directory, small):
    cut = directory / "2026-11-29-16:05" / "vmcore"
    cut.unlink()
    shutil.copy(small, cut)
    os.truncate(cut, small.stat().st_size // 2)
    (directory / "vmcore").unlink()
    (directory / "vmcore").write_bytes(b"no dump")
    found = {dump.path: dump for dump in find_dumps(directory)}
    assert not found[cut].whole and found[cut].damage
    assert found[directory / "vmcore"].damage.endswith(
        "not a dump file: neither ELF nor kdump-compressed nor flattened"
    )
    assert found[directory / "vmcore"].crash is None


def test_the_command_lists_them_and_judges_them_if_it_is_asked_to(directory, capsys):
    assert main(["dumps", str(directory)]) == 0
    text = capsys.readouterr().out
    assert text.count("  sysrq: Trigger a crash\n") == len(LAYOUTS) and "Linux 6.12.0-model" in text
    assert main(["dumps", str(directory), "--check", "--json"]) == 1
    told = json.loads(capsys.readouterr().out)
    assert told["result"] == "damaged"
    assert told["error"].startswith("2 dumps of 6 not whole: ") and len(told["dumps"]) == len(LAYOUTS)
    assert {dump["made_by"] for dump in told["dumps"]} == {who for who, _ in LAYOUTS.values()}


def test_a_name_that_is_not_ours_makes_no_lines_of_its_own(tmp_path, small, capsys):
    (tmp_path / "a\n\x1b[2Jb\tc").mkdir()
    os.link(small, tmp_path / "a\n\x1b[2Jb\tc" / "vmcore")
    assert main(["dumps", str(tmp_path)]) == 0
    *_, path = capsys.readouterr().out.splitlines()
    assert path == f"  {tmp_path}/a\\n\\x1b[2Jb\\tc/vmcore"


def test_an_empty_directory_and_none_at_all(tmp_path, capsys):
    assert main(["dumps", str(tmp_path)]) == 0
    assert capsys.readouterr().out == f"no dumps in {tmp_path}\n"
    assert main(["dumps", str(tmp_path / "none")]) == 125
    assert capsys.readouterr().err == f"fadump: DIR {tmp_path}/none can't be read: No such file or directory\n"

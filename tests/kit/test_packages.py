"""What is missing is named, then installed by root, or told to anyone else."""

import os
import stat

import pytest

from fadump.errors import SetupError
from fadump.kit.packages import require

# An apt-get that can "install" (write a command), and that knows no package before "update" if lists are missing.
APT_GET = """#!/bin/sh
echo "$@" >>{calls}
case $1 in
    update) touch {directory}/lists ;;
    install)
        [ -e {directory}/lists ] || {{ echo "E: Unable to locate package $5"; exit 100; }}
        [ "$4" = "broken" ] && {{ echo "E: broken is broken"; exit 100; }}
        [ "$4" = "empty" ] && exit 0
        echo >{directory}/frobnicate; chmod +x {directory}/frobnicate ;;
esac
"""


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """A machine whose PATH has only its own directory, with up-to-date lists; its apt-get notes its calls."""
    directory = tmp_path / "bin"
    directory.mkdir()
    for tool in ("sh", "touch", "chmod"):
        (directory / tool).symlink_to(f"/bin/{tool}")
    script = directory / "apt-get"
    script.write_text(APT_GET.format(calls=tmp_path / "calls", directory=directory))
    script.chmod(0o755)
    (directory / "lists").touch()
    monkeypatch.setenv("PATH", str(directory))
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    return directory


def calls(machine):
    path = machine.parent / "calls"
    return path.read_text().splitlines() if path.exists() else []


def test_nothing_happens_when_all_is_there(machine, capsys):
    require("the test", {"sh": "dash", str(machine / "lists"): "lists"})
    assert calls(machine) == []
    assert capsys.readouterr().err == ""


def test_root_has_it_named_and_installed(machine, capsys):
    require("the test", {"sh": "dash", "frobnicate": "frob"})
    assert calls(machine) == ["install -y --no-install-recommends frob"]
    assert capsys.readouterr().err.startswith("the test needs frobnicate: installing frob\n")


def test_a_missing_file_counts_too(machine):
    require("the test", {str(machine / "frobnicate"): "frob"})
    assert calls(machine) == ["install -y --no-install-recommends frob"]


def test_lists_are_brought_up_to_date_when_they_are_missing(machine):
    (machine / "lists").unlink()
    require("the test", {"frobnicate": "frob"})
    assert [call.split()[0] for call in calls(machine)] == ["install", "update", "install"]


def test_anyone_else_is_told_the_command(machine, monkeypatch):
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(SetupError) as caught:
        require("the test", {"frobnicate": "frob", "other": "frob", "third": "another"})
    assert str(caught.value) == (
        "the test needs frobnicate, other, third, which are not on this machine: "
        "sudo apt-get install --no-install-recommends another frob"
    )
    assert calls(machine) == []


def test_without_apt_the_commands_are_named(machine):
    (machine / "apt-get").unlink()
    with pytest.raises(
        SetupError, match="needs frobnicate, which is not on this machine: install what Debian has in frob"
    ):
        require("the test", {"frobnicate": "frob"})


def test_an_installation_that_fails_is_one_sentence(machine):
    with pytest.raises(
        SetupError, match=r"^installing broken failed with exit status 100: E: broken is broken; the log"
    ):
        require("the test", {"frobnicate": "broken"})


def test_a_package_without_the_command_is_told(machine):
    with pytest.raises(SetupError, match="needs frobnicate, which installing empty did not bring"):
        require("the test", {"frobnicate": "empty"})


def test_the_log_is_private(machine, cache):
    require("the test", {"frobnicate": "frob"})
    assert stat.S_IMODE((cache / "logs" / "apt-install.log").stat().st_mode) == 0o600

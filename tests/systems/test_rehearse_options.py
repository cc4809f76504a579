"""What is refused of a rehearsal before anything is made or started."""

import json
import shutil

import pytest

from fadump.cli import main


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--ready", "("], "is no regular expression"),
        (["--patience", "-1"], "--patience must be more than 0"),
        (["--patience", "0"], "--patience must be more than 0"),
        (["--crash-by", "opal"], "--crash-by opal goes with --platform powernv"),
        (["--dumps", "relative/x"], "--dumps relative/x is no absolute path"),
        (["--dumps", "/"], "--dumps / is no absolute path"),
        (["--dumps", "/var/../etc"], "--dumps /var/../etc is no absolute path"),
    ],
)
def test_what_cannot_be_is_refused_and_leaves_nothing(tmp_path, capsys, words, said):
    disk, out = tmp_path / "disk", tmp_path / "out"
    disk.write_bytes(bytes(1 << 20))
    assert main(["rehearse", "--json", "--disk", str(disk), "--out", str(out), *words]) == 2
    told = capsys.readouterr()
    assert said in told.err and said in json.loads(told.out)["error"]
    assert not out.exists()


def test_a_disk_that_nobody_can_look_into_is_not_tried(tmp_path, capsys):
    disk, out = tmp_path / "disk", tmp_path / "out"
    disk.write_bytes((b"LUKS\xba\xbe" + b"\0\2").ljust(4 << 20, b"\0"))
    assert main(["rehearse", "--json", "--disk", str(disk), "--out", str(out)]) == 125
    told = json.loads(capsys.readouterr().out)
    assert told["error"].startswith("disk 1 is crypto_LUKS, which can't be looked into")
    assert (told["result"], told["phase"]) == ("not-tried", None)
    assert not out.exists()


def test_a_directory_that_is_there_is_not_written_to(tmp_path, capsys):
    disk = tmp_path / "disk"
    disk.write_bytes(bytes(1 << 20))
    (tmp_path / "out").mkdir()
    assert main(["rehearse", "--json", "--disk", str(disk), "--out", str(tmp_path / "out")]) == 125
    told = capsys.readouterr()
    assert json.loads(told.out) == {
        "result": "not-tried",
        "error": f"--out {tmp_path / 'out'} is there already: name one that isn't",
        "phase": None,
    }
    assert told.err.count("\n") == 1 and not list((tmp_path / "out").iterdir())


def test_a_guest_that_neither_memory_nor_disk_has_room_for_is_not_tried(tmp_path, capsys, monkeypatch):
    usage = shutil.disk_usage(tmp_path)._replace(free=(16 << 30) - 1)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage if path == tmp_path else pytest.fail(f"asked {path}"))
    disk, out = tmp_path / "disk", tmp_path / "out"
    disk.write_bytes(bytes(1 << 20))
    command = ["rehearse", "--json", "--verify", "--disk", str(disk), "--out", str(out), "--memory", "1T"]
    assert main(command) == 125
    error = json.loads(capsys.readouterr().out)["error"]
    assert error.startswith("a system with 1048576 MiB may come to need 2097152 MiB of this machine, which has ")
    assert error.endswith(
        f", and on the disk of {out}, where its memory would lie then, 16383 MiB: give less --memory, "
        "or make room there"
    )
    assert not out.exists()

"""What is refused of a rehearsal before anything is made or started."""

import json

import pytest

from fadump.cli import main


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--ready", "("], "is no regular expression"),
        (["--patience", "-1"], "--patience must be more than 0"),
        (["--patience", "nan"], "--patience must be more than 0"),
        (["--dumps", "relative/x"], "--dumps relative/x is no absolute path"),
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
    assert json.loads(capsys.readouterr().out)["error"].startswith("disk 1 is crypto_LUKS, which can't be looked into")
    assert not out.exists()

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

"""The directory of a run, without a machine. With one: tests/run/test_embedded_cycle.py and tests/linux."""

import stat

import pytest

from fadump.errors import SetupError
from fadump.run.output import OutputDirectory

ROOM_BYTES = 1 << 20


def test_one_run_at_a_time_until_it_has_left_its_directory(tmp_path):
    with OutputDirectory(tmp_path, ROOM_BYTES) as first:
        first.note_vmcore_bytes(4096)
        assert first.publish_saved() == tmp_path / "vmcore"
        with pytest.raises(SetupError, match="another run is writing to .*: wait for it, or name another --out"):
            OutputDirectory(tmp_path, ROOM_BYTES).__enter__()
        assert (tmp_path / "vmcore").stat().st_size == 4096
    with OutputDirectory(tmp_path, ROOM_BYTES):
        pass


def test_files_are_anew_and_the_owners_only(tmp_path):
    for name in ("vmcore.incomplete", "console.log", "opalcore"):
        (tmp_path / name).write_text("an earlier run's")
        (tmp_path / name).chmod(0o644)
    with OutputDirectory(tmp_path, ROOM_BYTES) as output:
        assert output.opalcore is None
        modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()}
        assert modes == {"vmcore.incomplete": 0o600, "console.log": 0o600, "firmware.log": 0o600}
        assert output.vmcore_on_disk.read_bytes() == bytes(ROOM_BYTES)
    assert not (tmp_path / "vmcore.incomplete").exists()


def test_what_can_not_be_a_directory_is_a_sentence(tmp_path):
    path = tmp_path / "file"
    path.touch()
    with pytest.raises(SetupError, match=f"can't write to {path}: File exists"):
        OutputDirectory(path, ROOM_BYTES).__enter__()

import errno
import json
import stat
from pathlib import Path

import pytest

from fadump.compare.store import Store, what_matters
from fadump.errors import SetupError
from tests.compare.known import POWERNV, PSERIES, seen_of

KERNEL = "linux-6.12"


@pytest.fixture(scope="module")
def seen():
    return seen_of(PSERIES)


@pytest.fixture
def store(tmp_path):
    with Store(tmp_path, "basis") as store:
        yield store


def test_what_was_saved_is_there_again_to_the_byte(tmp_path, seen):
    with Store(tmp_path / "new" / "directory", "basis") as store:
        assert store.load(PSERIES, KERNEL) is None
        store.save(PSERIES, KERNEL, seen)
    with Store(tmp_path / "new" / "directory", "basis") as store:
        found = store.load(PSERIES, KERNEL)
    assert found.as_json() == seen.as_json()
    assert found.crashed and [boot.entered for boot in found.boots] == [boot.entered for boot in seen.boots]


def test_another_configuration_kernel_or_basis_does_not_count(tmp_path, seen):
    with Store(tmp_path, "basis") as store:
        store.save(PSERIES, KERNEL, seen)
        assert store.load(POWERNV, KERNEL) is None
        assert store.load(PSERIES, "linux-6.1") is None
    with Store(tmp_path, "another") as store:
        assert store.load(PSERIES, KERNEL) is None


@pytest.mark.parametrize("content", ["", "{", "[]", '{"of": 1}', "\0"])
def test_a_file_that_is_damaged_is_as_none(tmp_path, store, seen, content):
    store.save(PSERIES, KERNEL, seen)
    (tmp_path / f"{PSERIES.key}.json").write_text(content)
    assert store.load(PSERIES, KERNEL) is None


@pytest.mark.parametrize("key", ["moments", "boots", "release", "cpus"])
def test_a_file_that_lacks_something_is_as_none(tmp_path, store, seen, key):
    store.save(PSERIES, KERNEL, seen)
    path = tmp_path / f"{PSERIES.key}.json"
    kept = json.loads(path.read_text())
    del kept["seen"][key]
    path.write_text(json.dumps(kept))
    assert store.load(PSERIES, KERNEL) is None


def test_files_are_private_and_none_is_left_over(tmp_path, store, seen):
    store.save(PSERIES, KERNEL, seen)
    with store.console(PSERIES) as console:
        console.write(b"a secret")
    assert {path.name for path in tmp_path.iterdir()} == {f"{PSERIES.key}.console.log", f"{PSERIES.key}.json", "lock"}
    assert {stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()} == {0o600}


def test_a_full_disk_leaves_nothing_that_looks_whole(tmp_path, store, seen, monkeypatch):
    monkeypatch.setattr(json, "dumps", refuse)
    with pytest.raises(OSError, match="No space left"):
        store.save(PSERIES, KERNEL, seen)
    assert [path.name for path in tmp_path.iterdir()] == ["lock"]


def refuse(*_arguments, **_options):
    raise OSError(errno.ENOSPC, "No space left on device")


def test_two_comparisons_do_not_share_a_directory(tmp_path, store):
    with pytest.raises(SetupError, match="another comparison uses .*: wait for it, or name another --out"):
        Store(tmp_path, "basis")


def test_a_directory_that_cannot_be_is_a_sentence(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(SetupError, match="can't write to .*file"):
        Store(tmp_path / "file", "basis")


def test_whatever_makes_linuxs_answers_counts(monkeypatch):
    read = []
    monkeypatch.setattr(Path, "read_bytes", lambda path: read.append(path.name) or b"")
    what_matters()
    assert {"linux_side.py", "core_head.py", "questions.py", "recorder.py", "seen.py", "init"} <= set(read)


def test_our_code_has_a_name():
    assert what_matters() == what_matters()
    assert len(what_matters()) == 16

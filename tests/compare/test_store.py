import json
import stat

import pytest

from fadump.compare.store import Store, what_matters
from fadump.errors import SetupError
from tests.compare.known import POWERNV, PSERIES, seen_of

KERNEL = "linux-6.12"


@pytest.fixture(scope="module")
def seen():
    return seen_of(PSERIES)


def test_what_was_saved_is_there_again_to_the_byte(tmp_path, seen):
    store = Store(tmp_path / "new" / "directory", "basis")
    assert store.load(PSERIES, KERNEL) is None
    store.save(PSERIES, KERNEL, seen)
    found = Store(tmp_path / "new" / "directory", "basis").load(PSERIES, KERNEL)
    assert found.as_json() == seen.as_json()
    assert found.crashed and [boot.entered for boot in found.boots] == [boot.entered for boot in seen.boots]


def test_another_configuration_kernel_or_basis_does_not_count(tmp_path, seen):
    store = Store(tmp_path, "basis")
    store.save(PSERIES, KERNEL, seen)
    assert store.load(POWERNV, KERNEL) is None
    assert store.load(PSERIES, "linux-6.1") is None
    assert Store(tmp_path, "another").load(PSERIES, KERNEL) is None


@pytest.mark.parametrize("content", ["", "{", "[]", '{"of": 1}', "\0"])
def test_a_file_that_is_damaged_is_as_none(tmp_path, seen, content):
    store = Store(tmp_path, "basis")
    store.save(PSERIES, KERNEL, seen)
    (tmp_path / f"{PSERIES.key}.json").write_text(content)
    assert store.load(PSERIES, KERNEL) is None


@pytest.mark.parametrize("key", ["moments", "boots", "release", "cpus"])
def test_a_file_that_lacks_something_is_as_none(tmp_path, seen, key):
    store = Store(tmp_path, "basis")
    store.save(PSERIES, KERNEL, seen)
    path = tmp_path / f"{PSERIES.key}.json"
    kept = json.loads(path.read_text())
    del kept["seen"][key]
    path.write_text(json.dumps(kept))
    assert store.load(PSERIES, KERNEL) is None


def test_files_are_private_and_none_is_left_over(tmp_path, seen):
    store = Store(tmp_path, "basis")
    store.save(PSERIES, KERNEL, seen)
    with store.console(PSERIES) as console:
        console.write(b"a secret")
    assert {path.name for path in tmp_path.iterdir()} == {f"{PSERIES.key}.console.log", f"{PSERIES.key}.json"}
    assert {stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()} == {0o600}


def test_a_directory_that_cannot_be_is_a_sentence(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(SetupError, match="can't write to .*file"):
        Store(tmp_path / "file", "basis")


def test_our_code_has_a_name():
    assert what_matters() == what_matters()
    assert len(what_matters()) == 16

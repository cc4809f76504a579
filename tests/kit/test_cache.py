"""An entry of the cache is there whole or not at all, whoever dies when."""

import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from fadump.errors import SetupError
from fadump.kit.cache import cache_directory, lock, new_entry, new_file, say_waiting, scratch_directory

HOLD = """
import sys
from pathlib import Path
from fadump.kit import cache
with cache.{what}:
    print("held", flush=True)
    sys.stdin.read()
"""


class Holder:
    """Another process in the middle of a block; it leaves the block when told, or is killed in it."""

    def __init__(self, what):
        self.process = subprocess.Popen(
            [sys.executable, "-c", HOLD.format(what=what)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert self.process.stdout.readline() == "held\n"

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.process.kill()
        self.process.__exit__(*error)  # waits and closes the pipes

    def leave(self):
        self.process.stdin.close()

    def kill(self):
        self.process.kill()
        self.process.wait()


def hidden(directory):
    return [path.name for path in directory.iterdir() if path.name.startswith(".")]


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({"FADUMP_CACHE": "chosen", "XDG_CACHE_HOME": "xdg"}, "chosen"),
        ({"XDG_CACHE_HOME": "xdg"}, "xdg/fadump"),
        ({}, ".cache/fadump"),
    ],
)
def test_where_the_cache_is(tmp_path, monkeypatch, variables, expected):
    monkeypatch.delenv("FADUMP_CACHE")
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    for name, value in variables.items():
        monkeypatch.setenv(name, str(tmp_path / value))
    assert cache_directory() == tmp_path / expected
    assert (tmp_path / expected).stat().st_mode & 0o777 == 0o700


def test_a_cache_that_cannot_be_made_is_one_sentence(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("FADUMP_CACHE", str(tmp_path / "file" / "cache"))
    with pytest.raises(SetupError, match=r"file/cache can't be made \(.*\): set FADUMP_CACHE"):
        cache_directory()


def test_an_entry_appears_whole(cache):
    entry = cache / "kind" / "key"
    with new_entry(entry) as scratch:
        (scratch / "sub").mkdir()
        (scratch / "sub" / "file").write_text("new")
        assert not entry.exists()
    assert (entry / "sub" / "file").read_text() == "new"
    assert hidden(entry.parent) == []


def test_an_entry_is_replaced(cache):
    for text in ("old", "new"):
        with new_entry(cache / "kind" / "key") as scratch:
            (scratch / text).touch()
    assert [path.name for path in (cache / "kind" / "key").iterdir()] == ["new"]
    assert hidden(cache / "kind") == []


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit, RuntimeError])
def test_nothing_is_left_of_an_entry_that_fails(cache, error):
    def fail_in_the_middle():
        with new_entry(cache / "kind" / "key") as scratch:
            (scratch / "file").touch()
            raise error

    with pytest.raises(error):
        fail_in_the_middle()
    assert list((cache / "kind").iterdir()) == []


def test_a_file_appears_whole_and_private(cache):
    path = cache / "kind" / "file"
    with new_file(path) as scratch:
        scratch.write_text("new")
        assert not path.exists()
    assert path.read_text() == "new"
    assert path.stat().st_mode & 0o777 == 0o600
    assert hidden(path.parent) == []


def test_what_a_killed_process_left_goes_at_next_use_and_what_a_living_one_makes_stays(cache):
    entry = 'new_entry(cache.cache_directory() / "kind" / "key")'
    with Holder(entry) as living, Holder(entry) as killed:
        assert len(hidden(cache / "kind")) == 2
        killed.kill()
        with new_entry(cache / "kind" / "other"):
            pass
        assert len(hidden(cache / "kind")) == 1
        living.leave()
        assert living.process.wait() == 0
    assert sorted(path.name for path in (cache / "kind").iterdir()) == ["key", "other"]


def test_a_directory_of_someone_else_stays(tmp_path):
    (tmp_path / "work-file").touch()
    (tmp_path / "target").mkdir()
    (tmp_path / "work-link").symlink_to(tmp_path / "target")
    with scratch_directory(tmp_path, "work-"):
        pass
    assert (tmp_path / "work-file").exists()
    assert (tmp_path / "target").exists()


def test_a_directory_that_another_process_took_for_abandoned_is_made_again(tmp_path, monkeypatch):
    made = []
    make = tempfile.mkdtemp

    def make_and_lose_the_first(**options):
        made.append(Path(make(**options)))
        if len(made) == 1:
            made[0].rmdir()
        return str(made[-1])

    monkeypatch.setattr(tempfile, "mkdtemp", make_and_lose_the_first)
    with scratch_directory(tmp_path, "work-") as scratch:
        assert made[1:] == [scratch]
        assert scratch.is_dir()


def test_the_second_waits_for_the_lock_and_says_so():
    with Holder('lock("name")') as first:
        waited = []

        def waiting():
            waited.append(first.process.poll())
            first.leave()

        with lock("name", waiting):
            pass
        assert waited == [None]


def test_a_lock_ends_with_its_process():
    with Holder('lock("name")') as first:
        first.kill()
        with lock("name", lambda: pytest.fail("a dead process holds the lock")):
            pass


def test_who_waits_says_so_on_stderr_and_leaves_stdout_to_the_answer(capsys):
    say_waiting("building a kernel")()
    assert capsys.readouterr() == ("", "Waiting for another fadump, which is building a kernel\n")

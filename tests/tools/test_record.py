"""The recorded run of the tests is used until the tree changes, and never half of it."""

import json
import signal

import pytest

from tests.tools.small_tree import TEST, SmallTree


@pytest.fixture
def tree(tmp_path):
    return SmallTree(tmp_path)


@pytest.fixture
def runs(tree, tmp_path):
    """A file that gets a line from each run of the tree's test."""
    path = tmp_path / "runs"
    tree.test.write_text(f"{TEST}    with Path({str(path)!r}).open('a') as runs:\n        runs.write('run\\n')\n")
    return path


def recorded_tests(record):
    (file,) = (record / "record").glob("seconds.*.json")
    return [*json.loads(file.read_text())]


def test_the_same_tree_is_recorded_once(tree, runs):
    first = tree.recorded()
    assert recorded_tests(first) == ["tests/test_module.py::test_numbers[8]"]
    assert (first / "tree" / "src" / "fadump" / "module.py").read_text() == tree.module.read_text()
    (tree.root / "tools" / "mutants").mkdir(parents=True)
    (tree.root / "tools" / "mutants" / "tool.py").write_text("")
    assert tree.recorded() == first
    assert runs.read_text() == "run\n"


def test_a_tree_that_has_changed_is_recorded_again_and_the_old_record_removed(tree, runs):
    other = tree.cache / "not a record"
    other.mkdir(parents=True)
    tree.recorded()
    for number, file in enumerate((tree.module, tree.test), start=2):
        file.write_text(f"{file.read_text()}\n# changed\n")
        record = tree.recorded()
        assert runs.read_text() == "run\n" * number
        assert sorted(tree.cache.iterdir()) == sorted([record, other])
        assert tree.recorded() == record


def test_a_test_that_fails_is_left_out(tree):
    tree.test.write_text(f"{TEST}\n\ndef test_nothing():\n    assert is_less(9)\n")
    assert recorded_tests(tree.recorded()) == ["tests/test_module.py::test_numbers[8]"]


def test_a_run_that_is_interrupted_is_no_record(tree, tmp_path):
    trap = tmp_path / "trap"
    tree.test.write_text(
        f"{TEST}\n\ndef test_interrupted():\n    import os\n\n"
        f"    if Path({str(trap)!r}).exists():\n        os.kill(os.getpid(), int(Path({str(trap)!r}).read_text()))\n"
    )
    for number in (signal.SIGKILL, signal.SIGINT):
        trap.write_text(str(int(number)))
        with pytest.raises(SystemExit, match="the tests have not been run to their end"):
            tree.recorded()
        assert not [*tree.cache.iterdir()]
    trap.unlink()
    assert len(recorded_tests(tree.recorded())) == 2

"""A mutant is noticed by the tests that it is given to, and leaves nothing behind."""

import os
import signal
import subprocess
import sys
import tempfile

import pytest
from mutants import operators
from mutants.alone import NOT_ENDED, alone
from mutants.trial import Tree, Verdict

from tests.kit.conftest import is_alive, wait_until
from tests.tools.small_tree import SOURCE, TEST, SmallTree

ORPHAN = "import os, subprocess; print(subprocess.Popen(['sleep', '1000'], start_new_session=True).pid, flush=True)"
DIES_WITH_A_COPY = """
import os, pathlib, sys
from mutants.trial import Tree
with Tree.copy_of(pathlib.Path(sys.argv[1])):
    os.kill(os.getpid(), 9)
"""
NUMBERS = "tests/test_module.py::test_numbers"


@pytest.fixture(autouse=True)
def directory_for_copies(tmp_path, monkeypatch):
    path = tmp_path / "copies"
    path.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(path))
    return path


def mutant(after):
    return next(mutant for mutant in operators.mutants("module.py", SOURCE.encode()) if mutant.after == after)


def judge(tree, after, *tests):
    return Tree(tree.root).judge(mutant(after), dict.fromkeys(tests, 1.0))


def test_a_tree_that_has_another_version_of_the_tool_does_not_use_it(tmp_path):
    tree = SmallTree(tmp_path)
    (tree.root / "pyproject.toml").write_text("[tool.pytest.ini_options]\npythonpath = ['tools']\n")
    (tree.root / "tools" / "mutants").mkdir(parents=True)
    (tree.root / "tools" / "mutants" / "__init__.py").write_text("raise ValueError\n")
    kept = tree.recorded()
    Tree(kept / "tree").check({f"{NUMBERS}[8]": 1.0})


def test_a_mutant_that_a_test_notices_is_killed_and_the_source_is_as_before(tmp_path):
    tree = SmallTree(tmp_path)
    assert judge(tree, "return number <= LIMIT", f"{NUMBERS}[8]") is Verdict.KILLED
    assert tree.module.read_text() == SOURCE


def test_tests_that_fail_where_nothing_was_changed_judge_nothing(tmp_path):
    tree = SmallTree(tmp_path)
    Tree(tree.root).check({f"{NUMBERS}[8]": 1.0})
    tree.test.write_text(TEST.replace("not is_less(8)", "is_less(8)"))
    with pytest.raises(SystemExit, match=r"tests fail where nothing was changed, in one of tests/test_module\.py"):
        Tree(tree.root).check({f"{NUMBERS}[8]": 1.0})


def test_only_the_given_tests_are_run(tmp_path):
    tree = SmallTree(tmp_path)
    tree.test.write_text(f"{TEST}\n\ndef test_true():\n    pass\n\n\ndef test_false():\n    assert not LIMIT\n")
    assert judge(tree, "return number <= LIMIT", "tests/test_module.py::test_true") is Verdict.SURVIVED
    assert judge(tree, "return number <= LIMIT", "tests/test_module.py::test_false") is Verdict.KILLED


@pytest.mark.parametrize(("noticed", "verdict"), [(True, Verdict.KILLED), (False, Verdict.SURVIVED)])
def test_a_test_whose_parameter_has_changed_is_still_run_and_no_other(tmp_path, noticed, verdict):
    tree = SmallTree(tmp_path)
    seen = TEST if noticed else TEST.replace("not is_less(8)", "not is_less(9)")
    tree.test.write_text(f"{seen}\n\ndef test_false():\n    assert not LIMIT\n")
    assert judge(tree, "LIMIT = 9", f"{NUMBERS}[8]") is verdict


def test_a_mutant_that_cannot_be_imported_is_killed(tmp_path):
    tree = SmallTree(tmp_path)
    (tree.root / "tests" / "conftest.py").write_text("import fadump.module\n\nassert fadump.module.LIMIT == 8\n")
    assert judge(tree, "LIMIT = 9", f"{NUMBERS}[8]") is Verdict.KILLED


def test_a_copy_goes_and_so_does_that_of_a_run_that_was_killed(tmp_path, directory_for_copies):
    tree = SmallTree(tmp_path)
    killed = subprocess.run(
        [sys.executable, "-c", DIES_WITH_A_COPY, tree.root], check=False,
        env={**os.environ, "TMPDIR": str(directory_for_copies), "PYTHONPATH": os.pathsep.join(sys.path)},
    )  # fmt: skip
    assert killed.returncode == -signal.SIGKILL
    (left,) = directory_for_copies.iterdir()
    with Tree.copy_of(tree.root) as copy:
        assert [copy.root] == [*directory_for_copies.iterdir()] != [left]
        assert (copy.package / "module.py").read_text() == SOURCE
    assert not [*directory_for_copies.iterdir()]


def started_alone(seconds, script):
    return subprocess.Popen(
        alone(seconds, [sys.executable, "-c", script]),
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("more", "status"),
    [("", 0), ("; raise SystemExit(3)", 3), ("; os.abort()", NOT_ENDED)],
    ids=["ends", "fails", "dies"],
)
def test_what_a_command_leaves_behind_ends_with_it(more, status):
    """In a session of its own, and an orphan."""
    with started_alone(1000, ORPHAN + more) as process:
        left = int(process.stdout.readline())
        assert process.wait() == status
        assert not is_alive(left)


def test_a_command_that_hangs_is_ended_with_all_that_it_has_started():
    with started_alone(2, f"{ORPHAN}; import time; time.sleep(1000)") as process:
        left = process.stdout.readline()  # nothing if the host was too busy for it to start anything
        assert process.wait() == NOT_ENDED
        assert not (left and is_alive(int(left)))


def test_what_is_left_behind_may_have_children_itself():
    waits = f"{ORPHAN}; import time; time.sleep(1000)"
    started = f"subprocess.Popen([sys.executable, '-c', {waits!r}], stdout=subprocess.PIPE, text=True)"
    with started_alone(1000, f"import subprocess, sys; print({started}.stdout.readline(), flush=True)") as process:
        left = int(process.stdout.readline())
        assert process.wait() == 0
        assert not is_alive(left)


@pytest.mark.parametrize("how", ["closed", "interrupted"])
def test_a_command_ends_with_whoever_wanted_it(how):
    with started_alone(1000, f"{ORPHAN}; import time; time.sleep(1000)") as process:
        left = int(process.stdout.readline())
        if how == "closed":
            process.stdin.close()
        else:
            process.send_signal(signal.SIGINT)
        process.wait()
        wait_until(lambda: not is_alive(left))

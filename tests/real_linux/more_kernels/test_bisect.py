"""``git bisect run`` over a kernel's tree, unattended, by the line that docs/your-kernel-tree.md has."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from fadump.kit.kernel_source import build_tree
from tests.real_linux.fadump_command import fadump_run
from tests.real_linux.more_kernels.bisected import BUG, COMMITS, DOES_NOT_BUILD, git, tree_in_git

CONFIG = Path(__file__).parent / "small.config"
DOCUMENT = (Path(__file__).parents[3] / "docs/your-kernel-tree.md").read_text()
(LINE,) = re.findall(r"^(git bisect run .*)$", DOCUMENT, re.MULTILINE)


@pytest.fixture(scope="module")
def tree():
    return tree_in_git()


def test_the_history_is_what_the_story_says(tree):
    subjects = git(tree, "log", "--reverse", "--format=%s", "upstream..main").splitlines()
    assert subjects == [edit.subject for edit in COMMITS]
    assert len(subjects) == 16


def test_the_documented_line_finds_the_commit_unattended(tree, tmp_path):
    line = LINE.replace("--source .", f"--source . --config {CONFIG}")
    assert line != LINE
    environment = os.environ | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "HOME": str(tmp_path)}
    environment |= {"FADUMP_CACHE": os.environ.get("FADUMP_CACHE") or str(Path.home() / ".cache/fadump")}
    git(tree, "bisect", "start", "main", "upstream")
    try:
        done = subprocess.run(
            ["bash", "-c", line],
            cwd=tree, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False,
        )  # fmt: skip
        log = git(tree, "bisect", "log")
    finally:
        git(tree, "bisect", "reset")
    assert done.returncode == 0, done.stdout + done.stderr
    (found,) = re.findall(r"^([0-9a-f]+) is the first bad commit$", done.stdout, re.MULTILINE)
    assert git(tree, "show", "--no-patch", "--format=%s", found).strip() == BUG
    (skipped,) = re.findall(r"^# skip: \[[0-9a-f]+\] (.*)$", log, re.MULTILINE)
    assert skipped == DOES_NOT_BUILD
    assert "implicit declaration of function" in done.stderr


@pytest.mark.parametrize(
    ("branch", "status", "sentence"),
    [
        (
            "silent",
            125,
            "Linux has not come to its console, so it could not be tried: not done within the 90 seconds",
        ),
        ("panicking", 1, r".* report 'hello': the guest's console says '\[.*\] Kernel panic - not syncing: no luck'"),
    ],
)
def test_a_kernel_that_does_not_boot_at_all_is_skipped_and_one_that_panics_on_its_way_is_bad(
    tree, tmp_path, branch, status, sentence
):
    git(tree, "checkout", "--quiet", branch)
    kernel = build_tree(tree, CONFIG, "64K").bootable
    done = fadump_run(tmp_path, "--kernel", str(kernel), "--timeout", "90")
    assert (done.status, done.json["phase"]) == (status, "registered")
    assert re.match(sentence, done.json["error"])

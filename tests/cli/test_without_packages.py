"""Commands that a Power system can run with the Python that it has: nothing of PyPI's is imported."""

import subprocess
import sys

import pytest

from tests.kernel.trees import guest_tree

REFUSING = """\
import sys
class Refusing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("numpy", "rich", "zstandard", "isal", "cramjam"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Refusing())
from fadump.cli import main
sys.exit(main(sys.argv[1:]))
"""


def run_without_packages(*words):
    """A command in a Python that has no packages."""
    return subprocess.run(
        [sys.executable, "-c", REFUSING, *map(str, words)], capture_output=True, text=True, check=False
    )


def test_some_commands_need_packages(tmp_path):
    assert "No module named 'numpy'" in run_without_packages("check", tmp_path).stderr


@pytest.mark.parametrize(
    "words", [["help", "plan"], ["version"], ["plan"], ["plan", "--memory-map", "{tree}", "--json"]]
)
def test_these_don_t(tmp_path, words):
    tree = tmp_path / "tree.dtb"
    tree.write_bytes(guest_tree().encode())
    done = run_without_packages(*[word.format(tree=tree) for word in words])
    assert (done.returncode, done.stderr == "" or "--json" in words) == (0, True), done.stderr

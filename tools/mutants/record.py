"""What the tests execute: one run of them under `recorder.py`, kept until the tree changes."""

import hashlib
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

from fadump.kit.cache import scratch_directory
from mutants.trial import Tree

_LEFT_OUT = ("tools/mutants/", "tests/tools/")  # what runs tests in the copy is never the copy's
_KEPT = re.compile("[0-9a-f]{16}")


def recorded(root: Path, cache: Path, jobs: int) -> Path:
    """The directory in ``cache`` with a copy of the tree at ``root`` (`tree`) and what its tests execute (`record`).

    There is one for the tree as it was last. It appears by rename, when all tests have been run.
    """
    names = _names(root)
    kept = cache / _state(root, names)
    if kept.exists():
        return kept
    print("running the tests once, to see which lines they execute ...", flush=True)
    cache.mkdir(parents=True, exist_ok=True)
    with scratch_directory(cache, ".new-") as unfinished:
        for name in names:
            (unfinished / "tree" / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(root / name, unfinished / "tree" / name)
        Tree(unfinished / "tree").record(unfinished / "record", jobs)
        for old in _all_kept(cache):
            shutil.rmtree(old)
        unfinished.rename(kept)
    return kept


def _names(root: Path) -> list[str]:
    """The files that git has or would add, but for this tool's own."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    listed = subprocess.run(command, cwd=root, capture_output=True, check=True).stdout
    names = (name for name in listed.decode().split("\0") if name and not name.startswith(_LEFT_OUT))
    return sorted(name for name in names if (root / name).is_file())


def _state(root: Path, names: list[str]) -> str:
    """What tells a tree from another one."""
    state = hashlib.sha256()
    for name in names:
        state.update(name.encode() + b"\0" + hashlib.sha256((root / name).read_bytes()).digest())
    return state.hexdigest()[:16]


def _all_kept(cache: Path) -> Iterator[Path]:
    return (path for path in cache.iterdir() if _KEPT.fullmatch(path.name))

"""Commands in a hint, written so that they can be typed as they stand, whether an environment is active or not."""

import shlex
import shutil
import sys
from pathlib import Path


def fadump_command(*words: object) -> str:
    """A ``fadump`` command as this one was called: by its name where that is found, else by its path."""
    return shlex.join([*_fadump(), *map(str, words)])


def program(name: str) -> str | None:
    """Another program: its name, or its path beside this Python, as in an environment that isn't active."""
    if shutil.which(name) is not None:
        return name
    beside = Path(sys.executable).with_name(name)
    return str(beside) if beside.exists() else None


def _fadump() -> list[str]:
    called = Path(sys.argv[0])
    if called.name != "fadump":  # python -m fadump, or somebody else's program
        return ["fadump"] if shutil.which("fadump") else [sys.executable, "-m", "fadump"]
    found = shutil.which("fadump")
    return ["fadump"] if found is not None and Path(found).resolve() == called.resolve() else [str(called)]

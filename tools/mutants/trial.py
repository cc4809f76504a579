"""Run tests in copies of the tree: once to record, then once for each mutant."""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

import pytest

from mutants.operators import Mutant

PACKAGE = Path("src", "fadump")
_FIRST_TESTS = 40  # few enough for their files to be collected in a second; most mutants live no longer
_LEAST_SECONDS = 30
_SLOWER = 4  # than recorded: a mutant that takes longer hangs
_WITHOUT = ["--ignore=tests/real_linux", "--ignore=tests/test_lint.py"]
_OPTIONS = ["-q", "-p", "no:cacheprovider", "--hypothesis-seed=0"]


class Verdict(Enum):
    """What became of a mutant."""

    KILLED = "killed"
    SURVIVED = "survived"
    EQUIVALENT = "equivalent"


@dataclass(frozen=True, slots=True)
class Tree:
    """A copy of the tree that may be changed."""

    root: Path

    @classmethod
    @contextmanager
    def copy_of(cls, root: Path) -> Iterator["Tree"]:
        """A copy of another tree, compiled files too, while the context lasts."""
        with tempfile.TemporaryDirectory(prefix="fadump-mutants-") as directory:
            shutil.copytree(root, directory, symlinks=True, dirs_exist_ok=True)
            yield cls(Path(directory))

    @property
    def package(self) -> Path:
        """The copy of src/fadump."""
        return self.root / PACKAGE

    def record(self, record: Path, jobs: int) -> None:
        """Run all tests but those of real Linux and the linters, and record who executes what."""
        record.mkdir()
        command = _pytest([*_WITHOUT, *_OPTIONS, "-p", "mutants.recorder"])
        with ExitStack() as stack:
            for job in range(jobs):
                environment = self._environment({"MUTANTS_RECORD": str(record), "MUTANTS_SHARE": f"{job}/{jobs}"})
                stack.enter_context(subprocess.Popen(command, cwd=self.root, env=environment))

    def judge(self, mutant: Mutant, tests: Mapping[str, float]) -> Verdict:
        """Run tests, each with the seconds that it takes with the source as it is, on a mutant until one fails."""
        path = self.package / mutant.path
        source = path.read_bytes()
        path.write_bytes(mutant.source)
        names = list(tests)
        try:
            parts = filter(None, (names[:_FIRST_TESTS], names[_FIRST_TESTS:]))
            survived = all(
                self._pass(part, _LEAST_SECONDS + _SLOWER * sum(map(tests.__getitem__, part))) for part in parts
            )
        finally:
            path.write_bytes(source)
        return Verdict.SURVIVED if survived else Verdict.KILLED

    def _pass(self, tests: Sequence[str], seconds: float) -> bool:
        arguments = self.root / "tests.txt"
        arguments.write_text("\n".join(tests))
        status = self._status([f"@{arguments}"], seconds)
        if status == pytest.ExitCode.USAGE_ERROR:  # what the mutant changed is in the name of a test's parameter
            status = self._status(sorted({test.partition("::")[0] for test in tests}), seconds)
        return status == pytest.ExitCode.OK

    def _status(self, arguments: Sequence[str], seconds: float) -> int | None:
        """The exit status of pytest; None if it hangs."""
        command = _pytest([*_OPTIONS, "-x", "--tb=no", *arguments])
        # A module that was changed twice in a second must not be taken from its compiled file.
        environment = self._environment({"PYTHONDONTWRITEBYTECODE": "1"})
        with subprocess.Popen(
            command, cwd=self.root, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL, start_new_session=True,
        ) as process:  # fmt: skip
            try:
                return process.wait(seconds)
            except subprocess.TimeoutExpired:
                return None
            finally:
                if process.poll() is None:
                    os.killpg(process.pid, signal.SIGKILL)

    def _environment(self, more: dict[str, str]) -> dict[str, str]:
        path = os.pathsep.join([str(self.root / "src"), str(Path(__file__).parents[1])])
        return {**os.environ, "PYTHONPATH": path, **more}


def _pytest(arguments: list[str]) -> list[str]:
    return [sys.executable, "-m", "pytest", *arguments]

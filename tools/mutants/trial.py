"""Run tests in copies of the tree: once to record, then once for each mutant."""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

import pytest

from fadump.kit.cache import scratch_directory
from mutants import chosen as chosen_tests
from mutants.alone import alone
from mutants.operators import Mutant

PACKAGE = Path("src", "fadump")
_FIRST_TESTS = 40  # few enough for their files to be collected in a second; most mutants live no longer
_LEAST_SECONDS = 30
_SLOWER = 4  # than recorded: a mutant that takes longer hangs
_WITHOUT = ["--ignore=tests/real_linux", "--ignore=tests/test_lint.py"]
_RUN_TO_THE_END = {pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED, pytest.ExitCode.NO_TESTS_COLLECTED}
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
        with scratch_directory(Path(tempfile.gettempdir()), "fadump-mutants-") as directory:
            shutil.copytree(root, directory, symlinks=True, dirs_exist_ok=True)
            yield cls(directory)

    @property
    def package(self) -> Path:
        """The copy of src/fadump."""
        return self.root / PACKAGE

    def record(self, record: Path, jobs: int) -> None:
        """Run all tests but those of real Linux and the linters, and record who executes what.

        :raises SystemExit: they were not run to their end.
        """
        record.mkdir()
        command = _pytest([*_WITHOUT, *_OPTIONS, "-p", "mutants.recorder"])
        with ExitStack() as stack:
            runs = []
            for job in range(jobs):
                environment = self._environment({"MUTANTS_RECORD": str(record), "MUTANTS_SHARE": f"{job}/{jobs}"})
                runs.append(stack.enter_context(subprocess.Popen(command, cwd=self.root, env=environment)))
        if not {run.returncode for run in runs} <= _RUN_TO_THE_END:
            raise SystemExit("the tests have not been run to their end: see what pytest says above, and try again")

    def check(self, tests: Mapping[str, float]) -> None:
        """Run the first of some tests with the source as it is: where they fail, no mutant is noticed by a failure.

        :raises SystemExit: they do.
        """
        first = list(tests)[:_FIRST_TESTS]
        if not self._pass(first, tests):
            raise SystemExit(f"tests fail where nothing was changed, in one of {', '.join(_files(first))}")

    def judge(self, mutant: Mutant, tests: Mapping[str, float]) -> Verdict:
        """Run tests, each with the seconds that it takes with the source as it is, on a mutant until one fails."""
        path = self.package / mutant.path
        source = path.read_bytes()
        path.write_bytes(mutant.source)
        names = list(tests)
        try:
            parts = filter(None, (names[:_FIRST_TESTS], names[_FIRST_TESTS:]))
            survived = all(self._pass(part, tests) for part in parts)
        finally:
            path.write_bytes(source)
        return Verdict.SURVIVED if survived else Verdict.KILLED

    def _pass(self, tests: Sequence[str], recorded_seconds: Mapping[str, float]) -> bool:
        """Whether all pass in time. Where no test is there any more, none has failed."""
        chosen = self.root / "tests.txt"
        chosen.write_text("\n".join(tests))
        seconds = _LEAST_SECONDS + _SLOWER * sum(recorded_seconds[test] for test in tests)
        command = _pytest([*_OPTIONS, "-x", "--tb=no", "-p", chosen_tests.__name__, *_files(tests)])
        # A module that was changed twice in a second must not be taken from its compiled file.
        environment = self._environment({"PYTHONDONTWRITEBYTECODE": "1", chosen_tests.CHOSEN: str(chosen)})
        with subprocess.Popen(
            alone(seconds, command), cwd=self.root, env=environment, stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        ) as process:  # fmt: skip
            return process.wait() in (pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED)

    def _environment(self, more: dict[str, str]) -> dict[str, str]:
        path = os.pathsep.join([str(self.root / "src"), str(Path(__file__).parents[1])])
        return {**os.environ, "PYTHONPATH": path, **more}


def _files(tests: Sequence[str]) -> list[str]:
    return list(dict.fromkeys(test.partition("::")[0] for test in tests))


def _pytest(arguments: list[str]) -> list[str]:
    """Without fadump's own plugin, which the tree that is tried needn't have, or may break."""
    return [sys.executable, "-m", "pytest", "-p", "no:fadump", *arguments]

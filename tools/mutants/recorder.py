"""A pytest plugin that records which test executes which line of src/fadump, and how long each test takes.

Python processes that a test starts are counted as the test's: variables of the environment, which are set here, make
coverage.py start in each of them. What is executed outside a test, while modules are imported, has no test's name.
"""

import json
import os
import time
import zlib
from collections.abc import Iterator
from pathlib import Path

import coverage
import pytest

_RECORD = Path(os.environ["MUTANTS_RECORD"])  # the directory to record in
_SHARE, _SHARES = map(int, os.environ["MUTANTS_SHARE"].split("/"))  # which of the files with tests are this run's
_PROCESSES_TEST = "MUTANTS_TEST"
_SETTINGS = """
[run]
source_pkgs = fadump
data_file = {data_file}
parallel = true
sigterm = true
disable_warnings = no-data-collected,module-not-imported,module-not-measured
context = ${{{variable}-}}
"""


class Recorder:
    """One run of the tests."""

    def __init__(self) -> None:
        settings = _RECORD / f"coveragerc.{_SHARE}"
        settings.write_text(_SETTINGS.format(data_file=_RECORD / "lines", variable=_PROCESSES_TEST))
        os.environ[_PROCESSES_TEST] = ""
        os.environ["COVERAGE_PROCESS_START"] = str(settings)
        self._coverage = coverage.Coverage(config_file=str(settings))
        self._coverage.start()
        self._seconds: dict[str, float] = {}
        self._failed: set[str] = set()

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        """Leave the other shares' files out."""
        items[:] = [item for item in items if zlib.crc32(os.fsencode(item.path)) % _SHARES == _SHARE]

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Iterator[None]:
        """Give all that the test executes the test's name."""
        self._coverage.switch_context(item.nodeid)
        os.environ[_PROCESSES_TEST] = item.nodeid
        start = time.monotonic()
        outcome = yield
        self._seconds[item.nodeid] = time.monotonic() - start
        os.environ[_PROCESSES_TEST] = ""
        self._coverage.switch_context("")
        return outcome

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Remember tests that fail as they are: they can't tell a mutant from the source."""
        if not report.passed:
            self._failed.add(report.nodeid)

    def pytest_sessionfinish(self) -> None:
        """Write down what was recorded."""
        self._coverage.stop()
        self._coverage.save()
        passed = {test: seconds for test, seconds in self._seconds.items() if test not in self._failed}
        (_RECORD / f"seconds.{_SHARE}.json").write_text(json.dumps(passed))


def pytest_load_initial_conftests(early_config: pytest.Config) -> None:
    """Start before anything of fadump is imported."""
    early_config.pluginmanager.register(Recorder(), "mutants-recorder")

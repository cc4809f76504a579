"""Under CI a test that was skipped or deselected is a failure: what didn't run proved nothing.

Where several processes run the tests (pytest-xdist), the one that shows the results hears of each skipped test by
itself; of deselected ones it is told by the others.
"""

import os
from typing import Any

import pytest

_DESELECTED = "fadump-deselected"


class Strict:
    """Counts tests that didn't run and fails the session for them."""

    def __init__(self) -> None:
        self.missing: list[str] = []

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.skipped:
            self.missing.append(f"skipped {report.nodeid}")

    def pytest_deselected(self, items: list[pytest.Item]) -> None:
        self.missing += [f"deselected {item.nodeid}" for item in items]

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any) -> None:
        told = getattr(node, "workeroutput", {}).get(_DESELECTED, [])
        self.missing += [line for line in told if line not in self.missing]

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        if hasattr(session.config, "workeroutput"):
            session.config.workeroutput[_DESELECTED] = [line for line in self.missing if line.startswith("deselected")]
        if self.missing and session.exitstatus == pytest.ExitCode.OK:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: "pytest.TerminalReporter") -> None:
        for line in self.missing:
            terminalreporter.write_line(f"CI wants every test: {line}", red=True)


def pytest_configure(config: pytest.Config) -> None:
    if os.environ.get("CI"):
        config.pluginmanager.register(Strict(), "fadump-strict")

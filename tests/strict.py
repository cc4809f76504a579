"""Under CI a test that was skipped or deselected is a failure: what didn't run proved nothing."""

import os

import pytest


class Strict:
    """Counts tests that didn't run and fails the session for them."""

    def __init__(self) -> None:
        self.missing: list[str] = []

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.skipped:
            self.missing.append(f"skipped {report.nodeid}")

    def pytest_deselected(self, items: list[pytest.Item]) -> None:
        self.missing += [f"deselected {item.nodeid}" for item in items]

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        if self.missing and session.exitstatus == pytest.ExitCode.OK:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        for line in self.missing:
            terminalreporter.write_line(f"CI wants every test: {line}", red=True)


def pytest_configure(config: pytest.Config) -> None:
    if os.environ.get("CI"):
        config.pluginmanager.register(Strict(), "fadump-strict")

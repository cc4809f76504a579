"""Networks are root's to make. The dump is that of the capture's own tests, small and with something in every page."""

import os

from tests.capture.conftest import truth, vmcore

__all__ = ["truth", "vmcore"]

collect_ignore = [] if os.geteuid() == 0 else ["test_ssh.py"]


def pytest_report_header():
    """Say so."""
    return [f"not tested, as you aren't root: {name}" for name in collect_ignore]

"""Networks are root's to make. The dump is that of the capture's own tests, small and with something in every page."""

import os
import platform

from tests.capture.conftest import truth, vmcore

__all__ = ["truth", "vmcore"]

_LINUX = [] if platform.machine() == "x86_64" else ["test_nfs.py", "test_iscsi.py"]  # Debian has it for no other
collect_ignore = _LINUX if os.geteuid() == 0 else ["test_ssh.py", "test_ssh_shelf.py", "test_nfs.py", "test_iscsi.py"]


def pytest_report_header():
    """Say so."""
    return [f"not tested, as you aren't root, or on x86_64: {name}" for name in collect_ignore]

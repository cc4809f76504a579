"""Networks are root's to make. The dump is that of the capture's own tests, small and with something in every page."""

import os
import platform

from tests.capture.conftest import truth, vmcore

__all__ = ["truth", "vmcore"]

_IN_LINUX = ["test_nfs.py", "test_iscsi.py", "test_user_mode_linux.py"]
_MISSING = [] if platform.machine() == "x86_64" else _IN_LINUX  # Debian has User Mode Linux for no other
collect_ignore = _MISSING if os.geteuid() == 0 else ["test_ssh.py", "test_ssh_shelf.py", *_IN_LINUX]


def pytest_report_header():
    """Say so."""
    return [f"not tested, as you aren't root, or on x86_64: {name}" for name in collect_ignore]

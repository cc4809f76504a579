"""Machines of the model whose files are mounted: /proc/vmcore and FADump's files in /sys, with a kernel behind them.

What only root can do is tested as root only.
"""

import os

import pytest

from fadump.service.root import Root
from tests.mount.mounted import Mounted, emptied

collect_ignore = [] if os.geteuid() == 0 else ["test_after_kdump_as_root.py", "test_as_root.py"]


def pytest_report_header():
    """Say so."""
    return [f"not tested, as you aren't root: {name}" for name in collect_ignore]


def root_of(machine, directory):
    """A system of which /proc and /sys are the machine's, and /etc and /run are in a directory."""
    root = Root(machine.path("/proc"), machine.path("/sys"), directory / "etc", directory / "run")
    root.etc.mkdir()
    root.run.mkdir()
    return root


@pytest.fixture(scope="session")
def crashed(tmp_path_factory):
    """A machine in its capture boot, for tests that release nothing."""
    with emptied(tmp_path_factory.mktemp("crashed") / "machine") as directory, Mounted(directory) as machine:
        machine.crash()
        yield machine


@pytest.fixture
def vmcore(crashed):
    """The path of its dump."""
    return crashed.path("/proc/vmcore")


@pytest.fixture(scope="session")
def reused(tmp_path_factory):
    with emptied(tmp_path_factory.mktemp("machine") / "machine") as directory, Mounted(directory) as machine:
        yield machine


@pytest.fixture
def machine(reused):
    """A machine in its capture boot, of which a test may do what it likes with the dump."""
    if not reused.path("/proc/vmcore").exists():
        reused.crash()
    return reused


@pytest.fixture
def root(machine, tmp_path):
    """Its system."""
    return root_of(machine, tmp_path)

"""The package, and a Debian of each suite with the package and what it depends on."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.installed.suite_root import SuiteRoot

ROOT = Path(__file__).parents[2]
SUITES = ("bookworm", "trixie", "forky")
"""Debian's stable releases that have a Python that is new enough, and the newest suite."""


def pytest_sessionstart() -> None:
    if os.geteuid() != 0:
        pytest.exit("installing packages in a system of their own takes root: sudo make test-install")


@pytest.fixture(scope="session")
def package() -> Path:
    """The package's file, built anew."""
    done = subprocess.run(["sh", str(ROOT / "tools/build-deb")], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return ROOT / done.stdout.splitlines()[-1]


@pytest.fixture(scope="session", params=SUITES)
def plain(request, package, tmp_path_factory):
    """A system that has the package and what it depends on, nothing else."""
    directory = tmp_path_factory.mktemp(request.param)
    root = SuiteRoot.make(request.param, directory / "plain")
    root.put(package, "/")
    root.install(f"/{package.name}")
    yield root
    shutil.rmtree(directory)


@pytest.fixture(scope="session")
def complete(plain):
    """The same with what the package recommends, and what its tests need."""
    root = plain.copy(plain.path.with_name("complete"))
    recommended = ["liblzo2-2", "libsnappy1v5"]
    root.install(*recommended, "python3-pytest", "python3-hypothesis", "python3-pexpect", "python3-drgn", "binutils")
    return root

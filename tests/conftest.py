"""What all tests share: the tools that they need, and the strict rule of CI."""

import pytest

from fadump.errors import SetupError
from fadump.kit import packages

pytest_plugins = ["pytester", "tests.strict"]

TOOLS = {
    "dtc": "device-tree-compiler",
    "readelf": "binutils",
    "cpio": "cpio",
    "powerpc64le-linux-gnu-objdump": "binutils-powerpc64le-linux-gnu",
    "qemu-system-ppc64": "qemu-system-ppc",
}


def pytest_sessionstart() -> None:
    try:
        packages.require("the tests", TOOLS)
    except SetupError as error:
        pytest.exit(str(error), returncode=pytest.ExitCode.USAGE_ERROR)

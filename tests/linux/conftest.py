"""Real kernels in QEMU. Tests share boots: one whole cycle serves all that look at its files."""

import pytest

from fadump.abi.platform import Platform
from fadump.kit.kernel import find_kernel
from tests.linux.fadump_command import fadump_run


def pytest_collection_modifyitems(items):
    for item in items:
        if "/tests/linux/" in item.path.as_posix():
            item.add_marker(pytest.mark.linux)


@pytest.fixture(scope="session")
def kernel():
    """The default kernel; `make test` has built it."""
    kernel = find_kernel()
    assert kernel is not None, "no default kernel in the cache: run fadump kernel build"
    return kernel


@pytest.fixture(scope="session")
def cycle(tmp_path_factory, kernel):
    """One whole cycle with the defaults, on pseries."""
    return good_run(tmp_path_factory.mktemp("cycle"))


@pytest.fixture(scope="session")
def powernv_cycle(tmp_path_factory, kernel):
    """One whole cycle on powernv, proven; the second CPU crashes."""
    return good_run(tmp_path_factory.mktemp("powernv"), "--platform", "powernv", "--crash-cpu", "1", "--verify")


@pytest.fixture(scope="session", params=list(Platform))
def any_cycle(request):
    """A whole cycle, on each platform."""
    return request.getfixturevalue({Platform.PSERIES: "cycle", Platform.POWERNV: "powernv_cycle"}[request.param])


def good_run(out, *options):
    done = fadump_run(out, *options)
    assert done.status == 0, f"{done.stderr}\nfiles are in {done.out}"
    return done

"""The files of other kernels are theirs too: an older one has fewer, and pages of 4 KiB are their size."""

import pytest

from fadump.abi.platform import Platform
from fadump.kit.kernel import build_kernel
from tests.real_linux.same_files import said_by_linux_and_model


@pytest.mark.parametrize(("series", "page_size"), [("6.1", "4K"), ("6.12", "4K")])
def test_the_files_are_linuxs(tmp_path, series, page_size):
    options = ("--kernel-version", series, "--page-size", page_size)
    real, model = said_by_linux_and_model(tmp_path, build_kernel(series, page_size), Platform.PSERIES, *options)
    assert model == real

"""Kernels old and new, with both page sizes: each is built, crashed once, and its dump proven. `make test-kernels`."""

import pytest

from fadump.kit.kernel import NEWEST_SERIES, PAGE_SIZES, build_kernel, newest_series
from tests.real_linux.fadump_command import fadump_run


@pytest.mark.parametrize("page_size", PAGE_SIZES)
@pytest.mark.parametrize("series", ["6.1", "6.12", NEWEST_SERIES])
def test_a_dump_of_this_kernel_is_right(tmp_path, series, page_size):
    kernel = build_kernel(newest_series() if series == NEWEST_SERIES else series, page_size)
    done = fadump_run(tmp_path / "out", "--kernel", str(kernel.bootable), "--verify")
    assert done.status == 0, f"{done.stderr}\nfiles are in {done.out}"
    verified = done.json["verified"]
    assert (done.json["result"], done.json["kernel_release"]) == ("saved", kernel.release)
    assert (verified["bytes_different"], verified["bytes_excluded"]) == (0, 0)
    assert verified["registers_different"] == []
    assert verified["bytes_compared"] > 1 << 30

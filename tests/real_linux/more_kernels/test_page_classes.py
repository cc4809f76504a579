"""Page classes of other kernels, with both page sizes and both MMUs, against the makedumpfile of their time."""

import pytest

from fadump.kit.kernel import build_kernel
from tests.real_linux.foreign import ForeignProgram
from tests.real_linux.page_sets import compare_page_sets, crash_under_load


@pytest.mark.parametrize(
    ("series", "page_size", "cpu_model", "suites"),
    [
        ("6.1", "4K", "POWER9", ["bookworm"]),
        ("6.1", "64K", "POWER8", ["bookworm"]),
        ("6.12", "4K", "POWER8", ["forky", "sid"]),
    ],
)
def test_every_dump_level_leaves_out_what_makedumpfile_leaves_out(tmp_path, series, page_size, cpu_model, suites):
    kernel = build_kernel(series, page_size)
    (tmp_path / "ppc64el").mkdir()
    makedumpfile = ForeignProgram("makedumpfile", tmp_path / "ppc64el", suites)
    vmcore = crash_under_load(tmp_path / "crash", kernel, cpu_model=cpu_model)
    counts, differing = compare_page_sets(vmcore, makedumpfile, tmp_path / "out")
    assert differing == {}
    assert all(counts[name] for name in ("KERNEL", "FREE", "CACHE", "CACHE_PRIVATE", "USER")), counts

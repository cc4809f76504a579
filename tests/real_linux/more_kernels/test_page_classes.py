"""Page classes of other kernels, with both page sizes and both MMUs, against makedumpfile and drgn."""

import pytest

from fadump.kit.kernel import NEWEST_SERIES, build_kernel
from tests.real_linux.foreign import ForeignProgram
from tests.real_linux.page_sets import compare_page_sets, crash_under_load, lead_makedumpfile_to_vmemmap
from tests.real_linux.page_truth import differing_from_drgn


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
    vmcore = crash_under_load(tmp_path / "crash", kernel, cpu_model=cpu_model)
    counts, differing = compare_page_sets(vmcore, makedumpfile_of(tmp_path, suites), tmp_path / "out")
    assert differing == {}
    assert all(counts[name] for name in ("KERNEL", "FREE", "CACHE", "CACHE_PRIVATE", "USER")), counts
    assert differing_from_drgn(vmcore, kernel.vmlinux) == []


def test_radix_with_4k_pages_is_as_drgn_has_it_and_makedumpfile_if_led_to_struct_pages(tmp_path):
    """Since Linux 6.6 makedumpfile doesn't find them by itself: docs/page-classes.md."""
    kernel = build_kernel("6.12", "4K")
    vmcore = crash_under_load(tmp_path / "crash", kernel, cpu_model="POWER9")
    assert differing_from_drgn(vmcore, kernel.vmlinux) == []
    lead_makedumpfile_to_vmemmap(vmcore)
    _counts, differing = compare_page_sets(vmcore, makedumpfile_of(tmp_path, ["forky", "sid"]), tmp_path / "out")
    assert differing == {}


def test_classes_of_the_newest_kernel_are_as_drgn_has_them(tmp_path):
    """Debian has no makedumpfile yet that knows it."""
    kernel = build_kernel(NEWEST_SERIES, "4K")
    vmcore = crash_under_load(tmp_path / "crash", kernel, cpu_model="POWER9")
    assert differing_from_drgn(vmcore, kernel.vmlinux) == []


def makedumpfile_of(tmp_path, suites):
    directory = tmp_path / "ppc64el"
    directory.mkdir()
    return ForeignProgram("makedumpfile", directory, suites)

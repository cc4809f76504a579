"""Every page of a real dump is of the class that makedumpfile and drgn take it for."""

from tests.real_linux.page_sets import compare_page_sets
from tests.real_linux.page_truth import differing_from_drgn


def test_every_dump_level_leaves_out_what_makedumpfile_leaves_out(tmp_path, busy_crash, makedumpfile):
    counts, differing = compare_page_sets(busy_crash, makedumpfile, tmp_path / "out")
    assert differing == {}
    assert all(counts[name] for name in ("KERNEL", "FREE", "CACHE", "CACHE_PRIVATE", "USER")), counts


def test_every_page_is_of_the_class_that_drgn_finds(busy_crash, kernel):
    assert differing_from_drgn(busy_crash, kernel.vmlinux) == []

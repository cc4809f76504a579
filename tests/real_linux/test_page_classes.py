"""Every page of a real dump is of the class that makedumpfile takes it for."""

from tests.real_linux.page_sets import compare_page_sets


def test_every_dump_level_leaves_out_what_makedumpfile_leaves_out(tmp_path, busy_crash, makedumpfile):
    counts, differing = compare_page_sets(busy_crash, makedumpfile, tmp_path / "out")
    assert differing == {}
    assert all(counts[name] for name in ("KERNEL", "FREE", "CACHE", "CACHE_PRIVATE", "USER")), counts

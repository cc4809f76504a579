"""Every page of a real dump is of the class that makedumpfile takes it for."""

from tests.linux.makedumpfile import Makedumpfile
from tests.linux.page_sets import compare_page_sets, crash_under_load


def test_every_dump_level_leaves_out_what_makedumpfile_leaves_out(tmp_path, kernel):
    (tmp_path / "ppc64el").mkdir()
    makedumpfile = Makedumpfile(tmp_path / "ppc64el", ["forky", "sid"])
    vmcore = crash_under_load(tmp_path / "crash", kernel)
    counts, differing = compare_page_sets(vmcore, makedumpfile, tmp_path / "out")
    assert differing == {}
    assert all(counts[name] for name in ("KERNEL", "FREE", "CACHE", "CACHE_PRIVATE", "USER")), counts

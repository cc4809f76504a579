"""The benchmarks of reading run on small dumps; how fast anything is, no test asks."""

import numpy as np
import pytest

import fadump
from benchmarks import reading
from benchmarks.report import MIB
from benchmarks.truth import PAGE, make_truth, write_elf, write_kdump
from fadump.linux.pages.page_class import PageClass
from fadump.memory.ranges import Range
from fadump.vmcore.contract import NotInDumpError, State

SYMBOLS = 100


@pytest.fixture(scope="module")
def truth():
    return make_truth(64 * MIB, SYMBOLS)


def test_what_a_truth_says_is_in_its_core(truth, tmp_path):
    write_elf(truth, tmp_path / "core")
    with fadump.open(tmp_path / "core") as system:
        assert len(list(system.log())) == 1001
        assert system.ending.panic == "sysrq triggered crash"
        assert str(system.cpus[0].backtrace.frames[0].symbol).startswith("function_number_0")
        classes = system.page_classes.of(Range(0, truth.pages))
    assert np.array_equal(classes, truth.classes())
    kinds = {PageClass.KERNEL, PageClass.USER, PageClass.CACHE, PageClass.CACHE_PRIVATE, PageClass.FREE}
    assert set(np.unique(classes).tolist()) == kinds


@pytest.mark.parametrize("codec", reading.CODECS)
def test_a_kdump_file_of_it_has_all_but_free_pages(truth, tmp_path, codec):
    stored = write_kdump(truth, tmp_path / "kdump", codec, distinct_pages=64)
    free = truth.classes() == PageClass.FREE
    assert len(stored) + np.count_nonzero(free) == truth.pages
    with fadump.open(tmp_path / "kdump") as system:
        assert np.array_equal(system.page_classes.of(Range(0, truth.pages)), truth.classes())
        assert system.dump.why_not(int(np.flatnonzero(free)[0]) * PAGE) is State.EXCLUDED
        pages = {system.dump.read_physical(int(page) * PAGE, PAGE) for page in stored[stored >= truth.own_pages]}
    assert len(pages) == 64


def test_the_kernels_own_memory_is_the_same_in_both(truth, tmp_path):
    write_elf(truth, tmp_path / "core")
    write_kdump(truth, tmp_path / "kdump", "zlib", distinct_pages=1)
    with fadump.open(tmp_path / "core") as core, fadump.open(tmp_path / "kdump") as kdump:
        length = truth.own_pages * PAGE
        own = core.dump.read_physical(0, 9 * MIB)
        assert length >= len(own) and kdump.dump.read_physical(0, 9 * MIB) == own


def test_a_long_read_names_the_first_page_that_was_left_out(truth, tmp_path):
    write_kdump(truth, tmp_path / "kdump", "zlib", distinct_pages=1)
    left_out = int(np.flatnonzero(truth.classes() == PageClass.FREE)[0])
    with fadump.open(tmp_path / "kdump") as system, pytest.raises(NotInDumpError) as error:
        system.dump.read_physical((left_out - 20) * PAGE, 40 * PAGE)
    assert (error.value.at, error.value.state) == (left_out * PAGE, State.EXCLUDED)


def test_classifying_is_measured_and_its_files_go(truth, tmp_path):
    row = reading.classify_row(truth, tmp_path, 1)
    assert all(value > 0 for value in row.values())
    assert not list(tmp_path.iterdir())


def test_wrong_classes_are_no_measurement(truth, tmp_path, monkeypatch):
    monkeypatch.setattr(type(truth), "classes", lambda self: np.zeros(self.pages, np.uint8))
    with pytest.raises(ValueError, match="wrong classes"):
        reading.classify_row(truth, tmp_path, 1)


@pytest.mark.parametrize("codec", reading.CODECS)
def test_random_reads_are_measured_on_both_sides(truth, tmp_path, codec):
    row = reading.reads_row(truth, tmp_path, codec, 50, 1)
    assert row["ours reads/s"] > 0 and row["drgn reads/s"] > 0


def test_show_is_measured_with_its_memory(truth, tmp_path):
    row = reading.show_row(truth, tmp_path, "zlib", 1)
    assert row["show s"] > 0 and row["RssAnon MiB"] > 10

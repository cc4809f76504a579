"""The benchmark of saving runs on a small dump; how fast anything is, no test asks."""

import pytest

from benchmarks import saving
from benchmarks.report import MIB
from benchmarks.truth import PAGE, fill_elf, make_truth, write_elf
from fadump.capture.options import SaveOptions
from fadump.capture.packers import Compression
from fadump.linux.pages.page_class import DumpLevel
from fadump.vmcore.dump import open_dump
from tests.capture.saving import save_file


@pytest.fixture(scope="module")
def truth():
    return make_truth(32 * MIB, 100)


@pytest.fixture(scope="module")
def source(truth, tmp_path_factory):
    path = tmp_path_factory.mktemp("source") / "vmcore"
    write_elf(truth, path)
    fill_elf(truth, path, distinct_pages=64)
    return path


@pytest.mark.parametrize("level", saving.LEVELS)
def test_the_codec_alone_gets_the_pages_that_a_save_packs(truth, source, tmp_path, level):
    with open_dump(source) as dump:
        saved = save_file(dump, tmp_path / "out", SaveOptions((DumpLevel(level),)))
    assert len(saving.packed_pages(truth, source, level)) == saved.pages.remaining
    assert saved.pages.zeros


def test_every_row_has_all_figures(truth, source, tmp_path):
    rows = saving.save_rows(truth, source, tmp_path, 31, Compression.ZSTD, runs=1)
    assert [row["threads"] for row in rows] == [1, 2]
    assert all(row[column] > 0 for row in rows for column in ("codec s", "batches s", "save s", "packed MiB"))
    assert not list(tmp_path.iterdir())


def test_memory_is_seen(truth, source, tmp_path):
    assert saving.memory_row(truth, source, tmp_path)["RssAnon MiB"] * MIB > PAGE

"""Every format is written, read back, converted into every other, and compared page by page."""

import os

import numpy as np
import pytest

from benchmarks.truth import PAGE
from fadump.capture.options import Format, SaveOptions
from fadump.capture.packers import Compression
from fadump.errors import UsageError
from fadump.linux.pages.page_class import DumpLevel, left_out
from fadump.linux.system import open_system
from fadump.vmcore.check import check_dump
from fadump.vmcore.contract import READABLE, State
from fadump.vmcore.dump import open_dump
from fadump.vmcore.overlay import OverlayDump
from tests.capture.contents import differing_pages, states_of
from tests.capture.saving import save_file, save_stream

LEVEL = (DumpLevel(31),)


def save(source, destination, **options):
    with open_dump(source) as dump:
        return save_file(dump, destination, SaveOptions(**({"levels": LEVEL} | options))).files


def stream(source, destination, **options):
    with open_dump(source) as dump, destination.open("wb") as file:
        save_stream(dump, file.fileno(), SaveOptions(**({"levels": LEVEL} | options)))
    return [destination]


WRITERS = {
    "kdump": save,
    "elf": lambda source, out, **more: save(source, out, format=Format.ELF, **more),
    "split": lambda source, out, **more: save(source, out, split=3, **more),
    "flattened": stream,
    "flattened elf": lambda source, out, **more: stream(source, out, format=Format.ELF, **more),
}


@pytest.fixture(scope="module", params=list(WRITERS))
def written(request, vmcore, tmp_path_factory):
    """A dump of level 31 in one of the forms."""
    return WRITERS[request.param](vmcore, tmp_path_factory.mktemp("written") / "out")


def readable_pages(dump, pages):
    return [state in READABLE for state in states_of(dump, pages)]


def test_each_form_has_the_pages_of_its_level_and_no_other(written, vmcore, truth):
    kept = ~np.isin(truth.classes(), list(left_out(*LEVEL)))
    with open_dump(written) as dump, open_dump(vmcore) as source:
        assert readable_pages(dump, truth.pages) == kept.tolist()
        assert differing_pages(dump, source) == []
        assert check_dump(dump).whole and not dump.damage


@pytest.mark.parametrize("form", list(WRITERS))
def test_each_form_is_converted_into_each_other(written, form, vmcore, truth, tmp_path):
    files = WRITERS[form](written, tmp_path / "out", levels=(DumpLevel(0),))
    with open_dump(files) as dump, open_dump(written) as between, open_dump(vmcore) as source:
        assert readable_pages(dump, truth.pages) == readable_pages(between, truth.pages)
        assert differing_pages(dump, source) == []
        assert check_dump(dump).whole
        assert dump.vmcoreinfo == source.vmcoreinfo
        assert [note.desc for note in dump.notes[:-1]] == [note.desc for note in source.notes]
    with open_system(files) as system:
        assert system.ending.panic == "sysrq triggered crash"


def test_a_dump_is_filtered_once_more(vmcore, truth, tmp_path):
    first = save(vmcore, tmp_path / "16", levels=(DumpLevel.FREE,), compression=Compression.SNAPPY)
    second = save(first, tmp_path / "24", levels=(DumpLevel.USER,), compression=Compression.ZSTD)
    gone = np.isin(truth.classes(), list(left_out(DumpLevel(24))))
    with open_dump(second) as dump, open_dump(vmcore) as source:
        assert [state is State.EXCLUDED for state in states_of(dump, truth.pages)] == gone.tolist()
        assert differing_pages(dump, source) == []
    with open_dump(first) as dump:
        report = save_file(dump, tmp_path / "again", SaveOptions(levels=(DumpLevel(9),))).pages
    assert report.original == truth.pages == report.excluded_pages + report.remaining
    assert report.excluded_before == int(np.isin(truth.classes(), list(left_out(DumpLevel.FREE))).sum())


@pytest.mark.parametrize("patched", [False, True])
def test_a_dump_that_is_filtered_again_says_at_which_levels_it_was(vmcore, tmp_path, patched):
    """As makedumpfile has it, and as its -d counts on when it filters once more."""
    (first,) = save(vmcore, tmp_path / "first", levels=(DumpLevel.FREE,))
    with open_dump(first) as filtered:
        source = OverlayDump(filtered, {0x5000: b"patch"}, page_bytes=PAGE) if patched else filtered
        save_file(source, tmp_path / "again", SaveOptions(levels=(DumpLevel.ZERO,)))
    with open_dump(tmp_path / "again") as dump:
        assert dump.dump_level == DumpLevel.FREE | DumpLevel.ZERO


def test_files_of_a_set_begin_at_whole_words_of_the_bitmap(vmcore, tmp_path):
    """crash counts pages so."""
    with open_dump(save(vmcore, tmp_path / "out", split=7)) as dump:
        starts = [file.pages.start for file in dump.files]
    assert len(set(starts)) == 7 and all(start % 64 == 0 for start in starts)


def test_the_files_of_a_set_have_as_many_pages_each_and_nothing_without_the_others(vmcore, tmp_path):
    files = save(vmcore, tmp_path / "out", split=3)
    assert [path.name for path in files] == ["out.1", "out.2", "out.3"]
    with open_dump(files) as dump:
        counts = [file.page_count for file in dump.files]
        assert max(counts) - min(counts) <= 2 * 64 and sum(counts) == dump.files[0].bitmap.count
    with open_dump(files[1]) as dump:
        assert not check_dump(dump).whole


def test_an_elf_core_is_not_split():
    with pytest.raises(UsageError, match="--split doesn't go with --format elf"):
        SaveOptions(format=Format.ELF, split=2)


def test_an_elf_core_leaves_excluded_memory_out_and_zeros_as_holes(vmcore, truth, tmp_path):
    (path,) = save(vmcore, tmp_path / "out", format=Format.ELF, levels=(DumpLevel(17),))
    with open_dump(path) as dump:
        states = states_of(dump, truth.pages)
        assert set(states) == {State.STORED, State.HOLE}
    stored = states.count(State.STORED) * PAGE
    assert path.stat().st_blocks * 512 < stored * 0.9 < path.stat().st_size


def test_an_elf_core_in_too_many_pieces_keeps_what_is_between_them(vmcore, truth, tmp_path, monkeypatch):
    monkeypatch.setattr("fadump.capture.elf_writer.MOST_SEGMENTS", 40)
    (path,) = save(vmcore, tmp_path / "out", format=Format.ELF)
    with open_dump(path) as dump, open_dump(vmcore) as source:
        assert len(dump.core.segments) <= 40
        assert differing_pages(dump, source) == []
        kept = ~np.isin(truth.classes(), list(left_out(*LEVEL)))
        assert (np.array(readable_pages(dump, truth.pages)) >= kept).all()


def test_an_incomplete_source_makes_an_incomplete_dump(vmcore, truth, tmp_path):
    short = tmp_path / "short"
    short.write_bytes(vmcore.read_bytes()[: -100 * PAGE - 5])
    for form in (Format.KDUMP, Format.ELF):
        with open_dump(short) as dump:
            saved = save_file(dump, tmp_path / form, SaveOptions(format=form))
        assert not saved.complete and saved.pages.missing == 101
        with open_dump(tmp_path / form) as dump, open_dump(vmcore) as source:
            assert any("incomplete" in str(found) for found in dump.damage)
            assert not check_dump(dump).whole
            assert differing_pages(dump, source) == []
            assert dump.readable.size_bytes == (truth.pages - 101) * PAGE


def test_a_stream_that_broke_off_says_so(vmcore, tmp_path):
    (path,) = stream(vmcore, tmp_path / "flat")
    whole = path.read_bytes()
    for size in (len(whole) - 1, len(whole) - 16, len(whole) // 2, len(whole) // 3):
        os.truncate(path, size)
        with open_dump(path) as dump, open_dump(vmcore) as source:
            assert dump.damage and not check_dump(dump).whole
            assert differing_pages(dump, source) == []
        path.write_bytes(whole)

"""A source whose disk can't read some of it: the rest is saved, and what was saved says what it lacks."""

import errno
import os

import numpy as np
import pytest

from benchmarks.report import MIB
from benchmarks.truth import KERNEL_BYTES, PAGE
from fadump.capture.batches import cut_batches
from fadump.capture.bits import PageBits
from fadump.capture.estimate import estimate_sizes
from fadump.capture.in_place import save_in_place
from fadump.capture.options import Format, SaveOptions
from fadump.capture.selection import Selection
from fadump.capture.target import SaveError
from fadump.errors import FadumpError, ReadError
from fadump.linux.pages.page_class import DumpLevel, left_out
from fadump.linux.system import CrashedSystem
from fadump.memory.ranges import Range
from fadump.vmcore.contract import State
from fadump.vmcore.dump import open_dump, open_source
from fadump.vmcore.source import MOST_POPULATED_BYTES, FileSource
from tests.capture.conftest import DATA_AT
from tests.capture.contents import differing_pages, states_of
from tests.capture.saving import save_file, save_stream
from tests.capture.test_continue import DyingFiles, KilledError
from tests.linux.kernel_builder import PAGE_OFFSET, VMEMMAP_START
from tests.vmcore.core_builder import Load, build_core
from tests.vmcore.dump_helpers import open_bytes

EVERYTHING = SaveOptions(levels=(DumpLevel(31),))
STRUCT_PAGE = KERNEL_BYTES // PAGE + 48
"""A page of struct pages: those of 64 pages; 1024 struct pages are given up with it."""
GIVEN_UP = slice(48 // 16 * 1024, (48 // 16 + 1) * 1024)


class BadSource(FileSource):
    """A file on a disk that can't read some pages of memory."""

    def __init__(self, path, pages):
        super().__init__(os.open(path, os.O_RDONLY), "vmcore")
        self.bad = [Range.sized(DATA_AT + page * PAGE, PAGE) for page in pages]

    def read(self, offset, length, what):
        self._check(offset, length)
        return super().read(offset, length, what)

    def read_into(self, offset, buffer, what):
        self._check(offset, len(buffer))
        super().read_into(offset, buffer, what)

    def view(self, offset, length):
        self._check(offset, length)
        return super().view(offset, length)

    def _check(self, offset, length):
        if any(bad.overlaps(Range.sized(offset, length)) for bad in self.bad):
            raise ReadError("vmcore", offset, length, OSError(errno.EIO, os.strerror(errno.EIO)))


def bad_dump(vmcore, *pages):
    return open_source([BadSource(vmcore, pages)])


def check_saved(path, vmcore, pages, missing):
    """Every page is there, and right, but for those that are missing; the dump says so."""
    with open_dump(path) as dump, open_dump(vmcore) as source:
        assert [page for page, state in enumerate(states_of(dump, pages)) if state is State.MISSING] == missing
        assert differing_pages(dump, source) == []
        assert any("incomplete" in str(found) for found in dump.damage)
        return states_of(dump, pages)


@pytest.mark.parametrize("threads", [1, 3])
def test_pages_that_cannot_be_read_are_missing_and_all_others_are_there(vmcore, truth, tmp_path, threads):
    bad = [truth.own_pages + 7, truth.own_pages + 8, truth.pages - 1]
    with bad_dump(vmcore, *bad) as source:
        saved = save_file(source, tmp_path / "out", SaveOptions(threads=threads))
    check_saved(tmp_path / "out", vmcore, truth.pages, bad)
    assert not saved.complete and saved.pages.missing == 3
    (remark,) = saved.remarks
    first = f"{bad[0] * PAGE:#x}: Input/output error"
    assert remark == f"pages that can't be read and are missing: 3, the first at {first}"


def test_a_stream_says_it_too(vmcore, truth, tmp_path):
    with bad_dump(vmcore, truth.own_pages + 7) as source, (tmp_path / "flat").open("wb") as file:
        saved = save_stream(source, file.fileno(), SaveOptions())
    check_saved(tmp_path / "flat", vmcore, truth.pages, [truth.own_pages + 7])
    assert not saved.complete and saved.pages.missing == 1 and len(saved.remarks) == 1


def test_an_elf_core_cannot_say_what_is_missing(vmcore, truth, tmp_path):
    with (
        bad_dump(vmcore, truth.own_pages + 7) as source,
        pytest.raises(FadumpError, match=r"0x.*: Input/output error; an ELF core can't say .*: use --format kdump"),
    ):
        save_file(source, tmp_path / "out", SaveOptions(format=Format.ELF))


def test_of_unreadable_struct_pages_the_pages_are_kept_and_that_is_said(vmcore, truth, tmp_path):
    with bad_dump(vmcore, STRUCT_PAGE) as source:
        saved = save_file(source, tmp_path / "out", EVERYTHING)
    states = np.array(check_saved(tmp_path / "out", vmcore, truth.pages, [STRUCT_PAGE]))
    gone = np.isin(truth.classes(), list(left_out(DumpLevel(31))))
    assert gone[GIVEN_UP].any()
    gone[GIVEN_UP] = False
    assert ((states == State.EXCLUDED) == gone).all()
    kept = "pages kept whatever their class, as their struct pages can't be read: 1024"
    assert saved.remarks[0] == kept
    assert not saved.complete


@pytest.mark.parametrize("level", [0, 1])
def test_whoever_filters_nothing_is_told_nothing_of_struct_pages(vmcore, tmp_path, level):
    with bad_dump(vmcore, STRUCT_PAGE) as source:
        saved = save_file(source, tmp_path / "out", SaveOptions(levels=(DumpLevel(level),)))
    assert len(saved.remarks) == 1 and "struct pages" not in saved.remarks[0]


@pytest.mark.parametrize(
    ("symbol", "offset", "consequence"),
    [
        ("mem_section", 0, "no page is left out by its class, as the classes aren't known: vmcore can't be read"),
        ("swapper_pg_dir", 8 * (VMEMMAP_START >> 39 & 0x1FFF), "as their struct pages can't be read: 8192"),
        ("kallsyms_names", 0, "vmcore can't be read, 0x4 bytes at offset 0x1a4"),
    ],
)
def test_whatever_cannot_be_read_of_the_kernel_itself_the_dump_is_saved(
    vmcore, truth, tmp_path, symbol, offset, consequence
):
    bad = [(int(truth.kernel.facts[f"SYMBOL({symbol})"], 16) - PAGE_OFFSET + offset) // PAGE]
    with bad_dump(vmcore, *bad) as source:
        saved = save_file(source, tmp_path / "out", EVERYTHING)
    check_saved(tmp_path / "out", vmcore, truth.pages, bad)
    assert consequence in " ".join([*saved.remarks, saved.registers.why_not or ""])


def test_a_save_that_was_interrupted_is_gone_on_with_up_to_the_first_such_page(vmcore, truth, tmp_path, monkeypatch):
    monkeypatch.setattr("fadump.capture.kdump_writer.CHECKPOINT_BYTES", MIB)
    bad = [truth.own_pages + 4000]
    with bad_dump(vmcore, *bad) as source:
        with pytest.raises(KilledError):
            save_file(source, tmp_path / "out", SaveOptions(), files=DyingFiles(24))
        saved = save_file(source, tmp_path / "out", SaveOptions(continued=True))
    check_saved(tmp_path / "out", vmcore, truth.pages, bad)
    assert 0 < saved.kept_bytes <= bad[0] * PAGE and saved.pages.missing == 1


def test_a_dry_run_counts_without_them(vmcore, truth):
    with bad_dump(vmcore, truth.own_pages + 7) as source, open_dump(vmcore) as whole:
        (estimate,), (undamaged,) = (
            estimate_sizes(CrashedSystem(source), SaveOptions()),
            estimate_sizes(CrashedSystem(whole), SaveOptions()),
        )
    assert estimate.size_bytes == pytest.approx(undamaged.size_bytes, rel=0.1)


@pytest.fixture
def damaged(vmcore, truth, tmp_path):
    """A compressed dump and the number of a page in it that doesn't unpack."""
    path, page = tmp_path / "damaged", truth.own_pages + 2
    with open_dump(vmcore) as source:
        save_file(source, path, SaveOptions())
    with open_dump(path) as dump:
        (file,) = dump.files
        place = int(file.look(page, page + 1).offsets[0])
    with path.open("r+b") as file:
        file.seek(place + 2)
        file.write(b"\xff\xff\xff\xff")
    return path, page


def test_a_page_that_does_not_unpack_is_missing_and_no_more(vmcore, truth, tmp_path, damaged):
    path, page = damaged
    with open_dump(path) as source:
        saved = save_file(source, tmp_path / "out", SaveOptions())
    check_saved(tmp_path / "out", vmcore, truth.pages, [page])
    assert not saved.complete and f"the first at {page * PAGE:#x}" in saved.remarks[0]


def test_a_dump_of_which_something_would_be_lost_is_not_replaced(damaged):
    path, _page = damaged
    before = path.read_bytes()
    with pytest.raises(SaveError, match=f"^{path} stays as it was: not all of it can be read"):
        save_in_place(path, SaveOptions())
    assert path.read_bytes() == before
    assert sorted(entry.name for entry in path.parent.iterdir()) == ["damaged", "damaged-dmesg.txt"]


@pytest.mark.parametrize("page_bytes", [4096, 65536])
def test_no_more_is_viewed_at_once_than_is_read_at_once(page_bytes):
    """What a view has not read ends the process if the disk can't read it later."""
    pages = (64 << 20) // page_bytes
    wanted = PageBits(pages)
    wanted.put(0, np.arange(pages) % 16 == 0)
    none = PageBits(pages)
    selection = Selection(DumpLevel(0), page_bytes, wanted, wanted, none, none, {}, 0, ())
    with open_bytes(build_core([Load(0, bytes(64 << 20))])) as dump:
        batches = list(cut_batches(dump, selection, Range(0, pages), 1 << 30))
    extents = [int(span.pages[-1] - span.pages[0] + 1) for batch in batches for span in batch.spans]
    assert max(extents) * page_bytes <= MOST_POPULATED_BYTES and max(extents) > 16
    assert sum(batch.count for batch in batches) == wanted.count()


@pytest.mark.parametrize("apart", [1, 3, 16, 17])
def test_no_span_is_longer_than_a_batch_and_all_pages_are_in_one(apart):
    wanted = PageBits(4096)
    wanted.put(0, np.arange(4096) % apart == 0)
    selection = Selection(DumpLevel(0), 4096, wanted, wanted, PageBits(4096), PageBits(4096), {}, 0, ())
    with open_bytes(build_core([Load(0, bytes(16 << 20))])) as dump:
        batches = list(cut_batches(dump, selection, Range(0, 4096), 1 << 20))
    spans = [span.pages for batch in batches for span in batch.spans]
    assert max(int(pages[-1] - pages[0] + 1) for pages in spans) <= 256
    assert np.array_equal(np.concatenate(spans), np.arange(0, 4096, apart))
    assert max(batch.count for batch in batches) <= 256
